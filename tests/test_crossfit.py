"""What the pool offers beside inputs and votes: out-of-fold predictions, other texts' features, labels, gold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.bench import RECIPE, TASK, data, student_of, supervisor

from w2s_bench import hookimpl
from w2s_bench.conformance.toy import ToyStudent
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Inputs
from w2s_bench.training import crossfit
from w2s_bench.training.crossfit import CrossFit
from w2s_bench.training.loop import StageContext
from w2s_bench.training.meter import Meter


def stage_of(cache=(), keys=None, seed=0, recipe=RECIPE):
    model = ToyStudent(ToyStudent.Options(width=32))
    return StageContext(TASK, seed, Meter(), {"strong": (model.backbone, recipe)}, cache, keys=keys or {})


def labelled(n=160, seed=0):
    """Returns inputs, and labels [N, C] that are the truth."""
    split = data(seed)["transfer"]
    return split.inputs.take(range(n)), torch.eye(2)[split.truth[:n]]


def test_nobody_predicts_what_it_learnt():
    """The labels of one fold are turned around: the student that predicts it never sees them, the other does."""
    inputs, labels = labelled()
    before = CrossFit(stage_of(), inputs)(labels)
    fold = np.random.default_rng(crossfit.derive(0, "folds", 2)).permutation(np.arange(160) % 2)
    turned = labels.clone()
    turned[fold == 0] = turned[fold == 0].flip(1)
    after = CrossFit(stage_of(), inputs)(turned)
    assert torch.equal(before[fold == 0], after[fold == 0])
    assert float((before[fold == 1] - after[fold == 1]).abs().min()) > 0
    assert float((before.argmax(-1) == labels.argmax(-1)).float().mean()) > 0.6
    assert torch.allclose(before.sum(-1), torch.ones(160))


def test_equal_questions_are_fitted_once_and_counted_for_each_stage(tmp_path, monkeypatch):
    fits = []
    fit_round = crossfit.fit_round
    monkeypatch.setattr(crossfit, "fit_round", lambda *a: fits.append(1) or fit_round(*a))
    inputs, labels = labelled(64)
    costs = []
    for _ in range(10):  # ten mitigations, each in a cell of its own
        stage = stage_of((str(tmp_path),), {"strong": "abc"})
        ask = CrossFit(stage, inputs)
        first, again = ask(labels), ask(labels)
        assert torch.equal(first, again) and first.data_ptr() != again.data_ptr()
        costs.append((stage.meter.steps, stage.meter.examples, stage.meter.tokens, stage.meter.flops))
    assert len(fits) == 2 and len(set(costs)) == 1 and costs[0][0] == 2 * 2 * 32 // 32
    for other in (labels.flip(1), labels):
        CrossFit(stage_of((str(tmp_path),), {"strong": "abc"}, seed=1 if other is labels else 0), inputs)(other)
    assert len(fits) == 6
    CrossFit(stage_of((str(tmp_path),)), inputs)(labels)  # a student drawn by its seed is not kept
    CrossFit(stage_of((str(tmp_path),)), inputs)(labels)
    assert len(fits) == 10
    monkeypatch.setattr(crossfit, "code", lambda: "of another version")
    CrossFit(stage_of((str(tmp_path),), {"strong": "abc"}), inputs)(labels)
    assert len(fits) == 12


def test_shares_and_folds_are_as_asked():
    inputs, labels = labelled(96)
    for folds, share in ((2, 1.0), (3, 0.5)):
        stage = stage_of()
        CrossFit(stage, inputs)(labels, folds, share)
        learnt = 96 - 96 // folds
        assert stage.meter.steps == folds * max(1, int(2 * learnt * share / 32))
    with pytest.raises(W2SError, match="labels for all 96 examples and 2 folds or more; 95 and 2 came"):
        CrossFit(stage_of(), inputs)(labels[:95])
    with pytest.raises(W2SError, match="96 and 1 came"):
        CrossFit(stage_of(), inputs)(labels, 1)


def test_rows_without_a_label_are_not_learnt_from():
    inputs, labels = labelled(96)
    labels[::3] = torch.nan
    predicted = CrossFit(stage_of(), inputs)(labels)
    assert bool(predicted.isfinite().all())
    assert not torch.equal(predicted, CrossFit(stage_of(), inputs)(labels.nan_to_num(0.5)))


class Asking:
    """Asks for everything and changes nothing."""

    def __init__(self):
        self.seen = {}

    @hookimpl
    def weigh_examples(self, labels, pool):
        ambient = torch.random.get_rng_state()
        seen = {
            "cross": pool.cross_predict(labels),
            "ours": pool.features,
            "theirs": pool.features_of(pool.validation),
            "labels": pool.validation_labels,
        }
        assert torch.equal(torch.random.get_rng_state(), ambient)
        SEEN.append((seen, pool))
        return labels.new_ones(len(labels))


SEEN: list = []


class Halves:
    """The mean of all votes, and a draw."""

    @hookimpl
    def combine_votes(self, votes, pool):
        torch.rand(3, generator=pool.rng)
        return votes.mean(0)


def test_asking_changes_nothing():
    weak = [supervisor(), supervisor(flips=0.3)]
    SEEN.clear()
    naive = student_of([("halves", Halves)], weak)
    asked = student_of([("halves", Halves), ("asking", Asking)], weak)
    test = data()["test"].inputs
    assert torch.equal(naive.predict(test), asked.predict(test))
    ((seen, pool),) = SEEN
    assert torch.equal(seen["labels"], pool.validation_votes.mean(0))
    assert seen["theirs"].shape == (len(pool.validation), seen["ours"].shape[1])
    assert torch.equal(pool.features_of(pool.inputs), seen["ours"])


def test_features_of_other_texts_tell_their_words():
    SEEN.clear()
    student_of([("asking", Asking)], [supervisor()])
    ((seen, pool),) = SEEN
    few = pool.inputs.take([3, 1])
    torch.testing.assert_close(pool.features_of(few), seen["ours"][[3, 1]])
    other = replace(few, text=[f"{t} w1" for t in few.text])
    assert not torch.allclose(pool.features_of(other), seen["ours"][[3, 1]])


def test_there_is_no_gold_without_a_budget():
    SEEN.clear()
    student_of([("asking", Asking)], [supervisor()])
    with pytest.raises(W2SError, match="declare needs = frozenset"):
        _ = SEEN[0][1].gold
    assert isinstance(SEEN[0][1].inputs, Inputs)
