"""The metric keeps to what others rely on, and gives the numbers of its formula."""

from pathlib import Path

import numpy as np
from new_plugin import new_plugin

from w2s_bench.conformance import check


def test_conformance():
    report = check(Path(__file__).with_name("new_plugin.py"))
    assert report.passed, report


def test_formula():
    assert new_plugin(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 1])) == 0.25
