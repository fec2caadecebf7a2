"""Measures what simulated boards claim, truly and falsely: `python -m w2s_bench.studies.claims`.

Prints the tables of docs/statistics.md on verdicts, rank sets and power.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from w2s_bench.board.design import Design
from w2s_bench.board.families import Entry, compare_cells, compare_overall, resolved_gap
from w2s_bench.board.labels import NAIVE, Group
from w2s_bench.board.power import smallest_gain
from w2s_bench.studies.markdown import row, table
from w2s_bench.studies.noise import noise_of
from w2s_bench.studies.simulation import World, board_of

GAP = 0.2
HELD = ("overall PGR", "overall difference", "difference in a row")


@dataclass(frozen=True)
class Scene:
    """One kind of board for the comparisons."""

    name: str
    world: World
    tasks: int = 3
    gaps: tuple[float, ...] = (GAP, GAP, GAP)
    """Of the groups in each task; they share its seeds, supervisors' errors and examples."""
    mitigations: int = 20
    uneven_tasks: float = 0.0
    """Standard deviation of the log of the tasks' noise."""
    uneven: float = 0.0
    """The same of the mitigations' own noise."""
    naive: float = 1.0
    """Naive's own noise against the others'."""
    gains: tuple[float, ...] = ()
    """True gains in PGR over naive of the first mitigations; the rest are naive in truth."""


SCENES = (
    Scene("9 groups, 5 seeds", World(5, 500)),
    Scene("9 groups, 3 seeds", World(3, 500)),
    Scene("9 groups, 10 seeds", World(10, 500)),
    Scene("one test set for all seeds", World(5, 500, True)),
    Scene("one test set, 3 seeds, 200 examples", World(3, 200, True)),
    Scene("gaps .03, .06, .2: unresolved groups left out", World(5, 500), gaps=(0.03, 0.06, 0.2)),
    Scene("tasks differ in noise", World(5, 500), uneven_tasks=0.7),
    Scene("mitigations differ in noise", World(5, 2000, noise=0.02), uneven=0.7),
    Scene("naive noisier than the rest", World(5, 2000, noise=0.02), naive=2.5),
    Scene("one group", World(5, 2000), tasks=1, gaps=(GAP,)),
    Scene("one group, mitigations differ", World(5, 2000, noise=0.02), tasks=1, gaps=(GAP,), uneven=0.7),
    Scene("3 mitigations, 3 seeds", World(3, 500), mitigations=3),
    Scene("3 mitigations, 3 seeds, one group", World(3, 500), tasks=1, gaps=(GAP,), mitigations=3),
    Scene("one test set, 3 mitigations, 3 seeds", World(3, 500, True), mitigations=3),
)


@dataclass
class Claims:
    """What one simulated board claimed."""

    overall: np.ndarray
    """[M] +1 better, -1 worse, 0 no evidence."""
    cells: np.ndarray
    """[M * groups] the same for single rows."""
    ranks: np.ndarray
    """[1 + M, 2], naive first."""
    true_ranks: np.ndarray
    """[1 + M, 2], ties span a range."""
    held: dict[str, float]
    """Share of intervals that cover the truth, by HELD."""

    @property
    def ranks_hold(self) -> bool:
        """Returns whether every rank set meets what its mitigation's true rank can be, ties either way."""
        first = self.ranks[:, 0] <= self.true_ranks[:, 0]
        return bool((first & (self.ranks[:, 1] >= self.true_ranks[:, 1])).all())


def claims_of(scene: Scene, rng: np.random.Generator) -> Claims:
    """Returns what a board drawn from this scene claims, as a published board does: over its resolved groups."""
    m = scene.mitigations
    stacks = [NAIVE, *(f"m{k}" for k in range(m))]
    pgr = np.full(m + 1, 0.5)
    pgr[1 : 1 + len(scene.gains)] += scene.gains
    gains = dict(zip(stacks, pgr - pgr[0], strict=True))
    spread = np.exp(rng.normal(0, scene.uneven, m + 1)) if scene.uneven else np.ones(m + 1)
    spread[0] *= scene.naive
    blocks, where, gaps = {}, {}, {}
    for t in range(scene.tasks):
        world = replace(scene.world, noise=scene.world.noise * np.exp(rng.normal(0, scene.uneven_tasks)))
        task = board_of(world, [[(0.65, 0.65 + gap, pgr) for gap in scene.gaps]], stacks, rng, spread)
        blocks[f"t{t}"] = task.blocks["task0"]
        for (group, line), (_, at) in task.where.items():
            group_of_task = Group(f"t{t}", group.supervisors, group.student, f"t{t}")
            where[group_of_task, line] = (f"t{t}", at)
            gaps[group_of_task] = scene.gaps[int(group.supervisors[0].removeprefix("weak"))]
    overall, entries = judged(Design(blocks, where), sorted(gaps), stacks)
    over = {s: overall[s]["over_naive"] for s in stacks[1:]}
    held = (
        [_holds(overall[s]["pgr"], p) for s, p in zip(stacks, pgr, strict=True)],
        [_holds(over[s], gains[s]) for s in over],
        [_holds(e.over, gains[e.stack] * gaps[e.group]) for e in entries if e.stack != NAIVE],
    )
    return Claims(
        signs(over.values()),
        signs(e.over for e in entries if e.stack != NAIVE),
        np.array([overall[s]["ranks"] or (1, m + 1) for s in stacks]),
        np.array([[1 + (pgr > p).sum(), (pgr >= p).sum()] for p in pgr]),
        {name: float(np.mean(each)) for name, each in zip(HELD, held, strict=True)},
    )


