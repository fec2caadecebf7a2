"""What a board can find: the smallest true gain that is called better four times out of five."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from w2s_bench.board.comparison import ALPHA
from w2s_bench.board.labels import NAIVE
from w2s_bench.board.statistics import quantile

if TYPE_CHECKING:
    from w2s_bench.cells import Cell

POWER = 0.8


@dataclass(frozen=True)
class Plan:
    """The shape of a board; gap and noise as measured on the published embedded suite (docs/statistics.md)."""

    seeds: int = 5
    tasks: int = 3
    pairs: float = 3
    """Pairs of supervisors and student in each task; they share its seeds, supervisors and test examples."""
    mitigations: int = 63
    """Comparisons with naive in the overall family."""
    gap: float = 0.137
    """Mean ceiling minus floor."""
    noise: float = 0.0307
    """Standard deviation over seeds of the difference of two mitigations' accuracies in one cell."""
    shared: float = 0.31
    """Correlation of that difference between pairs of one task and seed."""

    @property
    def groups(self) -> float:
        """Pairs of all tasks."""
        return self.tasks * self.pairs

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {_many(round(self.groups), 'group')} (task, supervisors, student) "
            f"and {_many(self.mitigations, 'comparison')} with naive"
        )


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def plan_of(cells: Iterable[Cell]) -> Plan | None:
    """Returns the shape of the board that these cells give; None where nothing is compared with naive on two seeds.

    Of several protocols, which no board mixes, the one with the most cells counts. Seeds are those that all stacks of a
    group have, in the group that has fewest.
    """
    protocols: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        protocols[repr(cell.protocol)].append(cell)
    groups: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    tasks: dict[str, str] = {}
    for cell in max(protocols.values(), key=len, default=[]):
        group = repr((cell.task, cell.supervisors, cell.student))
        stack = NAIVE if [m.name for m in cell.mitigations] == [NAIVE] else repr(cell.mitigations)
        groups[group][stack].add(cell.seed)
        tasks[group] = cell.task.name
    compared = {g: by_stack for g, by_stack in groups.items() if NAIVE in by_stack and len(by_stack) > 1}
    seeds = min((len(set.intersection(*by_stack.values())) for by_stack in compared.values()), default=0)
    if seeds < 2:
        return None
    names = {tasks[g] for g in compared}
    most = max(len(by_stack) for by_stack in compared.values()) - 1
    return Plan(seeds, len(names), len(compared) / len(names), most)


def sentence(plan: Plan) -> str:
    """Returns what a board of this shape can find, in one line, with what it rests on."""
    needs = [f"{g:.2f} takes {seeds_for(g, plan) or 'over 1000'} seeds" for g in (0.05, 0.1)]
    cell = smallest_gain(plan, cell=True)
    return (
        f"power: with {plan}, a true gain over naive of {smallest_gain(plan):.2f} in overall PGR, or of {cell:.3f} in "
        f"one cell's accuracy ({cell / plan.gap:.2f} in PGR), is found {100 * POWER:.0f} % of the time; overall, "
        f"{' and '.join(needs)}. Assumed, as measured on the embedded suite: noise {plan.noise:g}, gap {plan.gap:g}"
    )


def smallest_gain(plan: Plan, *, cell: bool = False) -> float:
    """Returns the smallest true gain that is found with POWER: in overall PGR, or in one cell's accuracy.

    The step that matters is Holm's first: the gain is against all other comparisons of its family. Moderated
    variances are taken to reach the pooled layout's degrees of freedom, less what naive's own noise costs.
    """
    base_df = (plan.seeds - 1.0) * (plan.groups if cell else plan.tasks)
    df = 1 / (1 / max((plan.mitigations - 1) * (plan.seeds - 1.0), 1.0) + 0.25 / base_df)
    caution = np.sqrt(1 + 0.2 * np.sqrt(2 / base_df))  # naive's noise is never taken for less than the others'
    if cell:
        error = plan.noise / np.sqrt(plan.seeds)
        return float(caution * _margin(df, plan.mitigations * plan.groups) * error)
    variance = plan.noise**2 * (1 + (plan.pairs - 1) * plan.shared) / (plan.seeds * plan.groups)
    return float(caution * _margin(df * plan.tasks, plan.mitigations) * np.sqrt(variance) / plan.gap)


def _margin(df: float, family: float) -> float:
    """Returns how many standard errors a gain must have."""
    return float(quantile(df, 1 - ALPHA / family) + special.stdtrit(min(df, 1e9), POWER))


def seeds_for(gain: float, plan: Plan, *, cell: bool = False, at_most: int = 1000) -> int | None:
    """Returns the fewest seeds, 3 or more, that make `smallest_gain` at most this; None where `at_most` do not."""
    for seeds in range(3, at_most + 1):
        if smallest_gain(replace(plan, seeds=seeds), cell=cell) <= gain:
            return seeds
    return None
