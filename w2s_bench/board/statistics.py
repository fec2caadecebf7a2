"""Intervals and tests for linear contrasts of accuracies, and for ratios of two of them. numpy and scipy alone.

Two sources of uncertainty: seeds (all that is drawn anew with a seed) and, where one test set serves all seeds, its
examples. Each gives a variance of its own. An interval is Student's t on their sum, with the seeds' degrees of freedom
divided by the seeds' share of the sum, and never narrower than from seeds alone. Satterthwaite (1946) divides by the
squared share; but that share is estimated, and where few seeds agree by luck Satterthwaite's interval undercovers.
`docs/statistics.md` shows the measured coverage, and that of the alternatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.95


@dataclass(frozen=True)
class Moments:
    """Means of K contrasts with the two parts of their covariance; many boards at once are in leading axes."""

    mean: np.ndarray
    """[K]"""
    seeds: np.ndarray
    """[K, K] covariance of the means that comes from seeds."""
    df: np.ndarray
    """[K] degrees of freedom of the diagonal of `seeds`; 0 where one seed says nothing about variance."""
    examples: np.ndarray
    """[K, K] covariance of the means from test examples that all seeds share; zero where each seed has its own."""

    def pick(self, *which: int) -> Moments:
        """Returns the moments of these contrasts alone."""
        k = list(which)
        at = (..., np.array(k)[:, None], k)
        return Moments(self.mean[..., k], self.seeds[at], self.df[..., k], self.examples[at])


def add(parts: Sequence[Moments]) -> Moments:
    """Returns the moments of sums over independent parts; degrees of freedom after Satterthwaite (1946)."""
    if len(parts) == 1:
        return parts[0]
    variances = np.array([np.diag(p.seeds) for p in parts])  # [P, K]
    df = np.array([p.df for p in parts], dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = variances.sum(0) ** 2 / (variances**2 / df).sum(0)
    known = (df > 0).all(0)
    pooled = np.where(variances.sum(0) > 0, pooled, df.sum(0))
    return Moments(
        np.sum([p.mean for p in parts], 0),
        np.sum([p.seeds for p in parts], 0),
        np.where(known, pooled, 0.0),
        np.sum([p.examples for p in parts], 0),
    )


def quantile(df: np.ndarray | float, level: float = LEVEL) -> np.ndarray:
    """Returns Student's two-sided quantile; infinite for 0 degrees of freedom."""
    df = np.asarray(df, dtype=float)
    return np.where(df > 0, -special.stdtrit(np.clip(df, 1e-9, 1e9), (1 - level) / 2), np.inf)


