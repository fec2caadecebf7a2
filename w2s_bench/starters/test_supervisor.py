"""The supervisor keeps to what others rely on, and learns."""

from pathlib import Path

import numpy as np
from new_plugin import NewPlugin

from w2s_bench.conformance import check
from w2s_bench.interfaces import FitContext, Inputs, Recipe, TaskInfo


def test_conformance():
    report = check(Path(__file__).with_name("new_plugin.py"))
    assert report.passed, report


def test_words_are_learnt():
    supervisor = NewPlugin()
    context = FitContext(TaskInfo("moods", "classification", 2, ["bad", "good"]), 0, Recipe())
    supervisor.fit(Inputs(["0", "1"], ["awful tea", "lovely tea"]), np.array([0, 1]), context)
    votes = supervisor.label(Inputs(["2", "3", "4"], ["lovely", "awful", "unheard of"]))
    assert votes[0, 1] > 0.5 > votes[1, 1] and votes[2, 1] == 0.5
