"""Internal coherence maximisation: its closed forms against fits from nothing, and what the search finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.losses import quick
from test_label_cleaning import built, pool_of

from w2s_bench.plugins.mitigations.icm import ICM, likely, surest, untaught


def explicit(rows, labels, l2, without=None):
    """Returns the ridge regression's weights [H, C] by its normal equations, over the rows with a label."""
    inside = labels.any(1)
    if without is not None:
        inside = inside & (np.arange(len(rows)) != without)
    x, y = rows[inside], labels[inside]
    return np.linalg.solve(x.T @ x + l2 * np.eye(rows.shape[1]), x.T @ y)


@given(seed=st.integers(0, 2**16), classes=st.sampled_from([2, 3, 7]), l2=st.sampled_from([0.5, 10.0]))
@quick
def test_labels_given_one_by_one_are_a_fit_from_nothing(seed, classes, l2):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(14, 5))
    ridge = untaught(rows, classes, l2)
    for at in rng.integers(10, size=14):  # some twice, some never
        ridge = ridge.with_label(int(at), int(rng.integers(classes)))
    np.testing.assert_allclose(ridge.weights, explicit(rows, ridge.labels, l2), atol=1e-9)
    np.testing.assert_allclose(ridge.fitted, rows @ ridge.weights, atol=1e-9)
    expected = np.stack([x @ explicit(rows, ridge.labels, l2, without=n) for n, x in enumerate(rows)])
    np.testing.assert_allclose(ridge.predicted(), likely(expected), atol=1e-7)
    inside = ridge.labels.any(1)
    p = likely(expected)[inside]
    assert ridge.coherence() == pytest.approx(np.mean(np.log(p[np.arange(len(p)), ridge.labels[inside].argmax(1)])))


def test_seeds_are_the_surest_of_each_class_and_no_abstentions():
    weak = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [np.nan, np.nan], [0.8, 0.2], [0.45, 0.55]])
    assert surest(weak, 4) == [(0, 0), (4, 0), (2, 1), (5, 1)]
    assert surest(weak, 2) == [(0, 0), (2, 1)]
    assert surest(np.array([[0.9, 0.1], [0.8, 0.2]]), 4) == [(0, 0), (1, 0)]  # nobody names the second class


@pytest.mark.parametrize("classes", [2, 3])
def test_it_mends_wrong_labels_where_the_features_tell_classes_apart(classes):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth = rng.integers(classes, size=600)
        features = torch.from_numpy(rng.normal(size=(600, 8)) + 3 * np.eye(8)[truth]).float()
        named = np.where(rng.random(600) < 0.35, (truth + 1) % classes, truth)
        sure = np.where(named == truth, rng.uniform(0.6, 0.95, 600), rng.uniform(0.6, 0.8, 600))
        weak = np.full((600, classes), ((1 - sure) / (classes - 1))[:, None].repeat(classes, 1))
        weak[np.arange(600), named] = sure
        revised = built(ICM, examples=300, seeds=12 * classes).revise_labels(torch.from_numpy(weak), pool_of(features))
        np.testing.assert_allclose(revised.sum(-1), 1)
        assert (revised.argmax(-1).numpy() == truth).mean() > 0.9 > (weak.argmax(1) == truth).mean()


def test_options_are_checked():
    with pytest.raises(ValueError, match="seeds must be 2 or more"):
        ICM.Options(seeds=1)
