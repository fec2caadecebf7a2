"""The gold budget: for mitigations that declare it alone, on a track of their own, within the protocol."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.bench import RECIPE, accuracy, data, student_of, supervisor
from support.mitigations import member
from test_api import SMALL, TOY

import w2s_bench
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import Inputs, Split, TaskOptions
from w2s_bench.plugins.mitigations.controls import OracleFilter
from w2s_bench.plugins.mitigations.mixed_ground_truth import MixedGroundTruth
from w2s_bench.referee.prepare import part
from w2s_bench.registry.checks import problem_of_class

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

class Peeker:
    """Reads the truth of the transfer split."""
    @hookimpl
    def weigh_examples(self, labels, pool):
        return pool.transfer_truth[:, 0]

class Declared(Spy):
    """Reads the gold budget, and says so."""
    needs = frozenset({"ground_truth"})

@hookimpl
def register_mitigations(register):
    register("spy", Spy)
    register("declared", Declared)
    register("peeker", Peeker)
'''

NAMES = ("naive", "spy", "declared", "mixed_ground_truth", "peeker", "oracle_filter")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gold")
    (folder / "spy.py").write_text(SPY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("W2S_CACHE", str(folder / "cache"))
        results = w2s_bench.run(
            *SMALL, "task.n_gold=24", f"mitigation=[{'],['.join(NAMES)}]", multirun=True,
            plugins=[TOY, str(folder / "spy.py")], store=folder / "store",
        )  # fmt: skip
    return {r["cell"]["mitigations"][0]["name"]: r for r in results.records}


def test_who_declares_it_gets_it_and_nobody_else(records):
    assert {n: r["status"] for n, r in records.items()} == {
        "naive": "ok", "spy": "failed", "declared": "ok", "mixed_ground_truth": "ok", "peeker": "failed",
        "oracle_filter": "ok",
    }  # fmt: skip
    assert "mitigation spy" in records["spy"]["reason"] or "pool.gold" in records["spy"]["reason"]
    assert "pool.transfer_truth is for controls" in records["peeker"]["reason"]
    tracks = {n: r["track"] for n, r in records.items() if r["status"] == "ok"}
    assert tracks["naive"] == "weak-labels-only" and tracks["mixed_ground_truth"] == "uses-ground-truth"
    assert tracks["oracle_filter"] == "uses-ground-truth" and records["oracle_filter"]["control"]


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


def test_a_filter_that_knows_keeps_exactly_the_right_labels():
    labels = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [torch.nan, torch.nan]])
    truth = torch.eye(2)[[0, 0, 1, 0]]
    pool = SimpleNamespace(transfer_truth=truth)
    assert OracleFilter().weigh_examples(labels, pool).tolist() == [1, 0, 1, 1]


def test_only_a_control_may_see_the_transfer_truth():
    methods = {"__doc__": "Looks.", "needs": frozenset({"transfer_truth"})}
    assert "is for controls alone" in str(problem_of_class("mitigation", type("Looks", (), methods)))
    assert problem_of_class("mitigation", type("Looks", (), {**methods, "control": True})) is None


# --- unlabelled texts


UNLABELLED = '''
from w2s_bench import hookimpl


class Reader:
    """Weighs all alike, and fails unless there are unlabelled texts that are in no split."""

    @hookimpl
    def weigh_examples(self, labels, pool):
        texts = pool.unlabelled
        if texts is None:
            raise ValueError("no unlabelled texts")
        twice = {*pool.inputs.ids, *pool.validation.ids} & set(texts.ids)
        raise ValueError(f"{len(texts)} texts, {len(twice)} of them in a split, {len(pool.inputs)} labelled")


@hookimpl
def register_mitigations(register):
    register("reader", Reader)
'''


def test_unlabelled_texts_are_in_no_split_and_change_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("W2S_CACHE", str(tmp_path / "cache"))
    (tmp_path / "reader.py").write_text(UNLABELLED)
    plugins = [TOY, str(tmp_path / "reader.py")]
    run = functools.partial(w2s_bench.run, *SMALL, multirun=True, plugins=plugins, store=tmp_path / "store")
    (without,) = run("mitigation=[reader]").records
    assert "no unlabelled texts" in without["reason"]
    assert "n_unlabelled" not in without["protocol_settings"]["sizes"]  # as before there were any
    with_texts, naive = run("task.n_unlabelled=30", "mitigation=[reader],[naive]").records
    assert "30 texts, 0 of them in a split, 60 labelled" in with_texts["reason"]
    assert naive["status"] == "ok" and naive["protocol_settings"]["sizes"]["n_unlabelled"] == 30
    assert naive["protocol"] != without["protocol"]
    with pytest.raises(UsageError, match=r"task\.n_unlabelled: expects 0 or more, not -1"):
        run("task.n_unlabelled=-1")


def test_a_group_is_not_labelled_and_unlabelled():
    inputs = Inputs([str(i) for i in range(6)], list("abcdef"))
    kept, rest = part(Split(inputs, np.arange(6) % 2, ["g", "h", "h", "h", "i", "g"]), 0.5)
    assert kept.inputs.text == ["a", "b", "c"] and kept.group == ["g", "h", "h"] and kept.truth.tolist() == [0, 1, 0]
    assert rest.text == ["e"]
    assert part(Split(inputs, np.arange(6) % 2), 0.5)[1].text == ["d", "e", "f"]
