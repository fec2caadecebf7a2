"""Labels out of several supervisors' votes: label models, learnt weights, Dirichlet losses, assigned teachers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma, gammaln
from support.bench import accuracy, student_of, supervisor
from support.losses import close, quick
from support.mitigations import member, rounds_of

from w2s_bench.interfaces import Round
from w2s_bench.plugins.mitigations.bayesian_ensemble import BayesianEnsemble, divergence_from_uniform
from w2s_bench.plugins.mitigations.co_supervised import CoSupervised, divergences
from w2s_bench.plugins.mitigations.dawid_skene import DawidSkene, one_hot_votes
from w2s_bench.plugins.mitigations.f_divergence import DIVERGENCES, FLOOR, FDivergence
from w2s_bench.plugins.mitigations.raven import Raven, mixed, unanimous
from w2s_bench.plugins.mitigations.snorkel_label_model import SnorkelLabelModel, accuracies
from w2s_bench.training.batches import Batch


@st.composite
def votes(draw, least=1):
    """Returns votes [S, N, C], some rows of which abstain."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = draw(st.tuples(st.integers(least, 4), st.integers(1, 8), st.integers(2, 4)))
    cast = rng.dirichlet(np.ones(shape[2]), shape[:2])
    cast[rng.random(shape[:2]) < 0.25] = np.nan
    return cast


