"""Filters and relabelling by features, neighbours and out-of-fold predictions, against references in float64."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from support.losses import close, quick

from w2s_bench.plugins.mitigations.ccs import CCS, contrast_loss
from w2s_bench.plugins.mitigations.confident_learning import ConfidentLearning, label_errors
from w2s_bench.plugins.mitigations.em_posterior import EMPosterior
from w2s_bench.plugins.mitigations.epiplexity import Epiplexity
from w2s_bench.plugins.mitigations.logreg_relabel import LogregRelabel, logistic, standardised
from w2s_bench.plugins.mitigations.neighbours import Filter, KNNFilter, KNNRelabel, Neighbours, TopoFilter, nearest
from w2s_bench.plugins.mitigations.overlap_density import OverlapDensity, change_point


@st.composite
def pools(draw, least=4):
    """Returns features [N, H] and labels [N, C], hard ones and ties among them."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    size, width, classes = draw(st.integers(least, 30)), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    labels = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.2, 1.0, 5.0]))), size)
    if draw(st.booleans()):
        labels = np.eye(classes)[labels.argmax(1)]
    return rng.normal(size=(size, width)), labels


def pool_of(features, seed=0, **more):
    rng = torch.Generator().manual_seed(seed)
    return SimpleNamespace(features=torch.as_tensor(features), rng=rng, **more)


def built(cls, **options):
    return cls(cls.Options(**options))


def around(features, k):
    distance = np.linalg.norm(features[:, None] - features[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, : min(k, len(features) - 1)]


@given(pools(), st.integers(1, 40))
@quick
def test_knn_relabel_is_the_mean_of_the_nearest(pool, k):
    features, labels = pool
    ours = built(KNNRelabel, k=k).revise_labels(torch.as_tensor(labels), pool_of(features))
    close(ours, labels[around(features, k)].mean(1), atol=1e-9)


@given(pools(), st.integers(1, 10), st.floats(0, 0.9))
@quick
def test_knn_filter_leaves_out_those_furthest_from_their_neighbours(pool, k, share):
    features, labels = pool
    weights = built(KNNFilter, k=k, contamination=share).weigh_examples(torch.as_tensor(labels), pool_of(features))
    distance = np.abs(labels - labels[around(features, k)].mean(1)).sum(1) / 2
    left_out = weights.numpy() == 0
    assert left_out.sum() == round(share * len(labels))
    if 0 < left_out.sum() < len(labels):
        assert distance[left_out].min() >= distance[~left_out].max() - 1e-9


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 5, "contamination": 1.0}])
def test_neighbours_refuse_what_means_nothing(options):
    with pytest.raises(ValueError, match="must"):
        (Filter if "contamination" in options else Neighbours)(**options)


def two_clouds(flipped=6, seed=0):
    """Returns features of two far clouds of 40 and their classes, some of them flipped."""
    rng = np.random.default_rng(seed)
    true = np.repeat([0, 1], 40)
    features = rng.normal(size=(80, 3)) + 8.0 * true[:, None]
    weak = true.copy()
    wrong = rng.choice(80, flipped, replace=False)
    weak[wrong] = 1 - weak[wrong]
    return features, true, weak, np.eye(2)[weak]


@pytest.mark.parametrize("cls", [KNNFilter, TopoFilter])
def test_filters_find_the_flipped_labels(cls):
    for seed in range(5):
        features, true, weak, labels = two_clouds(seed=seed)
        it = built(cls, k=8, contamination=6 / 80)
        kept = it.weigh_examples(torch.as_tensor(labels), pool_of(features)).numpy() > 0
        assert (weak[kept] == true[kept]).mean() > (weak == true).mean()
        assert not kept[weak != true].any()


def test_topo_filter_keeps_the_largest_component_of_each_class():
    import networkx as nx

    rng = np.random.default_rng(3)
    features, classes = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    labels = torch.as_tensor(np.eye(3)[classes])
    kept = built(TopoFilter, k=4, contamination=0.0).weigh_examples(labels, pool_of(features)).numpy() > 0
    neighbours = nearest(torch.as_tensor(features), 4).numpy()
    assert (np.sort(neighbours) == np.sort(around(features, 4))).all()
    for c in range(3):
        graph = nx.DiGraph()
        graph.add_nodes_from(np.flatnonzero(classes == c))
        graph.add_edges_from((i, j) for i in range(60) for j in neighbours[i] if classes[i] == classes[j] == c)
        sizes = [len(part) for part in nx.strongly_connected_components(graph)]
        chosen = set(np.flatnonzero(kept & (classes == c)).tolist())
        assert len(chosen) == max(sizes)
        assert chosen in [set(map(int, part)) for part in nx.strongly_connected_components(graph)]


