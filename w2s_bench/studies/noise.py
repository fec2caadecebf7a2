"""Measures seed noise and what it lets a board find: `python -m w2s_bench.studies.noise STORE`."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from w2s_bench.board.comparison import pooled_noise
from w2s_bench.board.design import CEILING, FLOOR, Design, design_of
from w2s_bench.board.labels import NAIVE, Group, labels_of
from w2s_bench.board.power import Plan, seeds_for, smallest_gain
from w2s_bench.store.records import read_stores
from w2s_bench.studies.markdown import table


@dataclass(frozen=True)
class Noise:
    """What the cells of a board show, seed effects common to all mitigations taken out."""

    by_group: dict[Group, tuple[float, float]]
    """Standard deviation over seeds of the difference of two mitigations' accuracies, and its degrees of freedom."""
    gaps: dict[Group, float]
    """Mean ceiling minus floor."""
    shared: float
    """Mean correlation of such a difference between two groups of one task."""
    seeds: int
    mitigations: int
    """Most comparisons with naive in one group, those of controls among them."""

    def plan(self) -> Plan:
        """Returns a board of this shape at the mean (squared) noise and the mean gap."""
        tasks = len({g.task_name for g in self.by_group})
        noise = float(np.sqrt(np.mean([v**2 for v, _ in self.by_group.values()])))
        gap = float(np.mean(list(self.gaps.values())))
        return Plan(self.seeds, tasks, len(self.by_group) / tasks, self.mitigations, gap, noise, self.shared)


def noise_of(design: Design, stacks: Mapping[Group, list[str]]) -> Noise:
    """Returns the noise between these stacks, three or more in each group, on the seeds that all of them have."""
    values = {}
    for group, names in stacks.items():
        y = np.array([design.series((group, s)) for s in names])
        values[group] = y[:, np.isfinite(y).all(0)]
    pooled = pooled_noise({str(g): y for g, y in values.items()})
    by_group = {g: (float(np.sqrt(2 * p.variance)), p.df) for g in values if (p := pooled.get(str(g)))}
    tasks: dict[str, list[Group]] = defaultdict(list)
    for group in by_group:
        tasks[group.task_name].append(group)
    over, within = 0.0, 0.0
    for groups in tasks.values():
        common = [s for s in stacks[groups[0]] if all(s in stacks[g] for g in groups)]
        y = np.array([[design.series((g, s)) for s in common] for g in groups])  # [groups, M, S]
        y = y[:, :, np.isfinite(y).all((0, 1))]
        parts = pooled_noise({"sum": y.sum(0), **{str(k): one for k, one in enumerate(y)}})
        each = sum(p.variance for name, p in parts.items() if name != "sum")
        over += parts["sum"].variance - each
        within += (len(groups) - 1) * each
    gaps = {g: float(np.nanmean(design.series((g, CEILING)) - design.series((g, FLOOR)))) for g in by_group}
    seeds = max(y.shape[1] for y in values.values())
    family = Counter(g for g, name in design.where if name not in (FLOOR, CEILING, NAIVE))
    return Noise(by_group, gaps, over / within if within else 0.0, seeds, max(family[g] for g in by_group))


def read(store: Path) -> tuple[Design, dict[Group, list[str]]]:
    """Returns a store's design and the stacks of each group that finished wherever naive did, controls left out."""
    records = [r for r in read_stores([store]).records if r.ok]
    labels = labels_of(records)
    design = design_of(records, labels, [])
    control = {labels.stack(r) for r in records if r.raw.get("control")}
    stacks: dict[Group, list[str]] = defaultdict(list)
    for group, stack in design.where:
        if stack in (FLOOR, CEILING, *control) or (group, NAIVE) not in design.where:
            continue
        naive, stack_seeds = (np.isfinite(design.series((group, s))) for s in (NAIVE, stack))
        if stack_seeds[naive].all():
            stacks[group].append(stack)
    return design, {g: names for g, names in sorted(stacks.items()) if len(names) >= 3}


def noise_table(noise: Noise) -> str:
    """Returns a Markdown table of the groups: gap, noise with its 95 % interval, smallest gain found in a cell."""
    rows = []
    for group, (value, df) in noise.by_group.items():
        low, high = value * np.sqrt(df / stats.chi2.ppf([0.975, 0.025], df))
        gap = noise.gaps[group]
        gain = smallest_gain(replace(noise.plan(), noise=value), cell=True)
        name = f"{group.task}: {'+'.join(group.supervisors)} > {group.student}"
        rows.append([name, f"{gap:.3f}", f"{value:.4f} ({low:.4f} to {high:.4f})", f"{gain:.3f}", f"{gain / gap:.2f}"])
    return table(["group", "gap", "noise (95 % interval)", "cell gain in accuracy", "in PGR"], rows)


def power_row(name: str, plan: Plan) -> list[str]:
    """Returns what a board of this shape finds, overall and in a cell, and the seeds that .05 and .10 in PGR need."""
    needs = [seeds_for(g * plan.gap, plan, cell=True) for g in (0.05, 0.1)]
    needs = [*(seeds_for(g, plan) for g in (0.05, 0.1)), *needs]
    cell = smallest_gain(plan, cell=True)
    return [
        name, f"{plan.noise:.4f}", f"{plan.gap:.3f}", f"{smallest_gain(plan):.3f}",
        f"{cell / plan.gap:.3f} ({cell:.3f})", *(str(n) if n else "over 1000" for n in needs),
    ]  # fmt: skip


POWER_TITLES = [
    "noise of", "noise", "gap", "overall gain", "cell gain (accuracy)",
    *(f"seeds for {g}, {k}" for k in ("overall", "cell") for g in (".05", ".10")),
]  # fmt: skip


def main() -> None:
    """Prints the seed noise of a store's cells and the gains that a board of its shape finds 80 % of the time."""
    parser = argparse.ArgumentParser(prog="python -m w2s_bench.studies.noise", description=main.__doc__)
    parser.add_argument("store", type=Path, help="a store, or a published one such as leaderboard/sandbox")
    arguments = parser.parse_args()
    design, stacks = read(arguments.store)
    if not stacks:
        parser.error(f"{arguments.store}: no group with naive and two other finished stacks")
    noise = noise_of(design, stacks)
    plan = noise.plan()
    print(noise_table(noise))
    print(f"\n{plan}; correlation between groups of one task {plan.shared:.2f}.\n")
    print(table(POWER_TITLES, [power_row(str(arguments.store), plan)]))


if __name__ == "__main__":
    main()
