"""Mitigations that change labels, votes or the order of learning, and no loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.bench import accuracy, supervisor
from support.losses import cases, close, quick
from support.mitigations import member, rounds_of

from w2s_bench.plugins.mitigations.mdl_curriculum import MDLCurriculum
from w2s_bench.plugins.mitigations.soft_labels import LabelSmoothing, Temperature
from w2s_bench.plugins.mitigations.vote_ensembles import MajorityVote, ProductEnsemble
from w2s_bench.registry import load


@given(cases(), st.floats(0, 1))
@quick
def test_smoothing_mixes_in_the_uniform_distribution(case, epsilon):
    labels = case[1]
    ours = LabelSmoothing(LabelSmoothing.Options(epsilon=epsilon)).revise_labels(torch.from_numpy(labels))
    close(ours, (1 - epsilon) * labels.astype(np.float64) + epsilon / labels.shape[1])


@given(cases(), st.floats(0.1, 10.0))
@quick
def test_temperature_is_a_power_that_is_normalised(case, temperature):
    labels = case[1]
    powers = labels.astype(np.float64) ** (1 / temperature)
    ours = Temperature(Temperature.Options(temperature=temperature)).revise_labels(torch.from_numpy(labels))
    close(ours, powers / powers.sum(1, keepdims=True))


def test_hard_labels_have_no_temperature():
    labels = torch.eye(3)
    assert torch.equal(Temperature(Temperature.Options()).revise_labels(labels), labels)


def test_sharpen_sharpens_and_temperature_softens():
    labels, registry = torch.tensor([[0.3, 0.7]]), load()
    sharp, soft = (
        registry.get("mitigation", n).build().revise_labels(labels)[0, 1] for n in ("sharpen", "temperature")
    )
    assert float(soft) < 0.7 < float(sharp)


# --- votes of several supervisors


@st.composite
def votes(draw):
    """Returns votes [S, N, C], some rows of which abstain."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(2, 4)))
    given_votes = rng.dirichlet(np.ones(shape[2]), shape[:2])
    given_votes[rng.random(shape[:2]) < 0.25] = np.nan
    return given_votes


def close_where_somebody_votes(ours, reference):
    abstained = np.isnan(reference).all(1)
    assert np.array_equal(ours.isnan().all(-1).numpy(), abstained)
    close(ours[~torch.from_numpy(abstained)], reference[~abstained])


@given(votes())
@quick
def test_product_ensemble_is_the_normalised_geometric_mean(given_votes):
    reference = np.full(given_votes.shape[1:], np.nan)
    for n in range(given_votes.shape[1]):
        rows = [np.maximum(row[n], 1e-6) for row in given_votes if not np.isnan(row[n]).any()]
        if rows:
            product = np.prod(rows, axis=0) ** (1 / len(rows))
            reference[n] = product / product.sum()
    close_where_somebody_votes(ProductEnsemble().combine_votes(torch.from_numpy(given_votes)), reference)


@given(votes())
@quick
def test_majority_vote_is_the_share_of_votes(given_votes):
    reference = np.full(given_votes.shape[1:], np.nan)
    for n in range(given_votes.shape[1]):
        choices = [int(row[n].argmax()) for row in given_votes if not np.isnan(row[n]).any()]
        if choices:
            reference[n] = np.bincount(choices, minlength=given_votes.shape[2]) / len(choices)
    close_where_somebody_votes(MajorityVote().combine_votes(torch.from_numpy(given_votes)), reference)


def test_a_tie_within_a_supervisor_splits_its_vote():
    given_votes = torch.tensor([[[0.5, 0.5, 0.0]], [[1.0, 0.0, 0.0]]])
    assert MajorityVote().combine_votes(given_votes).tolist() == [[0.75, 0.25, 0.0]]


# --- a curriculum of two rounds


def test_mdl_curriculum_begins_with_the_surest_half():
    student, rounds = rounds_of(member("mdl", MDLCurriculum), supervisors=[supervisor()])
    (first, labels), (second, _) = rounds
    assert (first.share, first.fresh, second.share, second.fresh, second.lr_scale) == (0.5, True, 0.5, False, 0.5)
    it = MDLCurriculum(MDLCurriculum.Options())
    weights = it.weigh_examples(labels, first)
    confidence = labels.max(-1).values
    assert int(weights.sum()) == len(labels) // 2
    assert float(confidence[weights == 1].min()) >= float(confidence[weights == 0].max())
    assert it.weigh_examples(labels, second).tolist() == [1.0] * len(labels)
    assert accuracy(student) > 0.6


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_mdl_curriculum_refuses_a_round_of_nothing(first):
    with pytest.raises(ValueError, match="first must lie between 0 and 1"):
        MDLCurriculum.Options(first=first)
