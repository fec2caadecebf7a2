"""The student keeps to what others rely on, and learns."""

from pathlib import Path

import torch
from new_plugin import NewPlugin

from w2s_bench.conformance import check
from w2s_bench.interfaces import FitContext, Inputs, Recipe, TaskInfo
from w2s_bench.training.finetune import finetune


def test_conformance():
    report = check(Path(__file__).with_name("new_plugin.py"))
    assert report.passed, report


def test_words_are_learnt():
    torch.manual_seed(0)
    texts = ["awful tea", "lovely tea"] * 32
    inputs, labels = Inputs([str(i) for i in range(64)], texts), torch.eye(2).repeat(32, 1)
    task = TaskInfo("moods", "classification", 2, ["bad", "good"])
    backbone = NewPlugin().backbone(0)
    fitted = finetune(backbone, inputs, labels, FitContext(task, 0, Recipe(body_lr=1e-2, head_lr=1e-2, epochs=10)))
    assert fitted.predict(inputs).argmax(-1).tolist() == labels.argmax(-1).tolist()
