"""The grid of openai/weak-to-strong, both sides at toy size."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest
import torch

from w2s_bench.studies import grid
from w2s_bench.studies.grid_reference import LOSSES


def test_losses_of_the_reference():
    logits = torch.tensor([[2.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 3.0]])
    labels = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.2, 0.8]])
    log = logits.log_softmax(-1)
    assert float(LOSSES["xent"](logits, labels, 0.5)) == pytest.approx(float(-(labels * log).sum(-1).mean()))
    both = logits.softmax(-1) * labels
    both = both / both.sum(-1, keepdim=True)
    assert float(LOSSES["product"](logits, labels, 0.5)) == pytest.approx(float(-(both * log).sum(-1).mean()))
    sure = torch.eye(2)[[0, 0, 1, 1]]
    for done, weight in ((0.05, 0.025), (0.5, 0.5)):
        bent = (1 - weight) * labels + weight * sure
        assert float(LOSSES["logconf"](logits, labels, done)) == pytest.approx(float(-(bent * log).sum(-1).mean()))


@pytest.mark.timeout(900)
def test_the_study_at_toy_size(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grid, "SHAPES", {"weak": (8, 1, 2), "strong": (16, 2, 2)})
    monkeypatch.setattr(grid, "VOCABULARY", 300)
    monkeypatch.setattr(grid, "LOSSES", {"xent": "naive"})
    monkeypatch.setattr(grid, "PAIRS", (("weak", "strong"),))
    rng = np.random.default_rng(0)
    with gzip.open(tmp_path / "toy.jsonl.gz", "wt") as file:
        for number in range(120):
            label, split = int(rng.integers(2)), "train" if number < 80 else "test"
            words = " ".join(f"{'good' if label else 'bad'}{n}" for n in rng.integers(0, 99, 5))
            print(json.dumps({"text": words, "label": label, "split": split}), file=file)
    grid.main([str(tmp_path / "toy.jsonl.gz"), "--docs", "64", "--test", "32", "--minibatch", "16"])
    printed = capsys.readouterr().out
    fits = {name: int(n) for name, n in re.findall(r"^\| (reference|w2s_bench) \| (\d+) \| \d+ \|", printed, re.M)}
    assert fits == {"reference": 3, "w2s_bench": 3}, printed
    assert re.search(r"^Reference / w2s_bench: \d+\.\d\d", printed, re.M)
    assert re.search(r"^\| weak > strong, xent \| 0\.\d{3} \| 0\.\d{3} \|$", printed, re.M), printed