def simulated(accuracy, size=4000, classes=3, abstain=0.1, seed=0):
    """Returns true classes [N] and votes [S, N, C] of supervisors that err independently and alike on all classes."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, size)
    cast = np.full((len(accuracy), size, classes), np.nan)
    for k, a in enumerate(accuracy):
        wrong = (true + rng.integers(1, classes, size)) % classes
        answers = np.where(rng.random(size) < a, true, wrong)
        known = rng.random(size) >= abstain
        cast[k, known] = np.eye(classes)[answers[known]]
    return true, torch.as_tensor(cast)


def reference_dawid_skene(cast, rounds, tolerance=1e-6):
    size, classes = cast.shape[1:]
    answers = [[None if np.isnan(v).any() else int(v.argmax()) for v in row] for row in cast]
    q = np.zeros((size, classes))
    for n in range(size):
        for row in answers:
            if row[n] is not None:
                q[n, row[n]] += 1
    known = q.sum(1) > 0
    q[known] /= q[known].sum(1, keepdims=True)
    before = -np.inf
    for _ in range(rounds):
        share = q[known].mean(0)
        log = np.tile(np.log(np.maximum(share, 1e-12)), (size, 1))
        for row in answers:
            confusion = np.zeros((classes, classes))
            for n in range(size):
                if row[n] is not None:
                    confusion[:, row[n]] += q[n]
            confusion /= np.maximum(confusion.sum(1, keepdims=True), 1e-12)
            for n in range(size):
                if row[n] is not None:
                    log[n] += np.log(np.maximum(confusion[:, row[n]], 1e-12))
        total = np.logaddexp.reduce(log, 1, keepdims=True)
        q = np.exp(log - total)
        likelihood = total[known].mean() if known.any() else 0.0
        if likelihood - before < tolerance:
            break
        before = likelihood
    q[~known] = np.nan
    return q


@given(votes(), st.integers(1, 8))
@quick
def test_dawid_skene_is_expectation_maximisation(cast, rounds):
    if np.isnan(cast).any(-1).all():
        return
    it = DawidSkene(DawidSkene.Options(rounds=rounds))
    np.testing.assert_allclose(
        it.combine_votes(torch.as_tensor(cast)).numpy(), reference_dawid_skene(cast, rounds), atol=1e-6
    )


def test_dawid_skene_learns_who_confuses_what():
    for seed in range(5):
        true, cast = simulated([0.9, 0.6, 0.55, 0.5], size=1500, seed=seed)
        labels = DawidSkene(DawidSkene.Options()).combine_votes(cast)
        known = ~labels.isnan().any(-1)
        share = cast.nan_to_num(0.0).sum(0).argmax(-1)
        right = labels[known].argmax(-1).numpy() == true[known.numpy()]
        assert right.mean() > (share[known].numpy() == true[known.numpy()]).mean()


@pytest.mark.filterwarnings("ignore")
def test_a_library_of_crowds_agrees():
    import pandas as pd
    from crowdkit.aggregation import DawidSkene as CrowdKit

    _, cast = simulated([0.9, 0.7, 0.6], size=300)
    one_hot = one_hot_votes(cast)
    rows = [(n, k, int(one_hot[k, n].argmax())) for k in range(3) for n in range(300) if one_hot[k, n].sum()]
    frame = pd.DataFrame(rows, columns=["task", "worker", "label"])
    theirs = CrowdKit(n_iter=15, tol=0).fit_predict_proba(frame)
    ours = DawidSkene(DawidSkene.Options(rounds=15, tolerance=0.0)).combine_votes(cast).numpy()
    np.testing.assert_allclose(ours[theirs.index], theirs[[0, 1, 2]].to_numpy(), atol=1e-6)


def test_snorkel_reads_accuracies_off_agreement():
    wanted = np.array([0.9, 0.75, 0.6, 0.5])
    true, cast = simulated(wanted, size=20_000)
    one_hot = one_hot_votes(cast)
    a = accuracies(one_hot)
    np.testing.assert_allclose(a.numpy(), wanted, atol=0.03)
    labels = SnorkelLabelModel().combine_votes(cast).numpy()
    shares = one_hot.sum((0, 1)) / one_hot.sum()
    for n in range(50):
        p = shares.numpy().copy()
        for k in range(4):
            if one_hot[k, n].sum():
                p *= np.where(one_hot[k, n].numpy() > 0, float(a[k]), (1 - float(a[k])) / 2)
        if one_hot[:, n].sum():
            np.testing.assert_allclose(labels[n], p / p.sum(), atol=1e-9)
        else:
            assert np.isnan(labels[n]).all()
    share = one_hot.sum(0).argmax(-1).numpy()
    known = ~np.isnan(labels).any(1)
    assert (labels[known].argmax(1) == true[known]).mean() > (share[known] == true[known]).mean()


@given(votes())
@quick
def test_label_models_give_probabilities(cast):
    if np.isnan(cast).any(-1).all():
        return
    labels = SnorkelLabelModel().combine_votes(torch.as_tensor(cast)).numpy()
    nobody = np.isnan(cast).any(-1).all(0)
    assert (np.isnan(labels).any(1) == nobody).all()
    np.testing.assert_allclose(labels[~nobody].sum(1), 1.0, atol=1e-9)


# --- weights learnt with the student


@given(votes(), st.integers(0, 100))
@quick
def test_mixed_votes_are_a_mean_over_those_that_vote(cast, seed):
    theta = np.random.default_rng(seed).normal(size=len(cast))
    ours = mixed(torch.as_tensor(cast), torch.as_tensor(theta)).numpy()
    for n in range(cast.shape[1]):
        known = [k for k in range(len(cast)) if not np.isnan(cast[k, n]).any()]
        if known:
            weights = np.exp(theta[known]) / np.exp(theta[known]).sum()
            np.testing.assert_allclose(ours[n], (weights[:, None] * cast[known, n]).sum(0), atol=1e-9)
            classes = {int(cast[k, n].argmax()) for k in known}
            assert bool(unanimous(torch.as_tensor(cast))[n]) == (len(classes) == 1)
        else:
            assert np.isnan(ours[n]).all()


def test_raven_moves_towards_the_supervisor_that_the_student_agrees_with():
    cast = torch.tensor([[[0.9, 0.1]] * 4, [[0.1, 0.9]] * 4])
    batch = Batch(torch.arange(4), {}, cast[0], torch.ones(4), cast)
    it = Raven(Raven.Options(lr=0.1))
    logits = torch.tensor([[2.0, 0.0]] * 4)
    assert torch.allclose(it.training_targets(batch, logits, 0.0), torch.full((4, 2), 0.5))
    assert it.theta.tolist() == [0.0, 0.0]
    for _ in range(20):
        targets = it.training_targets(batch, logits, 0.5)
    assert it.theta.tolist()[0] > 0.5 > it.theta.tolist()[1] and bool((targets[:, 0] > 0.6).all())
    log_p = logits.log_softmax(-1)
    wrapped = it.training_loss(batch, 0.0)
    next(wrapped)
    with pytest.raises(StopIteration) as end:
        wrapped.send(-log_p[:, 0])
    assert end.value.value.tolist() == [0.0] * 4  # they disagree on all


def test_raven_finds_the_better_supervisor():
    for seed in range(3):
        weak = [supervisor(seed, flips=f, salt=s) for f, s in ((0.0, "a"), (0.45, "a"), (0.4, "b"))]
        raven = accuracy(student_of([member("raven", Raven)], weak, seed=seed), seed)
        worst = accuracy(student_of([], weak[1:2], seed=seed), seed)
        assert raven > worst + 0.05


# --- Dirichlet


@given(votes(), st.integers(0, 100), st.floats(0, 1))
@quick
def test_bayesian_ensemble_is_the_evidential_loss(cast, seed, progress):
    size, classes = cast.shape[1:]
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(size, classes)) * 3, rng.dirichlet(np.ones(classes), size)
    batch = Batch(torch.arange(size), {}, torch.as_tensor(labels), torch.ones(size), torch.as_tensor(cast))
    it = BayesianEnsemble(BayesianEnsemble.Options(strength=0.7))
    ours = it.training_loss(batch, torch.as_tensor(logits), progress)
    expected = []
    for n in range(size):
        rows = [v for v in cast[:, n] if not np.isnan(v).any()] or [labels[n]]
        a = 1 + np.exp(logits[n])
        values = []
        for w in rows:
            b = w + (1 - w) * a
            kl = gammaln(b.sum()) - gammaln(classes) - gammaln(b).sum()
            kl += ((b - 1) * (digamma(b) - digamma(b.sum()))).sum()
            values.append((w * (np.log(a.sum()) - np.log(a))).sum() + 0.7 * progress * kl)
        expected.append(np.mean(values))
    close(ours, expected, atol=1e-9)


def test_no_evidence_is_the_uniform_distribution():
    assert float(divergence_from_uniform(torch.ones(3, dtype=torch.float64))) == pytest.approx(0.0, abs=1e-12)
    assert float(divergence_from_uniform(torch.tensor([5.0, 1.0, 1.0], dtype=torch.float64))) > 0.1


# --- teachers by example


def test_co_supervised_takes_the_nearest_supervisor_and_rejects_the_furthest():
    cast = np.random.default_rng(0).dirichlet(np.ones(3), (3, 20))
    cast[0, :4] = np.nan
    cast[:, 0] = np.nan
    p = np.random.default_rng(1).dirichlet(np.ones(3), 20)
    votes_, labels = torch.as_tensor(cast), torch.full((20, 3), 1 / 3, dtype=torch.float64)
    pool = SimpleNamespace(votes=votes_, inputs=None)
    previous = SimpleNamespace(predict=lambda inputs: torch.as_tensor(p))
    it = CoSupervised(CoSupervised.Options(rejected=0.2))
    assert it.revise_labels(labels, pool, Round()) is labels
    revised = it.revise_labels(labels, pool, Round(previous=previous, index=1)).numpy()
    kl = np.array([[(v * np.log(np.maximum(v, 1e-8) / p[n])).sum() for n, v in enumerate(row)] for row in cast])
    chosen = [None if np.isnan(kl[:, n]).all() else int(np.nanargmin(kl[:, n])) for n in range(20)]
    for n, k in enumerate(chosen):
        np.testing.assert_allclose(revised[n], labels[n] if k is None else cast[k, n])
    left_out = (it.weigh_examples(labels) == 0).numpy()
    least = np.array([np.inf if k is None else kl[k, n] for n, k in enumerate(chosen)])
    finite = np.isfinite(least)
    assert left_out.sum() == round(0.2 * finite.sum()) and not left_out[~finite].any()
    assert least[left_out].min() >= least[finite & ~left_out].max()
    assert torch.equal(divergences(votes_, torch.as_tensor(p)).isinf(), votes_.isnan().any(-1))


def test_co_supervised_plans_its_rounds():
    _, rounds = rounds_of(member("co", CoSupervised), supervisors=[supervisor(), supervisor(flips=0.3)])
    assert [plan.fresh for plan, _ in rounds] == [True] * 3


# --- divergences


@given(st.integers(0, 10_000), st.sampled_from(sorted(DIVERGENCES)), st.booleans())
@quick
def test_divergences_are_their_formulas(seed, name, hard):
    rng = np.random.default_rng(seed)
    logits, w = rng.normal(size=(6, 3)) * 4, rng.dirichlet(np.ones(3), 6)
    w = np.eye(3)[w.argmax(1)] if hard else w
    ours = FDivergence(FDivergence.Options(divergence=name)).training_loss(torch.as_tensor(logits), torch.as_tensor(w))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p, w = (np.maximum(x, FLOOR) / np.maximum(x, FLOOR).sum(1, keepdims=True) for x in (p, w))
    m = (p + w) / 2
    expected = {
        "js": 0.5 * (p * np.log(p / m)).sum(1) + 0.5 * (w * np.log(w / m)).sum(1),
        "jeffreys": (p * np.log(p / w)).sum(1) + (w * np.log(w / p)).sum(1),
        "hellinger": ((np.sqrt(p) - np.sqrt(w)) ** 2).sum(1),
        "pearson": ((p - w) ** 2 / w).sum(1),
        "tv": np.abs(p - w).sum(1) / 2,
    }[name]
    close(ours, expected, atol=1e-9)
    with pytest.raises(ValueError, match="divergence must be one of"):
        FDivergence.Options(divergence="kl")
