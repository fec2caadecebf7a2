"""The task keeps to what others rely on, and its truth is true."""

from pathlib import Path

from new_plugin import NewPlugin

from w2s_bench.conformance import check
from w2s_bench.interfaces import Sizes


def test_conformance():
    report = check(Path(__file__).with_name("new_plugin.py"))
    assert report.passed, report


def test_truth():
    _, splits = NewPlugin().load(0, Sizes(50, 50, 50, 50))
    for split in splits.values():
        assert [sum(map(int, text.split())) > 27 for text in split.inputs.text] == split.truth.astype(bool).tolist()
