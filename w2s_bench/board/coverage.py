"""Measures what the board's statistics promise, on simulated boards: `python -m w2s_bench.board.coverage`.

Prints the tables of docs/statistics.md. `--boards` sets how many boards each setting simulates.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from w2s_bench.board.design import Design
from w2s_bench.board.families import Entry, compare_cells, compare_overall
from w2s_bench.board.labels import NAIVE, Group
from w2s_bench.board.power import Plan, seeds_for, smallest_gain
from w2s_bench.board.simulation import World, block_of, board_of, draw
from w2s_bench.board.statistics import Moments, fieller, intervals

CONTRASTS = np.array([[0.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
"""Of (floor, student, ceiling): the student, its gain, the gap."""
QUANTITIES = ("accuracy", "difference", "PGR")
OTHERS = ("t, seeds alone", "Satterthwaite", "bootstrap", "t on seeds' PGRs", "delta", "PGR bootstrap")


@dataclass
class Hits:
    """How often intervals held the truth in one setting."""

    boards: int = 0
    held: dict[str, int] = field(default_factory=dict)
    shown: int = 0
    """Boards on which the gap was resolved."""

    def add(self, name: str, held: bool) -> None:
        self.held[name] = self.held.get(name, 0) + bool(held)

    def rate(self, name: str) -> float:
        return self.held.get(name, 0) / self.boards


def settings(small: bool = False) -> Iterator[tuple[World, float]]:
    """Yields (world, true gap)."""
    for seeds in (3, 5, 10, 16):
        for same in (False, True):
            for n in (200, 1000) if small else (200, 1000, 5000):
                for gap in (0.05, 0.3) if small else (0.02, 0.05, 0.1, 0.3):
                    yield World(seeds=seeds, n=n, same_test=same), gap


def cover(world: World, gap: float, boards: int, rng: np.random.Generator, others: bool = False) -> Hits:
    """Returns the hits over boards with 2 or 4 classes, random floor, PGR (-.3 to 1.2) and seed noise (.003 to .03)."""
    hits = Hits(boards)
    for _ in range(boards):
        floor = rng.uniform(0.5, 0.68) if rng.uniform() < 0.5 else rng.uniform(0.3, 0.6)
        pgr, noise = rng.uniform(-0.3, 1.2), np.exp(rng.uniform(np.log(0.003), np.log(0.03)))
        truth = np.array([floor, floor + pgr * gap, floor + gap])
        right = draw(replace(world, noise=noise), truth, rng)
        moments = block_of(right, world.same_test).moments(CONTRASTS)
        found = intervals(moments)
        wanted = CONTRASTS @ truth
        for k, name in enumerate(QUANTITIES[:2]):
            hits.add(name, found[k, 1] <= wanted[k] <= found[k, 2])
        ratio = fieller(_last_two(moments))
        hits.add("PGR", ratio.covers(pgr))
        hits.shown += ratio.bounded and moments.mean[2] > 0
        if others:
            for name, held in _others(right, moments, wanted, pgr, world, rng):
                hits.add(name, held)
    return hits


def _last_two(m: Moments) -> Moments:
    return Moments(m.mean[1:], m.seeds[1:, 1:], m.df[1:], m.examples[1:, 1:])


def _others(
    right: np.ndarray, m: Moments, wanted: np.ndarray, pgr: float, world: World, rng: np.random.Generator
) -> Iterator[tuple[str, bool]]:
    """Yields whether the intervals that were not chosen hold the truth."""
    seeds, n, s = np.diag(m.seeds), world.n, world.seeds
    off = abs(m.mean[1] - wanted[1])
    yield OTHERS[0], off <= stats.t.ppf(0.975, s - 1) * np.sqrt(seeds[1])
    both = seeds[1] + m.examples[1, 1]
    df = both**2 / max(seeds[1] ** 2 / (s - 1) + m.examples[1, 1] ** 2 / (n - 1), 1e-30)
    yield OTHERS[1], off <= stats.t.ppf(0.975, df) * np.sqrt(both)
    z = CONTRASTS @ _bootstrap(right, world.same_test, rng)  # [3, B]
    low, high = np.quantile(z[1], [0.025, 0.975])
    yield OTHERS[2], low <= wanted[1] <= high
    by_seed = CONTRASTS @ right.mean(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = by_seed[1] / by_seed[2]
        half = stats.t.ppf(0.975, s - 1) * ratios.std(ddof=1) / np.sqrt(s)
        yield OTHERS[3], bool(abs(ratios.mean() - pgr) <= half)
        value = m.mean[1] / m.mean[2]
        w = np.array([0.0, 1.0, -value])
        error = np.sqrt(w @ (m.seeds + m.examples) @ w) / abs(m.mean[2])
        yield OTHERS[4], bool(abs(value - pgr) <= stats.t.ppf(0.975, s - 1) * error)
        low, high = np.nanquantile(z[1] / z[2], [0.025, 0.975])
    yield OTHERS[5], bool(low <= pgr <= high)


def _bootstrap(right: np.ndarray, same_test: bool, rng: np.random.Generator, draws: int = 200) -> np.ndarray:
    """Returns [3, draws] accuracies of a hierarchical bootstrap: seeds, then examples."""
    lines, s, n = right.shape
    seeds = rng.integers(s, size=(draws, s))
    if not same_test:  # a seed's mean holds its examples already
        return right.mean(2)[:, seeds].mean(2)
    out = np.empty((lines, draws))
    for d in range(draws):
        weights = rng.multinomial(n, np.full(n, 1 / n)) / n
        out[:, d] = (right[:, seeds[d]].mean(1) * weights).sum(1)
    return out


@dataclass(frozen=True)
class Scene:
    """One kind of board for the comparisons."""

    name: str
    world: World
    tasks: int = 3
    pairs: int = 3
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
    Scene("tasks differ in noise", World(5, 500), uneven_tasks=0.7),
    Scene("mitigations differ in noise", World(5, 2000, noise=0.02), uneven=0.7),
    Scene("naive noisier than the rest", World(5, 2000, noise=0.02), naive=2.5),
    Scene("one group", World(5, 2000), tasks=1, pairs=1),
    Scene("one group, mitigations differ", World(5, 2000, noise=0.02), tasks=1, pairs=1, uneven=0.7),
    Scene("3 mitigations, 3 seeds", World(3, 500), mitigations=3),
    Scene("3 mitigations, 3 seeds, one group", World(3, 500), tasks=1, pairs=1, mitigations=3),
)
GAP = 0.2


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

    @property
    def ranks_hold(self) -> bool:
        """Says whether every rank set meets what its mitigation's true rank can be, ties either way."""
        first = self.ranks[:, 0] <= self.true_ranks[:, 0]
        return bool((first & (self.ranks[:, 1] >= self.true_ranks[:, 1])).all())


