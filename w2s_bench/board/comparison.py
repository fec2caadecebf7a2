"""Comparing mitigations: moderated variances, p-values, families, verdicts.

Five seeds say little about the variance of one difference, twenty mitigations on the same seeds say a lot about the
variance of such differences. So each row's own variance is shrunk towards what the mitigations of its group (or task)
show together (Smyth 2004), by as much as the rows' variances agree with each other, and never beyond the degrees of
freedom of the pooled two-way layout (mitigation x seed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from w2s_bench.board.statistics import Moments, add, p_values

ALPHA = 0.05
FEWEST_VARIANCES = 10
"""With fewer rows than this, how much they differ in noise cannot be seen, and nothing is shrunk."""


@dataclass(frozen=True)
class Pooled:
    """What the mitigations of one unit (a group, or a task's groups together) show about seed noise."""

    variance: float
    """Variance of one mitigation's value at one seed, seed effects common to all taken out."""
    df: float
    weight: float
    """Prior degrees of freedom: how alike the mitigations' variances are; infinite where nothing tells them apart."""
    base: float = 1.0
    """How much noisier naive is than the rest (at least 1): its noise is in every difference from it."""
    base_df: float = np.inf

    def shrink(self, variance: np.ndarray, df: np.ndarray, from_base: bool) -> tuple[np.ndarray, np.ndarray]:
        """Returns variances of differences of two mitigations at one seed, shrunk, with their degrees of freedom.

        `from_base`: the differences are all from naive.
        """
        other = self.base if from_base else 1.0
        prior = (1 + other) * self.variance
        limit = 1 / (1 / self.df + (other / (1 + other)) ** 2 / self.base_df) if from_base else self.df
        if np.isinf(self.weight):
            shrunk = np.full_like(variance, prior)
        else:
            shrunk = (self.weight * prior + df * variance) / (self.weight + df)
        return shrunk, np.where(df > 0, np.minimum(self.weight + df, np.maximum(limit, df)), 0.0)


NOTHING = Pooled(0.0, 0.0, 0.0)


def pooled_noise(units: Mapping[str, np.ndarray], base: int | None = None) -> dict[str, Pooled]:
    """Returns the pooled noise of each unit from its values [M, S] (mitigations x seeds, without holes).

    How much mitigations differ in noise, and how noisy the one at `base` is, is judged over all units together.
    """
    spread: dict[str, tuple[float, np.ndarray, int, int]] = {}
    for name, y in units.items():
        m, s = y.shape
        if m < 3 or s < 2:
            continue
        residual = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + y.mean()
        each = (residual**2).sum(1) / (s - 1)  # [M], mean variance * (1 - 1/M)
        spread[name] = (float(each.sum() / (m - 1)), each * m / (m - 1), m, s)
    logs, df, noisier, base_df = [], [], [], 0.0
    for variance, each, _, s in spread.values():
        if variance > 0:
            ratio = np.maximum(each, variance * 1e-6) / variance
            logs.append(np.log(ratio))
            df.append(np.full(len(each), s - 1.0))
            if base is not None:
                noisier.append(ratio[base])
                base_df += s - 1.0
    weight = _agreement(np.concatenate(logs), np.concatenate(df)) if logs else 0.0
    factor = max(1.0, float(np.mean(noisier))) if noisier else 1.0
    return {
        name: Pooled(v, (m - 1.0) * (s - 1.0), weight, factor, base_df or np.inf)
        for name, (v, _, m, s) in spread.items()
    }


def _agreement(logs: np.ndarray, df: np.ndarray) -> float:
    """Returns the prior degrees of freedom from log variance ratios: their spread beyond what sampling explains."""
    if len(logs) < FEWEST_VARIANCES:
        return 0.0
    extra = logs.var(ddof=1) - special.polygamma(1, df / 2).mean()
    return np.inf if extra <= 0 else 2 * _inverse_trigamma(extra)


def _inverse_trigamma(x: float) -> float:
    """Returns y with trigamma(y) = x, by Newton's method (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(50):
        tri = special.polygamma(1, y)
        step = tri * (1 - tri / x) / special.polygamma(2, y)
        y += step
        if -step / y < 1e-10:
            break
    return float(y)


def moderate(parts: Mapping[str, Moments], pooled: Mapping[str, Pooled]) -> Moments:
    """Returns the sum of independent parts, the noise of their first contrast (of two mitigations) shrunk."""
    shrunk = []
    for name, part in parts.items():
        prior = pooled.get(name, NOTHING)
        seeds, df = part.seeds.copy(), part.df.astype(float).copy()
        if prior.df and df[0] > 0:
            n = df[0] + 1
            variance, new_df = prior.shrink(seeds[:1, 0] * n, df[:1], True)
            factor = np.sqrt(variance[0] / n / seeds[0, 0]) if seeds[0, 0] > 0 else 0.0
            seeds[0, 1:] *= factor
            seeds[1:, 0] *= factor
            seeds[0, 0], df[0] = variance[0] / n, new_df[0]
        shrunk.append(Moments(part.mean, seeds, df, part.examples))
    return add(shrunk)


def p_of(moments: Moments) -> float:
    """Returns the two-sided p-value of the first contrast being zero."""
    return float(p_values(moments.mean[:1], moments.seeds[:1, 0], moments.df[:1], moments.examples[:1, 0])[0])


def verdict(mean: float, p_adjusted: float) -> str:
    """Returns the verdict over one comparison with naive."""
    if not p_adjusted <= ALPHA:
        return "no evidence"
    return "better" if mean > 0 else "worse"