# --- regressions


def reference_logistic(rows, labels, l2, counts):
    classes, width = labels.shape[1], rows.shape[1]

    def loss(flat):
        weight, bias = flat[: classes * width].reshape(classes, width), flat[classes * width :]
        logits = rows @ weight.T + bias
        log_p = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
        value = -(counts * (labels * log_p).sum(1)).sum() / counts.sum() + l2 / 2 * (weight**2).sum()
        error = (counts / counts.sum())[:, None] * (np.exp(log_p) * labels.sum(1, keepdims=True) - labels)
        return value, np.concatenate([(error.T @ rows + l2 * weight).ravel(), error.sum(0)])

    best = minimize(loss, np.zeros(classes * (width + 1)), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return best[: classes * width].reshape(classes, width), best[classes * width :]


def probabilities(rows, weight, bias):
    logits = rows @ np.asarray(weight).T + np.asarray(bias)
    return np.exp(logits - np.logaddexp.reduce(logits, 1, keepdims=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_logistic_is_the_minimum(seed, weighted):
    rng = np.random.default_rng(seed)
    rows, labels = rng.normal(size=(40, 3)), rng.dirichlet(np.ones(3), 40)
    counts = rng.random(40) if weighted else np.ones(40)
    ours = logistic(torch.as_tensor(rows), torch.as_tensor(labels), 0.05, torch.as_tensor(counts) if weighted else None)
    theirs = reference_logistic(rows, labels, 0.05, counts)
    np.testing.assert_allclose(probabilities(rows, *ours), probabilities(rows, *theirs), atol=1e-6)


def test_logreg_relabel_predicts_each_fold_from_the_others():
    features, true, weak, labels = two_clouds()
    it = built(LogregRelabel, folds=4)
    revised = it.revise_labels(torch.as_tensor(labels), pool_of(features)).numpy()
    assert (revised.argmax(1) == true).mean() > (weak == true).mean()
    fold = (torch.randperm(80, generator=torch.Generator().manual_seed(0)) % 4).numpy()
    rows = standardised(torch.as_tensor(features)).numpy()
    for f in range(4):
        theirs = reference_logistic(rows[fold != f], labels[fold != f], 1e-3, np.ones(int((fold != f).sum())))
        np.testing.assert_allclose(revised[fold == f], probabilities(rows[fold == f], *theirs), atol=1e-5)


def test_em_posterior_is_bayes_rule_twice():
    features, true, weak, labels = two_clouds(flipped=10)
    revised = built(EMPosterior).revise_labels(torch.as_tensor(labels), pool_of(features)).numpy()
    rows, one_hot = standardised(torch.as_tensor(features)).numpy(), np.eye(2)[weak]
    q = prior = probabilities(rows, *reference_logistic(rows, labels, 1e-2, np.ones(80)))
    for _ in range(2):
        channel = np.stack(
            [(probabilities(rows, *reference_logistic(rows, one_hot, 1e-2, q[:, c])) * one_hot).sum(1) for c in (0, 1)],
            1,
        )
        q = prior * channel**0.5
        q /= q.sum(1, keepdims=True)
        prior = probabilities(rows, *reference_logistic(rows, q, 1e-2, np.ones(80)))
    np.testing.assert_allclose(revised, q, atol=1e-4)
    assert (revised.argmax(1) == true).mean() > (weak == true).mean()
    assert built(EMPosterior, rounds=0).revise_labels(torch.as_tensor(labels), pool_of(features)) is None


# --- overlap


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=30))
@quick
def test_change_point_is_the_cut_with_the_least_squared_error(values):
    ordered = np.sort(np.float64(values))
    errors = [((p - p.mean()) ** 2).sum() for at in range(1, len(ordered)) for p in (ordered[:at],)]
    errors = [e + ((ordered[at + 1 :] - ordered[at + 1 :].mean()) ** 2).sum() for at, e in enumerate(errors)]
    ours = float(change_point(torch.tensor(values)))
    cuts = np.flatnonzero(ordered == np.float64(np.float32(ours)))
    assert min(errors[max(at - 1, 0)] for at in cuts) <= min(errors) + 1e-9


def test_overlap_is_what_resembles_the_hard_and_is_sure():
    rng = np.random.default_rng(0)
    easy, hard = np.array([5.0, 0.0]), np.array([0.0, 5.0])
    centres = np.concatenate([np.tile(hard, (20, 1)), np.tile(easy, (20, 1)), np.tile(easy + hard, (20, 1))])
    features = centres + 0.1 * rng.normal(size=(60, 2))
    confidence = np.concatenate([rng.uniform(0.5, 0.6, 20), rng.uniform(0.9, 1.0, 40)])
    labels = torch.as_tensor(np.stack([confidence, 1 - confidence], 1))
    weights = OverlapDensity().weigh_examples(labels, pool_of(features))
    assert weights.nonzero()[:, 0].tolist() == list(range(40, 60))
    alike = torch.full((5, 2), 0.5)
    assert OverlapDensity().weigh_examples(alike, pool_of(features[:5])).tolist() == [1.0] * 5


# --- out-of-fold predictions


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(5, 40))
@quick
def test_label_errors_are_pruned_by_noise_rate(seed, classes, size):
    rng = np.random.default_rng(seed)
    p, weak = rng.dirichlet(np.ones(classes), size), rng.integers(0, classes, size)
    ours = label_errors(torch.as_tensor(weak), torch.as_tensor(p)).numpy()
    threshold = [p[weak == c, c].mean() if (weak == c).any() else np.inf for c in range(classes)]
    counts = np.zeros((classes, classes))
    for n in range(size):
        above = [c for c in range(classes) if p[n, c] >= threshold[c]]
        if above:
            counts[weak[n], max(above, key=lambda c: p[n, c])] += 1
    for c in range(classes):
        if (weak == c).any() and not counts[c].sum():
            counts[c, c] = 1
    joint = np.array([counts[c] / max(counts[c].sum(), 1) * (weak == c).sum() for c in range(classes)])
    joint /= joint.sum()
    expected = np.zeros(size, dtype=bool)
    for i in range(classes):
        members = np.flatnonzero(weak == i)
        for j in range(classes):
            if i != j:
                order = members[np.argsort(-(p[members, j] - p[members, i]), kind="stable")]
                expected[order[: round(joint[i, j] * size)]] = True
    assert (ours == expected).all()