def claims_of(scene: Scene, rng: np.random.Generator) -> Claims:
    """Returns what a board drawn from this scene claims."""
    m = scene.mitigations
    stacks = [NAIVE, *(f"m{k}" for k in range(m))]
    pgr = np.full(m + 1, 0.5)
    pgr[1 : 1 + len(scene.gains)] += scene.gains
    spread = np.exp(rng.normal(0, scene.uneven, m + 1)) if scene.uneven else np.ones(m + 1)
    spread[0] *= scene.naive
    blocks, where = {}, {}
    for t in range(scene.tasks):
        world = replace(scene.world, noise=scene.world.noise * np.exp(rng.normal(0, scene.uneven_tasks)))
        task = board_of(world, [[(0.65, 0.65 + GAP, pgr)] * scene.pairs], stacks, rng, spread)
        blocks[f"t{t}"] = task.blocks["task0"]
        for (group, line), (_, at) in task.where.items():
            where[Group(f"t{t}", group.supervisors, group.student, f"t{t}"), line] = (f"t{t}", at)
    design = Design(blocks, where)
    groups = sorted({group for group, _ in where})
    entries = [Entry(g, s, True) for g in groups for s in stacks]
    compare_cells(design, entries)
    overall = compare_overall(design, entries, groups)
    sign = {"better": 1, "worse": -1, "no evidence": 0}
    return Claims(
        np.array([sign[overall[s]["over_naive"]["verdict"]] for s in stacks[1:]]),
        np.array([sign[e.over["verdict"]] for e in entries if e.over is not None]),
        np.array([overall[s]["ranks"] for s in stacks]),
        np.array([[1 + (pgr > p).sum(), (pgr >= p).sum()] for p in pgr]),
    )


