"""Lines of accuracies over seeds, in independent blocks, and the moments of any contrast of them.

A line is one quantity measured once a seed: the floor, the ceiling or one mitigation's student of one group. Lines that
share random draws (one task: its splits, supervisors and test examples) stand in one block; blocks are independent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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

    def moments(self, contrasts: np.ndarray, also: tuple[int, ...] = ()) -> Moments:
        """Returns the moments of contrasts [K, L], over the seeds that all their lines, and those of `also`, have."""
        contrasts = np.atleast_2d(np.asarray(contrasts, dtype=float))
        lines = np.flatnonzero(np.abs(contrasts).sum(0) > 0)
        c, y = contrasts[:, lines], self.values[lines]
        seeds = np.flatnonzero(np.isfinite(self.values[[*lines, *also]]).all(0))
        z = c @ y[:, seeds]  # [K, S]
        n_seeds, k = len(seeds), len(c)
        mean = z.mean(1) if n_seeds else np.full(k, np.nan)
        off = z - mean[:, None]
        covariance = off @ off.T / ((n_seeds - 1) * n_seeds) if n_seeds > 1 else np.full((k, k), np.nan)
        df = np.full(k, max(n_seeds - 1.0, 0.0))
        return Moments(mean, covariance, df, self._examples(c, lines, seeds))

    def _examples(self, c: np.ndarray, lines: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Returns [K, K], what shared test examples add to the covariance of the means."""
        k = len(c)
        total = np.zeros((k, k))
        for name in dict.fromkeys(self.sets[i] for i in lines if i in self.sets):
            own = [j for j, i in enumerate(lines) if self.sets.get(i) == name and i in self.right]
            if own and len(seeds) > 1:
                x = np.stack([self.right[lines[j]][seeds] for j in own])  # [l, S, n]
                total += example_covariance(np.tensordot(c[:, own], x, 1))
        bounds = []
        for bounded, matrix in self.sealed:
            weights = np.array([[row[lines == i].sum() for i in bounded] for row in c])
            if weights.any():
                bounds.append(weights @ matrix @ weights.T)
        if bounds:  # how groups go together is unknown: the variance of a sum of G is at most G times the sum
            total += len(bounds) * np.sum(bounds, 0)
        return total


def example_covariance(d: np.ndarray) -> np.ndarray:
    """Returns [K, K], the covariance over examples common to all seeds of d [K, S, n], divided by n.

    The mean covariance between two different seeds: (S cov(mean over seeds) - mean over seeds of cov) / (S - 1).
    """
    _, s, n = d.shape
    d = d - d.mean(2, keepdims=True)
    mean = d.mean(1)
    between = mean @ mean.T / (n - 1)
    flat = d.reshape(len(d), -1)
    within = flat @ flat.T / ((n - 1) * s)
    shared = (s * between - within) / (s - 1)
    variance = np.diag(shared)
    if (variance < 0).any():  # an estimate below zero means none: drop its row and column
        keep = variance > 0
        shared = shared * keep[:, None] * keep[None, :]
    return shared / n


def contrast(n_lines: int, weights: dict[int, float]) -> np.ndarray:
    """Returns [L] with these weights."""
    row = np.zeros(n_lines)
    for line, weight in weights.items():
        row[line] += weight
    return row
