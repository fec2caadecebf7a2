from pathlib import Path

from w2s_bench.conformance import check


def test_conformance():
    report = check(Path(__file__).with_name("sharper.py"))
    assert report.passed, report