def table(titles: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table."""
    lines = ["| " + " | ".join(titles) + " |", "|" + "|".join(["---"] + ["---:"] * (len(titles) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def coverage_tables(boards: int, rng: np.random.Generator, say: Callable[[str], None]) -> None:
    """Says the tables of coverage: by seeds and kind of test set, then beside what was not chosen."""
    by: dict[tuple[int, bool], list[Hits]] = {}
    pooled: list[Hits] = []
    for world, gap in settings():
        hits = cover(world, gap, boards, rng)
        by.setdefault((world.seeds, world.same_test), []).append(hits)
        pooled.append(hits)
    rows = []
    for (seeds, same), found in by.items():
        row = [f"{seeds}, {'one for all seeds' if same else 'drawn per seed'}"]
        for name in QUANTITIES:
            rates = [h.rate(name) for h in found]
            row.append(f"{100 * np.mean(rates):.1f} ({100 * min(rates):.1f} to {100 * max(rates):.1f})")
        row.append(f"{100 * np.mean([h.shown / h.boards for h in found]):.0f}")
        rows.append(row)
    every = [f"**{100 * np.mean([h.rate(name) for h in pooled]):.2f}**" for name in QUANTITIES]
    rows.append(["**all**", *every, f"{100 * np.mean([h.shown / h.boards for h in pooled]):.0f}"])
    error = 100 * np.sqrt(0.95 * 0.05 / boards)
    say(f"{len(pooled)} settings of {boards} boards each; Monte-Carlo error of one setting {error:.1f}.\n")
    say(table(["seeds, test set", "accuracy", "difference", "PGR", "PGR shown"], rows) + "\n")
    compared: list[list[str]] = []
    for seeds in (3, 5, 10):
        for same in (False, True):
            world = World(seeds=seeds, n=500, same_test=same)
            hits = cover(world, 0.1, boards, rng, others=True)
            shares = [f"{100 * hits.rate(n):.1f}" for n in ("difference", *OTHERS[:3], "PGR", *OTHERS[3:])]
            compared.append([f"{seeds}, {'one for all' if same else 'per seed'}", *shares])
    say("True gap .1, 500 test examples, the same boards for all columns.\n")
    say(
        table(["seeds, test set", "difference: chosen", *OTHERS[:3], "PGR: Fieller (chosen)", *OTHERS[3:]], compared)
        + "\n"
    )


def claim_tables(boards: int, rng: np.random.Generator, say: Callable[[str], None]) -> None:
    """Says the tables of A/A boards and of rank sets."""
    rows = []
    for k, scene in enumerate(SCENES):
        count = boards if k == 0 else max(1, boards // 4)
        made = [claims_of(scene, rng) for _ in range(count)]
        wrong = [sum(c.overall.any() for c in made), sum(c.cells.any() for c in made)]
        ranks = sum(c.ranks_hold for c in made)
        shares = [f"{w} of {count} ({100 * w / count:.1f} %)" for w in wrong]
        rows.append([scene.name, *shares, f"{100 * ranks / count:.1f} %"])
    say("Boards with any `better` or `worse` though every mitigation is naive in truth.\n")
    say(table(["boards", "overall family", "cell family", "rank sets hold all true ranks"], rows) + "\n")
    rows = []
    for name, gains in (("apart by .05", 0.05), ("by .02", 0.02), ("by .008", 0.008)):
        scene = Scene(name, World(5, 2000, noise=0.005), mitigations=9, gains=tuple(gains * k for k in range(1, 10)))
        made = [claims_of(scene, rng) for _ in range(max(1, boards // 4))]
        width = np.mean([np.diff(c.ranks, axis=1).mean() + 1 for c in made])
        hold = 100 * np.mean([c.ranks_hold for c in made])
        rows.append([name, f"{hold:.1f} %", f"{width:.2f}"])
    say("Rank sets where 10 mitigations truly differ, 9 groups, 5 seeds.\n")
    say(table(["true overall PGRs", "all true ranks held", "mean width (1 is a single rank)"], rows) + "\n")


def power_tables(boards: int, rng: np.random.Generator, say: Callable[[str], None]) -> None:
    """Says what gains are found: by formula, and checked by simulation."""
    rows = []
    for noise in (0.003, 0.005, 0.01, 0.014, 0.02):
        plan = Plan(noise=noise, gap=GAP)
        need = [
            seeds_for(g * GAP, plan, cell=True) if cell else seeds_for(g, plan) for cell in (0, 1) for g in (0.05, 0.1)
        ]
        rows.append([f"{noise:.3f}", f"{smallest_gain(plan):.3f}", f"{smallest_gain(plan, cell=True) / GAP:.3f}",
                     *(str(k) if k else "over 1000" for k in need)])  # fmt: skip
    say("5 seeds, 3 tasks of 3 pairs, 20 mitigations, gap .2; noise: seed deviation of a difference in one cell.\n")
    titles = [
        "noise",
        "overall gain",
        "cell gain",
        *(f"seeds for {g}, {k}" for k in ("overall", "cell") for g in (".05", ".10")),
    ]
    say(table(titles, rows) + "\n")
    world = World(5, 2000, noise=0.01)
    noise = float(np.sqrt(np.mean([_noise(world, rng) for _ in range(40)])))
    plan = Plan(noise=noise, gap=GAP)
    gain = smallest_gain(plan)
    found = np.mean([claims_of(Scene("", world, gains=(gain,)), rng).overall[0] == 1 for _ in range(boards)])
    say(f"Check: at a measured noise of {noise:.4f} the formula gives {gain:.3f}; {100 * found:.0f} % of {boards} "
        "simulated boards with one such gain among 19 mitigations without found it.\n")  # fmt: skip


def _noise(world: World, rng: np.random.Generator) -> float:
    """Returns the seed variance of a difference in one cell."""
    right = draw(world, np.array([0.75, 0.75]), rng, model=[0, 0]).mean(2)
    return float((right[0] - right[1]).var(ddof=1))


def main() -> None:
    """Prints the tables of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--boards", type=int, default=1000, help="boards for each setting of the coverage table")
    parser.add_argument("--claims", type=int, default=400, help="boards for each scene of the comparisons")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)

    def say(text: str) -> None:
        print(text, flush=True)

    coverage_tables(given.boards, rng, say)
    claim_tables(given.claims, rng, say)
    power_tables(given.claims, rng, say)


if __name__ == "__main__":
    main()
