"""Intervals and tests for linear contrasts of accuracies, and for ratios of two of them. numpy and scipy alone.

Two sources of uncertainty: seeds (all that is drawn anew with a seed) and, where one test set serves all seeds, its
examples. Each gives a variance of its own; half-widths are added in squares with their own quantiles (MOVER: Howe 1974,
Graybill and Wang 1980), which keeps Student's t for the few seeds without spending it on the many examples.
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
    """Means of K contrasts with the two parts of their covariance; many boards at once stand in leading axes."""

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
    return np.where(df > 0, _upper(df, (1 - level) / 2), np.inf)


def _upper(df: np.ndarray, tail: np.ndarray | float) -> np.ndarray:
    """Returns where Student's t leaves this much above it."""
    return -special.stdtrit(np.clip(df, 1e-9, 1e9), tail)


def half_width(seeds: np.ndarray, df: np.ndarray, examples: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Returns half the width of the interval of a mean; infinite where seeds say nothing."""
    z = float(special.ndtri(0.5 + level / 2))
    with np.errstate(invalid="ignore"):
        return np.sqrt(quantile(df, level) ** 2 * np.maximum(seeds, TINY) + z**2 * np.maximum(examples, 0.0))


TINY = 1e-12
"""Least seed variance of a mean: accuracies are counts over some thousand examples, never exact."""


def intervals(moments: Moments, level: float = LEVEL) -> np.ndarray:
    """Returns [K, 3]: mean, low, high."""
    half = half_width(_diagonal(moments.seeds), moments.df, _diagonal(moments.examples), level)
    return np.stack([moments.mean, moments.mean - half, moments.mean + half], -1)


def _diagonal(matrices: np.ndarray) -> np.ndarray:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def p_values(mean: np.ndarray, seeds: np.ndarray, df: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Returns two-sided p-values: the largest 1 - level at which the interval of `half_width` still holds zero."""
    df, size = np.clip(df, 1e-9, 1e9), np.abs(mean)
    known = (np.asarray(df) > 1e-9) & (size > 0)
    seeds, examples = np.maximum(seeds, TINY), np.maximum(examples, 0.0)
    score = size / np.sqrt(seeds + examples)
    high = 2 * special.stdtr(df, -score)  # as if seeds were all
    if not np.any(examples):
        return np.where(known, high, 1.0)
    low = np.log(np.maximum(2 * special.ndtr(-score), 1e-300))  # as if examples were all
    high = np.log(np.maximum(high, 1e-300))
    for _ in range(22):
        middle = (low + high) / 2
        tail = np.exp(middle) / 2
        inside = _upper(df, tail) ** 2 * seeds + special.ndtri(tail) ** 2 * examples >= size**2
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(known, np.exp(high), 1.0)


@dataclass(frozen=True)
class Ratio:
    """A ratio with its Fieller interval; `bounded` is False where the denominator cannot be told from zero."""

    value: float
    low: float
    high: float
    bounded: bool

    def covers(self, truth: float) -> bool:
        """Says whether the confidence set holds this value; an unbounded set is the outside of (low, high), or all."""
        if self.bounded:
            return self.low <= truth <= self.high
        return not self.low < truth < self.high


def fieller(moments: Moments, level: float = LEVEL) -> Ratio:
    """Returns the ratio of the first contrast to the second with its confidence set (Fieller 1954).

    The set holds every r for which the interval of `first - r * second` holds zero, with both parts of the covariance.
    The degrees of freedom are those given for the first contrast.
    """
    a, b = moments.mean
    value = a / b if b else np.nan
    if not moments.df[0] > 0:
        return Ratio(value, -np.inf, np.inf, False)
    low, high, bounded = fieller_set(moments, level)
    return Ratio(value, float(low), float(high), bool(bounded))


def fieller_set(moments: Moments, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns low, high and whether the set is what lies between them (else all that does not); many boards at once.

    An unbounded set that is the whole line has infinity for both ends: nothing lies between.
    """
    t, z = quantile(moments.df[..., 0], level), float(special.ndtri(0.5 + level / 2))
    q = t[..., None, None] ** 2 * moments.seeds + z**2 * moments.examples
    a, b = moments.mean[..., 0], moments.mean[..., 1]
    # (a - r b)^2 <= q00 - 2 r q01 + r^2 q11
    A = b * b - np.maximum(q[..., 1, 1], TINY)
    B, C = a * b - q[..., 0, 1], a * a - q[..., 0, 0]
    root = B * B - A * C
    bounded, line = A > 0, (A == 0) | ((A < 0) & (root <= 0))
    half = np.sqrt(np.maximum(root, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = (B - half) / A, (B + half) / A
    low, high = (np.where(line, np.inf, np.where(bounded, ends[k], ends[1 - k])) for k in (0, 1))
    return low, high, bounded


def holm(p: np.ndarray) -> np.ndarray:
    """Returns p-values adjusted for all that stand together (Holm 1979): valid whatever their dependence."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
