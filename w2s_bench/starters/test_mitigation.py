"""The mitigation keeps to what others rely on, and does what it says."""

from pathlib import Path

import torch
from new_plugin import NewPlugin

from w2s_bench.conformance import check


def test_conformance():
    report = check(Path(__file__).with_name("new_plugin.py"))
    assert report.passed, report


def test_doubt_is_spread_over_all_classes():
    labels = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    revised = NewPlugin(NewPlugin.Options(doubt=0.2)).revise_labels(labels)
    assert torch.allclose(revised, torch.tensor([[0.9, 0.1], [0.5, 0.5]]))
