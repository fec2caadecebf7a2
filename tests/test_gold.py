"""The gold budget: for mitigations that declare it alone, on a track of their own, within the protocol."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bench import RECIPE, accuracy, data, student_of, supervisor
from support.mitigations import member
from test_api import SMALL, TOY

import w2s_bench
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import TaskOptions
from w2s_bench.plugins.mitigations.mixed_ground_truth import MixedGroundTruth

SPY = '''
"""Takes gold without saying so, and takes it saying so."""
from w2s_bench import hookimpl

class Spy:
    """Reads the gold budget."""
    @hookimpl
    def weigh_examples(self, labels, pool):
        inputs, truth = pool.gold
        assert truth.shape == (min(24, len(inputs)), 2) and len(inputs) == 24
        return labels.new_ones(len(labels))

class Declared(Spy):
    """Reads the gold budget, and says so."""
    needs = frozenset({"ground_truth"})

@hookimpl
def register_mitigations(register):
    register("spy", Spy)
    register("declared", Declared)
'''


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gold")
    (folder / "spy.py").write_text(SPY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("W2S_CACHE", str(folder / "cache"))
        results = w2s_bench.run(
            *SMALL, "task.n_gold=24", "mitigation=[naive],[spy],[declared],[mixed_ground_truth]", multirun=True,
            plugins=[TOY, str(folder / "spy.py")], store=folder / "store",
        )  # fmt: skip
    return {r["cell"]["mitigations"][0]["name"]: r for r in results.records}


def test_who_declares_it_gets_it_and_nobody_else(records):
    assert {n: r["status"] for n, r in records.items()} == {
        "naive": "ok", "spy": "failed", "declared": "ok", "mixed_ground_truth": "ok",
    }  # fmt: skip
    assert "mitigation spy" in records["spy"]["reason"] or "pool.gold" in records["spy"]["reason"]
    tracks = {n: r["track"] for n, r in records.items() if r["status"] == "ok"}
    assert tracks["naive"] == "weak-labels-only" and tracks["mixed_ground_truth"] == "uses-ground-truth"


def test_the_budget_is_part_of_the_protocol(records):
    assert {r["protocol_settings"]["sizes"]["n_gold"] for r in records.values()} == {24}
    assert len({r["protocol"] for r in records.values()}) == 1
    assert asdict(TaskOptions())["n_gold"] == 0


def test_no_budget_is_said_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match="'mixed_ground_truth' learns from examples with ground truth"):
        w2s_bench.run(*SMALL, "mitigation=[mixed_ground_truth]", plugins=[TOY], store=tmp_path)
    with pytest.raises(UsageError, match=r"task\.n_gold: expects 0 or more, not -1"):
        w2s_bench.run(*SMALL, "task.n_gold=-1", plugins=[TOY], store=tmp_path)
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize("when", ["after", "mixed"])
def test_true_labels_help_where_weak_ones_are_wrong(when):
    ours, naive = [], []
    for seed in range(5):
        split, weak = data(seed)["supervision"], supervisor(seed, flips=0.45)
        gold = split.inputs.take(range(400)), torch.eye(2)[split.truth[:400]]
        stack = [member("gold", MixedGroundTruth, when=when, share=0.7)]
        recipe = replace(RECIPE, epochs=6)
        ours.append(accuracy(student_of(stack, [weak], seed=seed, recipe=recipe, gold=gold), seed))
        naive.append(accuracy(student_of([], [weak], seed=seed, recipe=recipe), seed))
    assert np.mean(ours) > np.mean(naive) + 0.05, (ours, naive)
