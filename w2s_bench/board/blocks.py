"""Lines of accuracies over seeds, in independent blocks, and the moments of any contrast of them.

A line is one quantity measured once a seed: the floor, the ceiling or one mitigation's student of one group. Lines that
share random draws (one task: its splits, supervisors and test examples) are in one block; blocks are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from w2s_bench.board.statistics import Moments


@dataclass
class Block:
    """Lines L over seeds S of one task, shared test examples included."""

    values: np.ndarray
    """[L, S] accuracies, NaN where a line has no result for a seed."""
    right: dict[int, np.ndarray] = field(default_factory=dict)
    """[S, n] of 0 and 1 (NaN rows where missing) for lines tested on the same examples for all seeds."""
    sets: dict[int, str] = field(default_factory=dict)
    """Which test set those examples are; lines of different sets have independent examples."""
    sealed: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """Where scores are sealed: lines [l] with an upper bound [l, l] of their example covariance, divided by n."""

    @cached_property
    def _sealed_with(self) -> dict[int, int]:
        """Of each line whose scores are sealed, where in `sealed` it is."""
        return {int(line): k for k, (lines, _) in enumerate(self.sealed) for line in lines}

    def moments(
        self, contrasts: np.ndarray, also: tuple[int, ...] = (), among: np.ndarray | slice = slice(None)
    ) -> Moments:
        """Returns the moments of contrasts [K, A], over the seeds that all their lines, and those of `also`, have.

        `among` [A], ascending, are the lines that the contrasts are of, by default all: of many lines most have no part
        in a contrast.
        """
        contrasts = np.atleast_2d(np.asarray(contrasts, dtype=float))
        used = np.flatnonzero(np.abs(contrasts).sum(0) > 0)
        lines = np.arange(len(self.values))[among][used]
        c, y = contrasts[:, used], self.values[lines]
        seeds = np.flatnonzero(np.isfinite(self.values[[*lines, *also]]).all(0))
        n_seeds, k = len(seeds), len(c)
        mean, covariance = over_seeds(c @ y[:, seeds])
        df = np.full(k, max(n_seeds - 1.0, 0.0))
        return Moments(mean, covariance, df, self._examples(c, lines, seeds))

    def _examples(self, c: np.ndarray, lines: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Returns [K, K], what shared test examples add to the covariance of the means."""
        k = len(c)
        total = np.zeros((k, k))
        for name in dict.fromkeys(self.sets[i] for i in lines if i in self.sets):
            members = [j for j, i in enumerate(lines) if self.sets.get(i) == name and i in self.right]
            if members and len(seeds) > 1:
                right = [self.right[lines[j]][seeds] for j in members]
                of_them = over_examples if len(right) <= MANY else _over_many_lines
                total += of_them(c[:, members], right)
        bounds = []
        for which in sorted({self._sealed_with[i] for i in lines.tolist() if i in self._sealed_with}):
            bounded, matrix = self.sealed[which]
            weights = np.zeros((k, len(bounded)))
            _, at, of = np.intersect1d(bounded, lines, return_indices=True)
            weights[:, at] = c[:, of]
            if weights.any():
                bounds.append(weights @ matrix @ weights.T)
        if bounds:  # how groups go together is unknown: the variance of a sum of G is at most G times the sum
            total += len(bounds) * np.sum(bounds, 0)
        return total


def over_seeds(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the means [..., K] of contrasts z [..., K, S] and their covariance over seeds [..., K, K].

    NaN where there are too few seeds.
    """
    k, s = z.shape[-2:]
    if s == 0:
        return np.full(z.shape[:-1], np.nan), np.full((*z.shape[:-1], k), np.nan)
    mean = z.mean(-1)
    off = z - mean[..., None]
    covariance = off @ off.swapaxes(-1, -2) / ((s - 1) * s) if s > 1 else np.full((*z.shape[:-1], k), np.nan)
    return mean, covariance


def over_examples(contrasts: np.ndarray, right: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Returns what examples common to all seeds add to the covariance of the means of contrasts [K, L], [..., K, K].

    `right` [..., L, S, n] of 0 and 1. A variance estimated below zero means none: its row and column are zero.
    """
    return _without_negative(contrasts @ example_covariance(np.asarray(right)) @ contrasts.T)


def _over_many_lines(contrasts: np.ndarray, right: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the same for L times [S, n]: contrasts first, since the covariance of lines grows with their square."""
    total = np.zeros((len(contrasts), right[0].size))
    for begin in range(0, len(right), MANY):
        part = np.stack(right[begin : begin + MANY]).astype(float)
        total += contrasts[:, begin : begin + MANY] @ part.reshape(len(part), -1)
    return _without_negative(example_covariance(total.reshape(-1, *right[0].shape)))


MANY = 1000
"""Lines whose covariance with each other is not computed."""


def _without_negative(covariance: np.ndarray) -> np.ndarray:
    keep = np.diagonal(covariance, axis1=-2, axis2=-1) > 0
    return covariance * keep[..., :, None] * keep[..., None, :]


def example_covariance(values: np.ndarray) -> np.ndarray:
    """Returns [..., L, L], the covariance over examples common to all seeds of values [..., L, S, n], divided by n.

    Values are 0 and 1, or floats. The mean covariance between two different seeds:
    (S cov(mean over seeds) - mean over seeds of cov) / (S - 1).
    """
    s, n = values.shape[-2:]
    # of whole numbers all sums below are exact
    exact = np.float32 if s * s * n < 2**24 and values.dtype.kind != "f" else np.float64
    x = values.astype(exact)
    means, totals, flat = x.sum(-1, dtype=float) / n, x.sum(-2), x.reshape(*x.shape[:-2], -1)
    mean = means.mean(-1)
    between = _gram(totals).astype(float) / s**2 - n * mean[..., :, None] * mean[..., None, :]
    within = (_gram(flat) - n * _gram(means)) / s
    return (s * between - within) / ((s - 1) * (n - 1) * n)


def _gram(x: np.ndarray) -> np.ndarray:
    return x @ x.swapaxes(-1, -2)
