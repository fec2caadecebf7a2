"""What a board can find: the smallest true gain that is called better four times out of five."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from w2s_bench.board.comparison import ALPHA
from w2s_bench.board.statistics import quantile

POWER = 0.8


@dataclass(frozen=True)
class Plan:
    """The shape of a board."""

    seeds: int = 5
    tasks: int = 3
    pairs: int = 3
    """Pairs of supervisors and student in each task; they share its seeds, supervisors and test examples."""
    mitigations: int = 20
    """Comparisons with naive in the overall family."""
    gap: float = 0.25
    """Mean ceiling minus floor."""
    noise: float = 0.01
    """Standard deviation over seeds of the difference of two mitigations' accuracies in one cell."""
    shared: float = 0.0
    """Correlation of that difference between pairs of one task and seed."""


def smallest_gain(plan: Plan, *, cell: bool = False) -> float:
    """Returns the smallest true gain that is found with POWER: in overall PGR, or in one cell's accuracy.

    The step that matters is Holm's first: the gain stands against all other comparisons of its family. Moderated
    variances are taken to reach the pooled layout's degrees of freedom, less what naive's own noise costs.
    """
    groups = plan.tasks * plan.pairs
    base_df = (plan.seeds - 1.0) * (groups if cell else plan.tasks)
    df = 1 / (1 / max((plan.mitigations - 1) * (plan.seeds - 1.0), 1.0) + 0.25 / base_df)
    caution = np.sqrt(1 + 0.2 * np.sqrt(2 / base_df))  # naive's noise is never taken for less than the others'
    if cell:
        error = plan.noise / np.sqrt(plan.seeds)
        return float(caution * _margin(df, plan.mitigations * groups) * error)
    variance = plan.noise**2 * (1 + (plan.pairs - 1) * plan.shared) / (plan.seeds * groups)
    return float(caution * _margin(df * plan.tasks, plan.mitigations) * np.sqrt(variance) / plan.gap)


def _margin(df: float, family: int) -> float:
    """Returns how many standard errors a gain must have."""
    return float(quantile(df, 1 - ALPHA / family) + special.stdtrit(min(df, 1e9), POWER))


def seeds_for(gain: float, plan: Plan, *, cell: bool = False, at_most: int = 1000) -> int | None:
    """Returns the fewest seeds, 3 or more, that make `smallest_gain` at most this; None where `at_most` do not."""
    for seeds in range(3, at_most + 1):
        if smallest_gain(Plan(**{**vars(plan), "seeds": seeds}), cell=cell) <= gain:
            return seeds
    return None
