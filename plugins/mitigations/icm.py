"""Labels that predict each other best: a search for the most coherent labelling of the texts."""

from dataclasses import dataclass

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.logreg_relabel import standardised
from w2s_bench.plugins.mitigations.neighbours import rows_of


class ICM:
    """Labels that are the easiest to predict from each other, found by annealing from a few sure weak labels.

    Source: Wen et al. 2025, arXiv 2506.10139, algorithm 1 (internal coherence maximisation). Formula: D begins with
    `seeds` labelled examples; at step n an example is drawn and gets the class that is likeliest given the rest of D;
    with U(D) = `strength` mean_D log P(y_i | x_i, D without i) the change is kept if U rises, else with probability
    exp(dU / T), T = max(`coldest`, `hottest` / (1 + `cooling` log n)). There P is a language model with D in its prompt
    and the seeds' labels are random; here P is ridge regression on the student's features, which leaves one out in
    closed form, and the seeds are the surest weak labels of each class, which name the classes. The search labels at
    most `examples`; the rest get what the regression on these says. No example is bound to another by logic, so
    there is nothing to make consistent. Defaults: 8 seeds, T from 10 to .01, cooling .99, strength 50; the others were
    fixed before any run. Cost: 1 and the features.
    """

    source = "Wen et al. 2025, arXiv 2506.10139"
    search = {"seeds": [8, 32, 128], "l2": [1.0, 10.0, 100.0]}
    needs = frozenset({"features"})

    @dataclass
    class Options:
        seeds: int = 8
        """Examples that begin with their weak label, the surest of each class."""
        examples: int = 1000
        """How many are labelled by the search."""
        sweeps: float = 2.0
        """Steps for each of these."""
        strength: float = 50.0
        """Weight of coherence against the temperature."""
        hottest: float = 10.0
        """Temperature at the first step."""
        coldest: float = 0.01
        """Lowest temperature."""
        cooling: float = 0.99
        """How fast the temperature falls."""
        l2: float = 10.0
        """Penalty of the ridge regression."""

        def __post_init__(self):
            if self.seeds < 2 or self.examples < self.seeds or not self.l2 > 0:
                raise ValueError("seeds must be 2 or more, examples no fewer, and l2 above 0")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns labels [N, C]."""
        import torch

        o = self.options
        rows = standardised(rows_of(pool.features)).cpu().numpy()
        rows = np.concatenate([rows, np.ones((len(rows), 1))], 1)
        drawn = torch.randperm(len(labels), generator=pool.rng)[: o.examples]
        weak = labels[drawn].double().cpu().numpy()
        ridge = untaught(rows[drawn.numpy()], labels.shape[-1], o.l2)
        for at, c in surest(weak, o.seeds):
            ridge = ridge.with_label(at, c)
        steps = round(o.sweeps * len(drawn))
        places = torch.randint(len(drawn), (steps,), generator=pool.rng).tolist()
        chances = torch.rand(steps, generator=pool.rng).tolist()
        for n, (at, chance) in enumerate(zip(places, chances, strict=True), start=1):
            temperature = max(o.coldest, o.hottest / (1 + o.cooling * np.log(n)))
            changed = ridge.with_label(at, int(ridge.predicted()[at].argmax()))
            rise = o.strength * (changed.coherence() - ridge.coherence())
            if rise > 0 or chance < np.exp(rise / temperature):
                ridge = changed
        revised = torch.from_numpy(likely(rows @ ridge.weights)).to(labels.dtype)
        named = torch.from_numpy(ridge.labels).to(labels.dtype)
        inside = torch.from_numpy(ridge.labels.any(1))
        revised[drawn[inside]] = named[inside]
        return revised.to(labels.device)


def surest(weak, count):
    """Returns (position, class) of the `count` // C surest weak labels [N, C] of each class, at least one a class."""
    classes = weak.shape[1]
    known = np.where(np.isnan(weak), -1.0, weak)
    return [
        (int(at), c)
        for c in range(classes)
        for at in np.argsort(-known[:, c], kind="stable")[: max(count // classes, 1)]
        if known[at].argmax() == c and known[at, c] >= 0
    ]


def likely(fitted):
    """Returns probabilities [N, C] out of what a regression of one-hot labels fitted [N, C]: not below .001, sums 1."""
    positive = np.clip(fitted, 1e-3, None)
    return positive / positive.sum(1, keepdims=True)


def untaught(rows, classes, l2):
    """Returns a regression on rows [N, H] that has no label yet."""
    n, width = rows.shape
    nothing = np.zeros((n, classes))
    leverage = (rows**2).sum(1) / l2
    return Ridge(rows, classes, nothing, np.eye(width) / l2, leverage, np.zeros((width, classes)), nothing)


@dataclass(frozen=True)
class Ridge:
    """A ridge regression of one-hot labels on some of the rows, which learns a label in closed form."""

    rows: np.ndarray
    """[N, H]"""
    n_classes: int
    labels: np.ndarray
    """[N, C] one-hot, 0 throughout where a row has none."""
    inverse: np.ndarray
    """[H, H] of X'X + l2, over the rows with a label."""
    leverage: np.ndarray
    """[N] x' inverse x, of every row."""
    weights: np.ndarray
    """[H, C]"""
    fitted: np.ndarray
    """[N, C] rows @ weights."""

    def with_label(self, at, c):
        """Returns the regression in which row `at` has class c, whether it had a label before or none."""
        label = np.eye(self.n_classes)[c]
        direction = self.inverse @ self.rows[at]
        along = self.rows @ direction
        if self.labels[at].any():  # the rows stay what they are
            inverse, leverage, error = self.inverse, self.leverage, label - self.labels[at]
        else:  # Sherman and Morrison
            scale = 1 + along[at]
            inverse = self.inverse - np.outer(direction, direction) / scale
            leverage = self.leverage - along**2 / scale
            error = (label - self.fitted[at]) / scale
        labels = self.labels.copy()
        labels[at] = label
        return Ridge(
            self.rows, self.n_classes, labels, inverse, leverage,
            self.weights + np.outer(direction, error), self.fitted + np.outer(along, error),
        )  # fmt: skip

    def predicted(self):
        """Returns probabilities [N, C] of each row, by the labels of the other rows alone."""
        inside = self.labels.any(1)
        left = np.where(inside, self.leverage, 0.0)[:, None]
        return likely((self.fitted - left * self.labels) / (1 - left))

    def coherence(self):
        """Returns the mean log-probability of the labels, each by the others."""
        inside = self.labels.any(1)
        return float(np.log((self.predicted()[inside] * self.labels[inside]).sum(1)).mean())


@hookimpl
def register_mitigations(register):
    register("icm", ICM)
