"""Supervisors that differ in kind: rules that abstain, boosted bags of words, the first layers of a rung."""

from __future__ import annotations

import numpy as np
import pytest
from test_tfidf import context, examples, pairs

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import FitContext, Inputs, Recipe, Sizes, TaskInfo
from w2s_bench.plugins.supervisors.boosted import Boosted
from w2s_bench.plugins.supervisors.labelling_functions import LabellingFunctions
from w2s_bench.plugins.supervisors.ladder import EarlyCheckpoint, LadderSupervisor, TruncatedLadder
from w2s_bench.plugins.supervisors.tfidf import TfidfSupervisor
from w2s_bench.plugins.tasks.sandbox import Facts

TEXTS = Inputs([str(i) for i in range(6)], ["good film", "GOOD one", "bad film", "bad, not good", "film", ""])
TRUTH = np.array([1, 1, 0, 0, 1, 0])


def rules(*patterns):
    made = LabellingFunctions(LabellingFunctions.Options(rules=list(patterns)))
    made.fit(TEXTS, TRUTH, context())
    return made


def test_rules_vote_as_far_as_they_were_right_and_abstain_elsewhere(tmp_path):
    made = rules("good", "bad", "film$")
    labels = made.label(TEXTS)
    assert np.isnan(labels[5]).all() and not np.isnan(labels[:5]).any()
    counts = {"good": [1, 2], "bad": [2, 0], "film": [1, 2]}
    p = {name: (np.array(count) + 1) / 5 for name, count in counts.items()}
    for n, names in enumerate((["good", "film"], ["good"], ["bad", "film"], ["bad", "good"], ["film"])):
        expected = np.prod([p[name] for name in names], axis=0)
        np.testing.assert_allclose(labels[n], expected / expected.sum())
    made.save(tmp_path)
    again = LabellingFunctions(LabellingFunctions.Options(rules=["good", "bad", "film$"]))
    again.restore(tmp_path, context())
    np.testing.assert_array_equal(again.label(TEXTS), labels)


def test_rules_that_are_none_are_refused():
    with pytest.raises(UsageError, match=r"rules: '\(' is no regular expression"):
        LabellingFunctions.Options(rules=["("])
    with pytest.raises(UsageError, match="give one regular expression or more"):
        LabellingFunctions.Options(rules=[])
    with pytest.raises(W2SError, match="no rule matches any of the 6 texts"):
        rules("never seen")


def boosted(inputs, truth, given, **options):
    made = Boosted(Boosted.Options(**options))
    made.fit(inputs, truth, given)
    return made


@pytest.mark.parametrize("classes", [2, 4])
def test_boosting_is_samme(classes, tmp_path):
    inputs, truth = examples(200, 0, classes)
    truth = np.where(np.random.default_rng(1).random(200) < 0.3, (truth + 1) % classes, truth)
    made = boosted(inputs, truth, context(classes), rounds=4)
    rng, weights, alphas = np.random.default_rng(0), np.full(200, 1 / 200), []
    for k in range(len(made.models)):
        drawn = rng.choice(200, 200, p=weights) if k else np.arange(200)
        model = TfidfSupervisor(TfidfSupervisor.Options(ngrams=1))
        model.fit(inputs.take(drawn), truth[drawn], context(classes))
        wrong = model.label(inputs).argmax(1) != truth
        error = weights[wrong].sum()
        alphas.append(np.log((1 - error) / error) + np.log(classes - 1))
        weights = weights * np.exp(alphas[-1] * wrong) / (weights * np.exp(alphas[-1] * wrong)).sum()
    np.testing.assert_allclose(made.alphas, np.maximum(alphas, 1e-6), rtol=1e-6)
    labels = made.label(inputs)
    np.testing.assert_allclose(labels.sum(1), 1)
    votes = np.zeros((200, classes))
    for alpha, model in zip(made.alphas, made.models, strict=True):
        votes[np.arange(200), model.label(inputs).argmax(1)] += alpha
    assert (labels.argmax(1) == votes.argmax(1)).all()
    made.save(tmp_path)
    again = Boosted(Boosted.Options(rounds=4))
    again.restore(tmp_path, context(classes))
    np.testing.assert_allclose(again.label(inputs), labels)


def test_one_round_is_a_bag_of_words_and_pairs_are_served():
    inputs, truth = examples(80, 3)
    one = boosted(inputs, truth, context(), rounds=1)
    plain = TfidfSupervisor(TfidfSupervisor.Options(ngrams=1))
    plain.fit(inputs, truth, context())
    assert (one.label(inputs).argmax(1) == plain.label(inputs).argmax(1)).all()
    sides, better = pairs(60, 0)
    assert (boosted(sides, better, context(2, "preference")).label(sides).argmax(1) == better).all()


def test_a_truncated_rung_is_weaker_than_the_whole():
    names, splits = Facts().load(0, Sizes(1500, 1, 1, 1500))
    given = FitContext(TaskInfo("facts", "classification", 2, names), 0, Recipe(epochs=2.0, batch_size=32))
    right = []
    for made in (TruncatedLadder(TruncatedLadder.Options()), LadderSupervisor(LadderSupervisor.Options(size="m"))):
        made.fit(splits["supervision"].inputs, splits["supervision"].truth, given)
        right.append(float((made.label(splits["test"].inputs).argmax(1) == splits["test"].truth).mean()))
    assert len(TruncatedLadder(TruncatedLadder.Options()).backbone().module.h) == 1
    assert 0.5 <= right[0] < right[1] - 0.05
    with pytest.raises(UsageError, match="rung m has 2 layers; keep 1 to 2"):
        TruncatedLadder(TruncatedLadder.Options(layers=3)).backbone()


def test_a_rung_that_was_pretrained_for_less_is_weaker():
    splits = Facts().load(0, Sizes(n_supervision=1000, n_transfer=8, n_validation=8, n_test=1000))[1]
    supervision, test = splits["supervision"], splits["test"]
    given_to_both = FitContext(TaskInfo("facts", "classification", 2, ["bad", "good"]), 0, Recipe(epochs=2))
    accuracy = {}
    for made in (EarlyCheckpoint(EarlyCheckpoint.Options()), LadderSupervisor(LadderSupervisor.Options(size="m"))):
        made.fit(supervision.inputs, supervision.truth, given_to_both)
        accuracy[type(made)] = (made.label(test.inputs).argmax(1) == test.truth).mean()
    assert 0.5 < accuracy[EarlyCheckpoint] < accuracy[LadderSupervisor]
    with pytest.raises(UsageError, match=r"w2s pretrain --size m --seed 0 --saliency 0\.3 --steps 50 --out DIR"):
        EarlyCheckpoint(EarlyCheckpoint.Options(steps=50)).fingerprint()