def half_width(seeds: np.ndarray, df: np.ndarray | float, examples: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Returns half the width of the interval of a mean; infinite where seeds say nothing."""
    seeds, both, df_of_both = _both(seeds, df, examples)
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.maximum(quantile(df, level) ** 2 * seeds, quantile(df_of_both, level) ** 2 * both))


def _both(seeds: np.ndarray, df: np.ndarray | float, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the variance from seeds, that from both sources, and the degrees of freedom of the latter."""
    seeds = np.maximum(seeds, TINY)
    both = seeds + np.maximum(examples, 0.0)
    return seeds, both, df * (both / seeds)


TINY = 1e-12
"""Least seed variance of a mean: accuracies are counts over some thousand examples, never exact."""


def intervals(moments: Moments, level: float = LEVEL) -> np.ndarray:
    """Returns [K, 3]: mean, low, high."""
    half = half_width(_diagonal(moments.seeds), moments.df, _diagonal(moments.examples), level)
    return np.stack([moments.mean, moments.mean - half, moments.mean + half], -1)


def _diagonal(matrices: np.ndarray) -> np.ndarray:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def p_values(mean: np.ndarray, seeds: np.ndarray, df: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Returns two-sided p-values: the largest 1 - level at which the interval of `half_width` still contains zero."""
    size = np.abs(mean)
    seeds, both, df_of_both = _both(seeds, df, examples)
    p = 2 * np.maximum(_beyond(df, size / np.sqrt(seeds)), _beyond(df_of_both, size / np.sqrt(both)))
    return np.where((df > 0) & (size > 0), p, 1.0)


def _beyond(df: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Returns how much of Student's t is above this score."""
    return special.stdtr(np.clip(df, 1e-9, 1e9), -score)


@dataclass(frozen=True)
class Ratio:
    """A ratio with its Fieller interval; `bounded` is False where the denominator is not separable from zero."""

    value: float
    low: float
    high: float
    bounded: bool


def fieller(moments: Moments, level: float = LEVEL) -> Ratio:
    """Returns the ratio of the first contrast to the second with the ends of its confidence set (Fieller 1954)."""
    a, b = moments.mean
    low, high, bounded = fieller_ends(moments, level)
    return Ratio(a / b if b else np.nan, float(low), float(high), bool(bounded))


def fieller_holds(moments: Moments, ratio: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Returns whether the confidence set contains a ratio: the interval of `first - ratio * second` contains zero."""
    return _outside(moments, np.ones_like(ratio), ratio, level) <= 0


def _outside(moments: Moments, x: np.ndarray, y: np.ndarray, level: float) -> np.ndarray:
    """Returns how far zero is outside the interval of `x * first - y * second`; negative where inside.

    The degrees of freedom are those given for the first contrast.
    """
    parts = [x * x * m[..., 0, 0] - 2 * x * y * m[..., 0, 1] + y * y * m[..., 1, 1]
             for m in (moments.seeds, moments.examples)]  # fmt: skip
    off = x * moments.mean[..., 0] - y * moments.mean[..., 1]
    return np.abs(off) - half_width(parts[0], moments.df[..., 0], parts[1], level)


def fieller_ends(moments: Moments, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns low and high end of the confidence set, and whether it is bounded; many boards at once.

    It is bounded where the interval of the second contrast leaves out zero; elsewhere the ends are infinite.
    """
    a, b = moments.mean[..., 0], moments.mean[..., 1]
    bounded = _outside(moments, np.zeros_like(a), np.ones_like(a), level) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        # from seeds alone: (a - r b)^2 <= q00 - 2 r q01 + r^2 q11
        q = quantile(moments.df[..., 0], level)[..., None, None] ** 2 * moments.seeds
        A, B, C = b * b - q[..., 1, 1], a * b - q[..., 0, 1], a * a - q[..., 0, 0]
        half = np.sqrt(np.maximum(B * B - A * C, 0.0))
        ends = np.stack([(B - half) / A, (B + half) / A])
        if np.any(moments.examples):
            ends = _ends_with_examples(moments, ends, level)
    return np.where(bounded, ends[0], -np.inf), np.where(bounded, ends[1], np.inf), bounded


def _ends_with_examples(moments: Moments, ends: np.ndarray, level: float) -> np.ndarray:
    """Returns ends [2, ...] that count examples, from those of seeds alone: the set is never smaller.

    Each is between a ratio of the set and infinity, which it does not: false position (the Illinois variant)
    on the angle of the ratio.
    """
    old = np.multiply.outer([-np.pi / 2, np.pi / 2], np.ones(ends.shape[1:]))
    new = np.arctan(ends)
    at_old = _outside(moments, np.cos(old), np.sin(old), level)
    at_new = np.minimum(_outside(moments, np.cos(new), np.sin(new), level), 0.0)
    for _ in range(20):
        between = new + (old - new) * at_new / (at_new - at_old)
        value = _outside(moments, np.cos(between), np.sin(between), level)
        crossed = (value > 0) != (at_new > 0)
        old, at_old = np.where(crossed, new, old), np.where(crossed, at_new, at_old / 2)
        new, at_new = between, value
    return np.tan(new)


def holm(p: np.ndarray) -> np.ndarray:
    """Returns p-values adjusted for all that are made together (Holm 1979): valid whatever their dependence."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
