"""Losses and targets against float64 references written from the papers, on random and on saturated logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.bench import BATCH
from support.losses import batch_of, cases, close, log_softmax, quick

from w2s_bench.plugins.mitigations.aux_confidence import AuxConfidence, harden
from w2s_bench.plugins.mitigations.gce import GeneralizedCrossEntropy
from w2s_bench.plugins.mitigations.product import Product
from w2s_bench.training.defaults import NaiveFinetuning
from w2s_bench.training.stack import Stack
from w2s_bench.training.step import rate, weighted_mean

# --- cross-entropy (Burns et al. 2023, section 3: soft weak labels)


@given(cases())
@quick
def test_naive_loss_is_cross_entropy_with_soft_labels(case):
    logits, labels = case
    reference = -(labels.astype(np.float64) * log_softmax(logits)).sum(1)
    close(NaiveFinetuning().training_loss(torch.from_numpy(logits), torch.from_numpy(labels)), reference, rtol=1e-5)


@given(cases(), st.data())
@quick
def test_weights_make_a_weighted_mean(case, more):
    losses = np.abs(case[0][:, 0])
    weights = more.draw(hnp.arrays(np.float32, len(losses), elements=st.floats(0, 4, width=32)))
    assume(weights.sum() > 1e-3)
    reference = np.average(losses.astype(np.float64), weights=weights.astype(np.float64))
    close(weighted_mean(torch.from_numpy(losses), torch.from_numpy(weights)), reference, rtol=1e-4, atol=1e-4)


def test_weights_all_zero_teach_nothing():
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    weighted_mean(losses, torch.zeros(2)).backward()
    assert losses.grad.tolist() == [0.0, 0.0]


# --- generalized cross-entropy (Zhang & Sabuncu 2018, eq. 6; truncated: eq. 7)


def gce_reference(logits, labels, q, k=None):
    p = np.exp(log_softmax(logits))
    lower = (1 - p**q) / q
    if k is not None:
        lower = np.where(p <= k, (1 - k**q) / q, lower)
    return (labels.astype(np.float64) * lower).sum(1)


@given(cases(), st.floats(0.05, 1.0), st.booleans(), st.floats(0.1, 0.9))
@quick
def test_gce_is_the_papers(case, q, truncated, k):
    logits, labels = case
    gce = GeneralizedCrossEntropy(GeneralizedCrossEntropy.Options(q=q, truncated=truncated, k=k))
    ours = gce.training_loss(torch.from_numpy(logits), torch.from_numpy(labels))
    close(ours, gce_reference(logits, labels, q, k if truncated else None))


def test_gce_lies_between_cross_entropy_and_mean_absolute_error():
    logits, labels = torch.randn(8, 3), torch.eye(3)[torch.arange(8) % 3]
    near_ce = GeneralizedCrossEntropy(GeneralizedCrossEntropy.Options(q=1e-5)).training_loss(logits, labels)
    torch.testing.assert_close(near_ce, NaiveFinetuning().training_loss(logits, labels), rtol=1e-3, atol=1e-3)
    mae = GeneralizedCrossEntropy(GeneralizedCrossEntropy.Options(q=1.0)).training_loss(logits, labels)
    torch.testing.assert_close(mae, (logits.softmax(-1) - labels).abs().sum(-1) / 2)


@pytest.mark.parametrize("options", [{"q": 0.0}, {"q": -0.5}, {"q": 1.5}, {"k": 0.0}, {"k": 1.0}])
def test_gce_refuses_options_out_of_range(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must lie"):
        GeneralizedCrossEntropy.Options(**options)


# --- gradients against finite differences


def loss_of(kind):
    if kind == "ce":
        return NaiveFinetuning().training_loss
    return GeneralizedCrossEntropy(GeneralizedCrossEntropy.Options(truncated=kind == "truncated")).training_loss


@pytest.mark.parametrize("kind", ["ce", "gce", "truncated"])
@given(cases(low=-4.0, high=4.0))
@settings(max_examples=25, deadline=None)
def test_gradients_are_those_of_finite_differences(kind, case):
    logits, labels = (torch.from_numpy(x).double() for x in case)
    if kind == "truncated":  # differentiable away from the edge alone
        assume(bool(((logits.softmax(-1) - 0.5).abs() > 1e-4).all()))
    logits.requires_grad_(True)
    loss = loss_of(kind)
    slope = torch.autograd.grad(loss(logits, labels).sum(), logits)[0]
    h = 1e-6
    for i, j in np.ndindex(*logits.shape):
        nudge = torch.zeros_like(logits)
        nudge[i, j] = h
        with torch.no_grad():
            rise = (loss(logits + nudge, labels).sum() - loss(logits - nudge, labels).sum()) / (2 * h)
        assert abs(float(slope[i, j]) - float(rise)) < 1e-6


@pytest.mark.parametrize("kind", ["ce", "gce", "truncated"])
def test_gradients_are_finite_at_saturated_logits(kind):
    logits = torch.tensor([[300.0, -300.0], [-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    for labels in (torch.tensor([[0.0, 1.0]] * 3), torch.tensor([[0.3, 0.7]] * 3)):
        slope = torch.autograd.grad(loss_of(kind)(logits, labels).sum(), logits)[0]
        assert bool(slope.isfinite().all())


# --- auxiliary confidence (Burns et al. 2023, section 4.3 and appendix A.4)


def shares_of(one_hot):
    assert set(one_hot.unique().tolist()) <= {0.0, 1.0} and bool((one_hot.sum(-1) == 1).all())
    return one_hot.mean(0).numpy()


@given(cases())
@quick
def test_hardened_shares_meet_the_prior(case):
    logits, labels = (torch.from_numpy(x) for x in case)
    off = np.abs(shares_of(harden(logits, labels.mean(0))) - labels.mean(0).numpy())
    assert off.max() <= 1 / len(logits) + 1e-6


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_hardened_shares_meet_the_prior_where_logits_tie_or_saturate(classes):
    prior = torch.arange(1.0, classes + 1) / sum(range(1, classes + 1))
    tied = torch.zeros(30, classes)
    one_sided = torch.randn(30, classes, generator=torch.Generator().manual_seed(0)) + 1e4 * torch.eye(classes)[0]
    for logits in (tied, one_sided):
        assert np.abs(shares_of(harden(logits, prior)) - prior.numpy()).max() <= 1 / 30 + 1e-6


@given(cases(classes=2, low=-20.0, high=20.0))
@quick
def test_hardening_two_classes_is_a_threshold_on_the_probability(case):
    logits, labels = (torch.from_numpy(x) for x in case)
    chosen = harden(logits, labels.mean(0))[:, 1].bool()
    margin = (logits[:, 1].double() - logits[:, 0].double()).float()
    if bool(chosen.any()) and not bool(chosen.all()):
        assert float(margin[chosen].min()) >= float(margin[~chosen].max())


def test_hardening_prefers_the_students_own_classes():
    logits = 5 * torch.eye(3)[torch.arange(30) % 3]
    assert torch.equal(harden(logits, torch.full((3,), 1 / 3)).argmax(-1), torch.arange(30) % 3)


@given(cases(classes=2), st.integers(0, 99), st.floats(0, 1), st.floats(0, 1))
@quick
def test_aux_confidence_bends_the_targets_as_in_the_paper(case, seed, alpha_max, progress):
    logits, labels = case
    margin = np.random.default_rng(seed).permutation(len(logits)) - len(logits) / 3  # no two alike: one threshold
    logits = np.stack([np.zeros(len(margin)), margin], 1).astype(np.float32)
    positives = int(torch.round(torch.from_numpy(labels).mean(0)[1] * len(labels)))
    threshold = np.sort(margin)[::-1][positives - 1] if positives else np.inf
    own = (margin >= threshold).astype(np.float64)
    alpha = alpha_max * min(1.0, progress / 0.2)
    reference = (1 - alpha) * labels + alpha * np.stack([1 - own, own], 1)

    made = lambda: AuxConfidence(AuxConfidence.Options(alpha_max=alpha_max))  # noqa: E731
    stack = Stack([("aux", made)], {"aux": torch.Generator()})
    close(stack.training_targets(batch_of(labels), torch.from_numpy(logits), progress), reference)


def test_aux_confidence_teaches_nothing_about_its_own_target():
    logits = torch.randn(3, 2, requires_grad=True)
    stack = Stack([("aux", lambda: AuxConfidence(AuxConfidence.Options(ramp=0.0)))], {"aux": torch.Generator()})
    assert not stack.training_targets(BATCH, logits, 0.0).requires_grad
    with pytest.raises(ValueError, match="alpha_max must lie"):
        AuxConfidence.Options(alpha_max=1.2)


# --- product of experts (openai/weak-to-strong, loss.py)


@given(cases(low=-30.0, high=30.0), st.floats(0, 2), st.floats(0, 2))
@quick
def test_product_is_the_normalised_product(case, alpha, beta):
    logits, labels = case
    weak = np.clip(labels.astype(np.float64), 1e-12, None)
    log_product = alpha * np.log(weak) + beta * log_softmax(logits)
    product = Product(Product.Options(alpha=alpha, beta=beta))
    close(product.training_targets(batch_of(labels), torch.from_numpy(logits)), np.exp(log_softmax(log_product)))


# --- schedule


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_learning_rate_rises_then_decays_towards_zero(schedule):
    total, warmup = 100, 0.1
    rates = [rate(step, total, warmup, schedule) for step in range(total)]
    decay = [1 - s / 100 if schedule == "linear" else (1 + np.cos(np.pi * s / 100)) / 2 for s in range(total)]
    rise = [min(1.0, (s + 1) / 10) for s in range(total)]
    np.testing.assert_allclose(rates, np.multiply(rise, decay), atol=1e-12)
    assert all(0 < r <= 1 for r in rates) and rates[-1] < 0.02
    assert int(np.argmax(rates)) == 9


def test_learning_rate_without_warmup_starts_at_its_peak():
    assert rate(0, 10, 0.0, "cosine") == 1.0 and rate(0, 1, 0.5, "linear") == 1.0
