"""Targets and losses made for noisy labels, against float64 references written from the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.losses import batch_of, cases, close, log_softmax, quick

from w2s_bench import hookimpl
from w2s_bench.interfaces import build
from w2s_bench.plugins.mitigations.adaptive_confidence import AdaptiveConfidence
from w2s_bench.plugins.mitigations.confidence_window import ConfidenceWindow
from w2s_bench.plugins.mitigations.elr import EarlyLearning
from w2s_bench.plugins.mitigations.reverse_kl import ReverseKL
from w2s_bench.plugins.mitigations.sce import SymmetricCrossEntropy
from w2s_bench.plugins.mitigations.self_entropy import SelfEntropy
from w2s_bench.plugins.mitigations.self_paced import SelfPaced
from w2s_bench.training.stack import Stack


class Given:
    """Claims the loss with numbers that a test has chosen."""

    def __init__(self, losses):
        self.losses = losses

    @hookimpl
    def training_loss(self):
        return self.losses


def stack_of(cls, *inner, **options):
    members = [*inner, ("it", lambda: build(cls, options))]
    return Stack(members, {name: torch.Generator() for name, _ in members})


def given_losses(losses):
    return "inner", lambda: Given(torch.from_numpy(losses))


# --- symmetric cross-entropy (Wang et al. 2019)


@given(cases(), st.floats(0, 6), st.floats(0, 6))
@quick
def test_sce_is_cross_entropy_and_its_reverse(case, alpha, beta):
    logits, labels = case
    log_p, w = log_softmax(logits), labels.astype(np.float64)
    reverse = -(np.exp(log_p) * np.log(np.maximum(w, 1e-4))).sum(1)
    loss = SymmetricCrossEntropy(SymmetricCrossEntropy.Options(alpha=alpha, beta=beta)).training_loss
    close(loss(torch.from_numpy(logits), torch.from_numpy(labels)), -alpha * (w * log_p).sum(1) + beta * reverse)


def test_sce_of_a_hard_label_is_bounded_in_its_reverse_part():
    loss = SymmetricCrossEntropy(SymmetricCrossEntropy.Options(alpha=0.0)).training_loss
    wrong = loss(torch.tensor([[300.0, -300.0]]), torch.tensor([[0.0, 1.0]]))
    assert float(wrong) == pytest.approx(-np.log(1e-4), rel=1e-5)


# --- reverse KL (arXiv 2502.11107)


@given(cases())
@quick
def test_reverse_kl_is_the_divergence_of_the_student_from_the_labels(case):
    logits, labels = case
    log_p = log_softmax(logits)
    reference = (np.exp(log_p) * (log_p - np.log(np.maximum(labels.astype(np.float64), 1e-4)))).sum(1)
    close(ReverseKL(ReverseKL.Options()).training_loss(torch.from_numpy(logits), torch.from_numpy(labels)), reference)


def test_reverse_kl_is_least_where_the_student_has_the_labels():
    labels = torch.tensor([[0.2, 0.5, 0.3]])
    loss = ReverseKL(ReverseKL.Options()).training_loss
    at_labels = float(loss(labels.log(), labels))
    assert at_labels == pytest.approx(0, abs=1e-6)
    assert all(float(loss(labels.log() + shift, labels)) > 1e-3 for shift in 0.3 * torch.eye(3))


@pytest.mark.parametrize("cls", [SymmetricCrossEntropy, ReverseKL])
def test_gradients_are_finite_at_saturated_logits(cls):
    logits = torch.tensor([[300.0, -300.0], [-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    for labels in (torch.tensor([[0.0, 1.0]] * 3), torch.tensor([[0.3, 0.7]] * 3)):
        slope = torch.autograd.grad(build(cls, {}).training_loss(logits, labels).sum(), logits)[0]
        assert bool(slope.isfinite().all())


# --- self-entropy (EleutherAI/w2s) and adaptive confidence (Guo et al. 2024)


@given(cases(), st.floats(0, 1), st.floats(0, 1))
@quick
def test_self_entropy_mixes_in_the_students_own_probabilities(case, alpha_max, progress):
    logits, labels = case
    alpha = alpha_max * min(1.0, progress / 0.2)
    reference = (1 - alpha) * labels + alpha * np.exp(log_softmax(logits))
    stack = stack_of(SelfEntropy, alpha_max=alpha_max)
    close(stack.training_targets(batch_of(labels), torch.from_numpy(logits), progress), reference)


@given(cases(low=-60.0, high=60.0), st.floats(0.1, 4.0))
@quick
def test_adaptive_confidence_weighs_each_example_by_its_two_losses(case, temperature):
    logits, labels = case
    rows, log_p = np.arange(len(logits)), log_softmax(logits)
    chosen, labelled = logits.argmax(1), labels.argmax(1)
    own_loss, label_loss = -log_p[rows, chosen] / temperature, -log_p[rows, labelled] / temperature
    alpha = (1 / (1 + np.exp(np.minimum(label_loss - own_loss, 700))))[:, None]
    reference = (1 - alpha) * labels + alpha * np.eye(labels.shape[1])[chosen]
    ours = stack_of(AdaptiveConfidence, temperature=temperature).training_targets(
        batch_of(labels), torch.from_numpy(logits), 0.5
    )
    no_tie = np.all([np.diff(np.sort(x, 1)[:, -2:])[:, 0] > 1e-3 for x in (logits, labels)], axis=0)
    close(ours[torch.from_numpy(no_tie)], reference[no_tie], atol=1e-4)


@pytest.mark.parametrize("cls", [SelfEntropy, AdaptiveConfidence])
def test_targets_teach_nothing_about_themselves(cls):
    logits = torch.randn(3, 2, requires_grad=True)
    labels = np.full((3, 2), 0.5, dtype=np.float32)
    assert not stack_of(cls).training_targets(batch_of(labels), logits, 0.9).requires_grad


# --- early-learning regularisation (Liu et al. 2020)


@given(cases(), st.floats(0, 0.95), st.floats(0, 5), st.integers(0, 99))
@quick
def test_elr_holds_to_a_moving_average_of_each_example(case, beta, strength, seed):
    logits, labels = case
    stack = stack_of(EarlyLearning, beta=beta, strength=strength)
    stack.weigh_examples(torch.from_numpy(labels), None, None)
    average = np.zeros(labels.shape)
    draw = np.random.default_rng(seed)
    for _ in range(3):  # three passes in other orders
        index = draw.permutation(len(labels))
        x, w = (logits + draw.normal(size=logits.shape)).astype(np.float32)[index], labels[index]
        log_p = log_softmax(x)
        p = np.clip(np.exp(log_p), 1e-4, 1 - 1e-4)
        average[index] = beta * average[index] + (1 - beta) * p / p.sum(1, keepdims=True)
        reference = -(w.astype(np.float64) * log_p).sum(1) + strength * np.log(1 - (average[index] * p).sum(1))
        ours = stack.training_loss(batch_of(w, index), torch.from_numpy(x), torch.from_numpy(w), 0.5)
        close(ours, reference, rtol=2e-3, atol=2e-3)  # 1 - <t, p> of float32 numbers near 1


# --- self-paced learning (Kumar et al. 2010), and the window of confidence (EleutherAI/w2s)


@given(st.lists(st.floats(0, 50), min_size=1, max_size=40), st.floats(0.1, 1.0), st.floats(0, 1))
@quick
def test_self_paced_counts_the_easy_share_by_its_mean(losses, start, progress):
    losses = np.array(losses, dtype=np.float32)
    count = max(1, round((start + (1 - start) * min(1.0, progress / 0.5)) * len(losses)))
    stack = stack_of(SelfPaced, given_losses(losses), start=start)
    logits = labels = torch.full((len(losses), 2), 0.5)
    ours = stack.training_loss(batch_of(labels.numpy()), logits, labels, progress)
    assert int((ours > 0).sum()) <= count
    np.testing.assert_allclose(
        float(ours.mean()), np.sort(losses.astype(np.float64))[:count].mean(), rtol=1e-4, atol=1e-5
    )


@given(cases(low=-4.0, high=4.0), st.floats(0.01, 0.5), st.booleans())
@quick
def test_the_window_leaves_out_what_the_student_is_sure_of(case, radius, midweak):
    logits, labels = case
    losses = np.arange(1, len(logits) + 1, dtype=np.float32)
    stack = stack_of(ConfidenceWindow, given_losses(losses), radius=radius, midweak=midweak)
    assert stack.weigh_examples(torch.from_numpy(labels), None, None).tolist() == [1.0] * len(labels)
    if midweak:
        radius = np.sort(labels.max(1))[(len(labels) - 1) // 2] - 0.5  # torch's median is the lower one
    sure = np.exp(log_softmax(logits)).max(1)
    ours = stack.training_loss(batch_of(labels), torch.from_numpy(logits), torch.from_numpy(labels), 0.5).numpy()
    clear = np.abs(sure - 0.5 - radius) > 1e-5
    assert np.array_equal(ours[clear], np.where(sure < 0.5 + radius, losses, 0.0)[clear])


@pytest.mark.parametrize(
    ("cls", "options", "sentence"),
    [
        (SelfEntropy, {"alpha_max": 1.5}, "alpha_max must lie"),
        (AdaptiveConfidence, {"temperature": 0.0}, "temperature must be above 0"),
        (SymmetricCrossEntropy, {"log_zero": 0.0}, "log_zero must be below 0"),
        (ReverseKL, {"floor": 0.0}, "floor must lie"),
        (EarlyLearning, {"beta": 1.0}, "beta must lie"),
        (SelfPaced, {"start": 0.0}, "start must lie"),
        (ConfidenceWindow, {"radius": 0.6}, "radius must lie"),
    ],
)
def test_options_out_of_range_are_refused(cls, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        cls.Options(**options)