def test_cleanlab_prunes_the_same_labels():
    from cleanlab.filter import find_label_issues

    rng = np.random.default_rng(1)
    p, weak = rng.dirichlet(np.ones(3), 300), rng.integers(0, 3, 300)
    theirs = find_label_issues(weak, p, filter_by="prune_by_noise_rate")
    assert (label_errors(torch.as_tensor(weak), torch.as_tensor(p)).numpy() == theirs).mean() > 0.95


def test_confident_learning_and_epiplexity_look_at_out_of_fold_predictions():
    rng = np.random.default_rng(2)
    labels = torch.as_tensor(rng.dirichlet(np.ones(2), 50))
    asked = []

    def cross_predict(labels, folds, share=1.0):
        asked.append((folds, share))
        return torch.as_tensor(np.random.default_rng(int(share * 10)).dirichlet(np.ones(2), 50))

    pool = SimpleNamespace(cross_predict=cross_predict)
    weights = built(ConfidentLearning, folds=3).weigh_examples(labels, pool)
    errors = label_errors(labels.argmax(-1), cross_predict(labels, 3))
    assert torch.equal(weights == 0, errors) and asked[0] == (3, 1.0)
    revised = built(Epiplexity).revise_labels(labels, pool)
    early, late = (-(labels * cross_predict(labels, 2, s).log()).sum(-1).numpy() for s in (0.1, 1.0))
    least = np.argsort(early - late, kind="stable")[:20]
    expected = labels.numpy().copy()
    expected[least] = 0.5
    close(revised, expected, atol=1e-12)


# --- contrast-consistent search


@given(st.integers(0, 10_000), st.integers(1, 30))
@quick
def test_contrast_loss_is_consistency_and_confidence(seed, size):
    p, q = np.random.default_rng(seed).random((2, size))
    ours = contrast_loss(torch.as_tensor(q), torch.as_tensor(p))
    close(ours, np.mean((p - (1 - q)) ** 2 + np.minimum(p, q) ** 2), atol=1e-12)


def test_ccs_finds_the_direction_without_labels_and_its_sign_with_them():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, 200)
    noise = rng.normal(size=(2, 200, 4))
    sign = np.where(true == 1, 1.0, -1.0)
    negative, positive = noise[0] - 2 * sign[:, None] * [1, 0, 0, 0], noise[1] + 2 * sign[:, None] * [1, 0, 0, 0]
    weak = np.where(rng.random(200) < 0.3, 1 - true, true)
    pool = SimpleNamespace(
        task=SimpleNamespace(kind="preference", name="pairs"),
        features=torch.as_tensor(np.stack([negative, positive])).float(),
        rng=torch.Generator().manual_seed(0),
    )
    it = built(CCS, starts=3, steps=300)
    revised = it.revise_labels(torch.as_tensor(np.eye(2)[weak]), pool)
    assert (revised.argmax(-1).numpy() == true).mean() > 0.9 > (weak == true).mean()
    with pytest.raises(ValueError, match="two classes"):
        it.revise_labels(torch.ones(3, 3) / 3, pool)