def judged(design: Design, groups: list[Group], stacks: list[str]) -> tuple[dict[str, dict[str, Any]], list[Entry]]:
    """Returns what the board says over its resolved groups, by stack, and in each group; all stacks are whole."""
    entries = [Entry(g, s, True) for g in groups for s in stacks]
    compare_cells(design, entries)
    return compare_overall(design, entries, [g for g in groups if resolved_gap(design, g)]), entries


def signs(differences: Iterable[dict[str, Any] | None]) -> np.ndarray:
    """Returns +1, -1 or 0 for the verdict of each difference from naive; 0 where there is none."""
    sign = {"better": 1, "worse": -1, "no evidence": 0}
    return np.array([sign[d["verdict"]] if d else 0 for d in differences])


def _holds(interval: dict[str, float] | None, truth: float) -> bool:
    """Returns whether an interval covers the truth; one that is withheld, as the gap is unresolved, is not wrong."""
    return interval is None or bool(interval["low"] <= truth <= interval["high"])


def claim_tables(boards: int, rng: np.random.Generator, say: Callable[[str], None]) -> None:
    """Says the tables of A/A boards and of rank sets, a row as soon as it is known."""
    say("Every mitigation is naive in truth: boards with any `better` or `worse`, and coverage of their intervals.\n")
    titles = [
        "boards",
        "overall family",
        "cell family",
        "rank sets with all true ranks",
        *(f"{n} covered" for n in HELD),
    ]
    say(table(titles, []))
    for k, scene in enumerate(SCENES):
        count = boards if k == 0 else max(1, boards // 4)
        made = [claims_of(scene, rng) for _ in range(count)]
        wrong = [sum(c.overall.any() for c in made), sum(c.cells.any() for c in made)]
        shares = [f"{w} of {count} ({100 * w / count:.1f} %)" for w in wrong]
        rates = [100 * np.mean([c.ranks_hold for c in made]), *(100 * np.mean([c.held[n] for c in made]) for n in HELD)]
        say(row([scene.name, *shares, *(f"{r:.1f} %" for r in rates)]))
    count = max(1, boards // 4)
    say(f"\nRank sets where 10 mitigations truly differ, 9 groups, 5 seeds, {count} boards a row.\n")
    say(table(["true overall PGRs", "all true ranks held", "mean width (1 is a single rank)"], []))
    for name, gains in (("apart by .05", 0.05), ("by .02", 0.02), ("by .008", 0.008)):
        scene = Scene(name, World(5, 2000, noise=0.005), mitigations=9, gains=tuple(gains * k for k in range(1, 10)))
        made = [claims_of(scene, rng) for _ in range(count)]
        width = np.mean([np.diff(c.ranks, axis=1).mean() + 1 for c in made])
        say(row([name, f"{100 * np.mean([c.ranks_hold for c in made]):.1f} %", f"{width:.2f}"]))


def power_table(boards: int, rng: np.random.Generator, say: Callable[[str], None]) -> None:
    """Says how often simulated boards find the gain that the formula calls the smallest they find 80 % of the time."""
    say(f"\n{boards} boards a row: 9 groups, 5 seeds, gap {GAP}, one gain among 20 mitigations.\n")
    say(table(["gain", "noise", "shared", "gain by formula, in PGR", "found"], []))
    for name, world, cell in (
        ("overall", World(5, 2000, noise=0.02, together=0.2), False),
        ("overall, nothing shared between groups", World(5, 2000, noise=0.005), False),
        ("one cell", World(5, 2000, noise=0.02), True),
    ):
        measured = noise_of(*_many(world, rng)).plan()
        plan = replace(measured, seeds=5, gap=GAP)
        gain = smallest_gain(plan, cell=cell) / (GAP if cell else 1)
        made = [claims_of(Scene(name, world, gains=(gain,)), rng) for _ in range(boards)]
        share = np.mean([c.cells.reshape(9, -1)[:, 0] == 1 if cell else c.overall[0] == 1 for c in made])
        say(row([name, f"{plan.noise:.4f}", f"{plan.shared:.2f}", f"{gain:.3f}", f"{100 * share:.0f} %"]))


def _many(world: World, rng: np.random.Generator) -> tuple[Design, dict[Group, list[str]]]:
    """Returns boards without gains whose noise is that of `world`: as many seeds as make it known well."""
    stacks = [NAIVE, *(f"m{k}" for k in range(20))]
    truth = [[(0.65, 0.65 + GAP, np.full(len(stacks), 0.5))] * 3] * 3
    design = board_of(replace(world, seeds=100, n=world.n), truth, stacks, rng)
    return design, {g: stacks for g, line in design.where if line == NAIVE}


def main() -> None:
    """Prints the tables of docs/statistics.md on verdicts, rank sets and the power formula."""
    parser = argparse.ArgumentParser(prog="python -m w2s_bench.studies.claims", description=main.__doc__)
    parser.add_argument(
        "--boards", type=int, default=400, help="boards for the first scene, a quarter for others [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random generator [%(default)s]")
    arguments = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    claim_tables(arguments.boards, np.random.default_rng([arguments.seed, 2]), say)
    power_table(arguments.boards // 2, np.random.default_rng([arguments.seed, 3]), say)


if __name__ == "__main__":
    main()
