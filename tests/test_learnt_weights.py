"""Mitigations with loops of their own: learnt weights and labels, checks, probes, heads, gold; and rewards."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.bench import RECIPE, accuracy, data, student_of, supervisor
from support.losses import close, quick
from support.mitigations import member

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Inputs, Round
from w2s_bench.plugins.mitigations.early_stopping import EarlyStopping
from w2s_bench.plugins.mitigations.head_from_words import HeadFromWords, ZeroShot
from w2s_bench.plugins.mitigations.learning_to_reweight import LearningToReweightGold, helpful
from w2s_bench.plugins.mitigations.linear_probe_after import LinearProbeAfter
from w2s_bench.plugins.mitigations.meta_label_correction import (
    MetaLabelCorrectionGold,
    corrected,
    corrector,
)
from w2s_bench.plugins.mitigations.meta_weight_net import MetaWeightNetGold
from w2s_bench.plugins.mitigations.reliability_weights import ReliabilityWeights, perturbed
from w2s_bench.plugins.mitigations.reward_training import RewardTraining, advantage_weights
from w2s_bench.plugins.mitigations.selective import Selective
from w2s_bench.plugins.mitigations.two_stage import TwoStage

LONG = replace(RECIPE, epochs=4)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
@quick
def test_helpful_weights_are_the_rectified_gradient(gradient):
    useful = np.maximum(-np.array(gradient), 0)
    expected = useful * len(useful) / useful.sum() if useful.sum() > 0 else useful
    close(helpful(torch.tensor(gradient, dtype=torch.float64)), expected, atol=1e-9)


@pytest.mark.parametrize("cls", [LearningToReweightGold, MetaWeightNetGold, MetaLabelCorrectionGold])
def test_a_gold_meta_set_is_the_budget(cls):
    gold = data()["supervision"].inputs.take(range(4)), torch.eye(2)[[1, 0, 0, 1]]
    inputs, at, answers = cls(cls.Options()).meta_set(SimpleNamespace(gold=gold))
    assert inputs is gold[0] and at.tolist() == [0, 1, 2, 3] and answers.tolist() == [1, 0, 0, 1]
    assert cls.needs >= {"ground_truth"} and "several_supervisors" not in cls.needs


def test_a_corrector_begins_as_the_identity():
    rng = torch.Generator().manual_seed(0)
    labels = torch.tensor([[0.3, 0.7], [0.9, 0.1]])
    correct = corrector(4, 2, 8, rng)
    torch.testing.assert_close(corrected(correct, torch.randn(2, 4), labels), labels)
    w = torch.randn(2, 8)
    with torch.no_grad():
        correct[2].weight.copy_(w)
    x = torch.randn(2, 4, dtype=torch.float32)
    hidden = np.maximum(
        torch.cat([x, labels], -1).double().numpy() @ correct[0].weight.detach().double().numpy().T
        + correct[0].bias.detach().double().numpy(),
        0,
    )
    logits = np.log(labels.double().numpy()) + hidden @ w.double().numpy().T
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    close(corrected(correct, x, labels), expected)


def test_early_stopping_keeps_the_best_of_its_checks():
    """Labels are noise after the supervisor: the longer the training, the worse the validation loss."""
    weak = [supervisor(flips=0.3)]
    recipe = replace(RECIPE, epochs=40, body_lr=3e-2)
    stopped = student_of([member("early", EarlyStopping)], weak, recipe=recipe)
    once = student_of([member("early", EarlyStopping, checks=1)], weak, recipe=recipe)
    naive = student_of([], weak, recipe=recipe)
    test = data()["test"].inputs
    torch.testing.assert_close(once.predict(test), naive.predict(test))
    validation = data()["validation"]
    labels = torch.from_numpy(weak[0].label(validation.inputs)).float()
    losses = [float(-(labels * s.predict(validation.inputs).log()).sum(-1).mean()) for s in (stopped, naive)]
    assert losses[0] < losses[1]
    assert accuracy(stopped) > accuracy(naive)


def test_a_probe_after_is_the_regression_on_finetuned_features():
    from sklearn.linear_model import LogisticRegression

    student = student_of([member("probe", LinearProbeAfter, l2=0.01)], [supervisor()])
    split, test = data()["transfer"], data()["test"]
    labels = supervisor().label(split.inputs)
    h = student.features(split.inputs).double().numpy()
    mean, deviation = h.mean(0), np.maximum(h.std(0, ddof=1), 1e-6)
    rows = (h - mean) / deviation
    model = LogisticRegression(C=1 / (0.01 * len(rows)) / 0.5, tol=1e-10, max_iter=5000)  # its two rows are one
    model.fit(np.concatenate([rows, rows]), np.repeat([0, 1], len(rows)), sample_weight=labels.T.ravel())
    theirs = model.predict_proba((student.features(test.inputs).double().numpy() - mean) / deviation)
    np.testing.assert_allclose(student.predict(test.inputs).numpy(), theirs, atol=2e-3)


def test_a_head_begins_as_the_words_of_the_classes():
    recipe = replace(RECIPE, head_lr=0.0, body_lr=0.0)
    student = student_of([member("words", HeadFromWords)], [supervisor()], recipe=recipe)
    body = student.classifier.body
    (below,), (above,) = student.backbone.encode(["below", "above"])
    states = torch.randn(5, student.classifier.head.in_features)
    ours = student.classifier.head(states)
    torch.testing.assert_close(ours, body.lm_logits(states)[:, [below, above]])
    words = student_of([member("words", HeadFromWords, words={"toy": ["w3", "w5"]})], [supervisor()], recipe=recipe)
    torch.testing.assert_close(words.classifier.head(states), words.classifier.body.lm_logits(states)[:, [3, 5]])
    with pytest.raises(W2SError, match="words needs 2, one a class of toy, not 1"):
        student_of([member("words", HeadFromWords, words={"toy": ["w3"]})], [supervisor()], recipe=recipe)


def test_zero_shot_takes_no_step():
    prompted = student_of([member("zero", ZeroShot)], [supervisor()])
    untrained = student_of(
        [member("words", HeadFromWords)], [supervisor()], recipe=replace(RECIPE, head_lr=0.0, body_lr=0.0)
    )
    for ours, theirs in zip(prompted.classifier.parameters(), untrained.classifier.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert prompted.meter.steps == 0


# --- asking the supervisor again


def test_a_perturbed_text_is_a_part_of_it():
    inputs = Inputs(["a", "b"], ["one two three four", "five"], ["six seven", "eight"])
    rng = torch.Generator().manual_seed(0)
    texts = [perturbed(inputs, 0.5, rng) for _ in range(50)]
    for made in texts:
        for before, after in zip(inputs.text + inputs.other, made.text + made.other, strict=True):
            words = iter(before.split())
            assert after and all(w in words for w in after.split())
    assert len({made.text[0] for made in texts}) > 5 and {made.text[1] for made in texts} == {"five"}
    assert perturbed(inputs, 0.0, rng).text == inputs.text


class Nervous:
    """Is steady about the texts with a w1 in them alone."""

    def label(self, inputs):
        steady = np.array(["w1" in t.split() or len(t.split()) == 3 for t in inputs.text])
        return np.stack([steady, ~steady], 1).astype(float)


def test_unsteady_labels_count_less():
    inputs = Inputs([str(i) for i in range(40)], ["w1 w1 w1"] * 20 + ["w2 w3 w4"] * 20)
    frozen = SimpleNamespace(label=lambda inputs: torch.from_numpy(Nervous().label(inputs)))
    pool = SimpleNamespace(inputs=inputs, supervisors=[frozen], rng=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1.0, 0.0]]).repeat(40, 1)
    weights = ReliabilityWeights(ReliabilityWeights.Options(draws=8, drop=0.4)).weigh_examples(labels, pool)
    assert bool((weights[:20] == 1).all()) and float(weights[20:].mean()) < 0.5

    it = TwoStage(TwoStage.Options(keep=0.5, draws=8, drop=0.4))
    first, second = Round(), Round(previous=SimpleNamespace(predict=lambda inputs: labels.flip(1)), index=1)
    assert it.plan_rounds() == [Round(), Round()] and it.revise_labels(labels, pool, first) is None
    assert it.weigh_examples(labels, pool, first).tolist() == [1.0] * 20 + [0.0] * 20
    again = TwoStage(TwoStage.Options(keep=0.5, draws=8, drop=0.4))
    revised = again.revise_labels(labels, pool, second)
    assert torch.equal(revised[:20], labels[:20]) and torch.equal(revised[20:], labels[20:].flip(1))
    assert again.weigh_examples(labels, pool, second).tolist() == [1.0] * 40


def test_selective_takes_its_own_labels_where_it_knows():
    rng = np.random.default_rng(0)
    features = {"pool": rng.normal(size=(60, 2)), "validation": rng.normal(size=(80, 2))}
    knows = {name: f[:, 0] > 0 for name, f in features.items()}
    weak = torch.tensor([[0.8, 0.2]]).repeat(80, 1)
    answers = torch.where(torch.from_numpy(knows["validation"])[:, None], weak, weak.flip(1))
    texts = {name: Inputs([str(i) for i in range(len(f))], ["x"] * len(f)) for name, f in features.items()}
    own = torch.tensor([[0.1, 0.9]]).repeat(60, 1)
    previous = SimpleNamespace(predict=lambda inputs: own if len(inputs) == 60 else answers)
    pool = SimpleNamespace(
        inputs=texts["pool"], validation=texts["validation"], validation_labels=weak,
        features=torch.from_numpy(features["pool"]).float(),
        features_of=lambda inputs: torch.from_numpy(features["validation"]).float(),
    )  # fmt: skip
    labels = torch.from_numpy(rng.dirichlet([1, 1], 60)).float()
    it = Selective(Selective.Options(k=3, smoothing=0.25))
    assert it.revise_labels(labels, pool, Round()) is None
    revised = it.revise_labels(labels, pool, Round(previous=previous, index=1)).numpy()
    distance = np.linalg.norm(features["pool"][:, None] - features["pool"][None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    around = labels.numpy()[np.argsort(distance, 1)[:, :3]].mean(1)
    smoothed = 0.75 * labels.numpy() + 0.25 * around
    sure = np.abs(features["pool"][:, 0]) > 0.3
    expected = np.where(knows["pool"][:, None], own.numpy(), smoothed)
    np.testing.assert_allclose(revised[sure], expected[sure], atol=1e-6)


# --- rewards


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30), st.floats(0.1, 5))
@quick
def test_advantage_weights(rewards, temperature):
    r = np.array(rewards)
    weights = np.minimum(np.exp((r - r.mean()) / max(r.std(ddof=1), 1e-6) / temperature), 20.0)
    ours = advantage_weights(torch.tensor(rewards, dtype=torch.float64), temperature)
    close(ours, weights / weights.mean(), rtol=1e-6)


def test_reward_training_learns_its_answers_by_their_reward():
    it = RewardTraining(RewardTraining.Options())
    first, second = it.plan_rounds()
    assert (first.share, second.share, second.fresh) == (0.5, 0.5, False)
    labels = torch.tensor([[1.0, 0.0, 0.0]]).repeat(3, 1)
    assert it.revise_labels(labels, None, first) is None and it.weigh_examples(labels).tolist() == [1.0] * 3
    rewards = torch.tensor([0.0, 1.0, 3.0])
    answered = torch.tensor([[0.0, 1.0, 0.0], [torch.nan] * 3, [0.0, 1.0, 0.0]])
    pool = SimpleNamespace(
        inputs=None, rng=None, labels_for=lambda answers: answered,
        supervisors=[SimpleNamespace(reward=lambda inputs, answers: rewards)],
    )  # fmt: skip
    previous = SimpleNamespace(answer=lambda inputs, rng: ["a", "", "c"])
    revised = it.revise_labels(labels, pool, replace(second, previous=previous, index=1))
    assert torch.equal(revised[1], labels[1]) and torch.equal(revised[[0, 2]], answered[[0, 2]])
    torch.testing.assert_close(it.weigh_examples(labels), advantage_weights(rewards, 1.0))


def test_words_are_refused_where_there_is_no_language_model():
    class Mute(torch.nn.Module):
        pass

    student = SimpleNamespace(classifier=SimpleNamespace(body=Mute(), head=None))
    with pytest.raises(ValueError, match="no language model"):
        HeadFromWords(HeadFromWords.Options()).fit_student(SimpleNamespace(new_student=lambda: student))
    assert issubclass(W2SError, Exception)
