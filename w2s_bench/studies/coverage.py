"""Measures how often 95 % intervals cover the truth, on simulated boards: `python -m w2s_bench.studies.coverage`.

Prints the coverage tables of docs/statistics.md. Each board is one task: a supervisor shared by two students, floor and
PGRs drawn anew; what is measured goes through the code that makes the published boards.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from w2s_bench.board.blocks import over_examples, over_seeds
from w2s_bench.board.statistics import TINY, Moments, fieller_ends, fieller_holds, half_width, intervals, quantile
from w2s_bench.studies.markdown import table
from w2s_bench.studies.simulation import World, draw, draw_shares

LINES = ("floor", "student", "ceiling", "other student", "other ceiling")
CONTRASTS = np.array(
    [[0, 1, 0, 0, 0], [-1, 1, 0, 0, 0], [-1, 0, 1, 0, 0], [-2, 1, 0, 1, 0], [-2, 0, 1, 0, 1]], dtype=float
)
"""Of LINES: a student, its gain, its gap; the gains and the gaps of both students of one supervisor."""
QUANTITIES = ("accuracy", "difference", "PGR", "PGR of both")
OTHERS = ("t, seeds alone", "MOVER", "Satterthwaite", "bootstrap", "t on seeds' PGRs", "delta", "PGR bootstrap")
FLOORS = {2: (0.5, 0.68), 4: (0.3, 0.6)}
"""By number of classes."""
LOW, LOW_OF_3, HIGH = 0.93, 0.9, 0.965
"""What a setting of 5 or more seeds, or of 3, has to reach, and what no setting should exceed."""
ANSWERS = 2**16
"""Answers of one line that are simulated at once: what stays in a processor's cache."""
AGAIN = 5
"""Settings that looked lower or higher are drawn again with so many times the boards; the new ones alone count."""


@dataclass(frozen=True)
class Setting:
    """What the boards of one line of the grid have in common."""

    world: World
    gap: float

    def __str__(self) -> str:
        w = self.world
        return (
            f"{w.seeds} seeds, {w.n} examples, {'one test set' if w.same_test else 'test per seed'}, gap {self.gap:g}"
        )


@dataclass
class Hits:
    """How often intervals held the truth in one setting."""

    boards: int = 0
    held: Counter[str] = field(default_factory=Counter)
    shown: int = 0
    """Boards on which the gap was resolved."""

    def rate(self, name: str) -> float:
        """Returns the share of boards whose interval held the truth."""
        return self.held[name] / self.boards

    def __add__(self, other: Hits) -> Hits:
        return Hits(self.boards + other.boards, self.held + other.held, self.shown + other.shown)


def settings() -> Iterator[Setting]:
    """Yields the grid."""
    for seeds in (3, 5, 10, 16):
        for same in (False, True):
            for n in (200, 1000, 5000):
                for gap in (0.02, 0.05, 0.1, 0.3):
                    yield Setting(World(seeds, n, same), gap)


def cover(setting: Setting, boards: int, rng: np.random.Generator, classes: int = 2, others: bool = False) -> Hits:
    """Returns the hits over boards with random floor, PGRs (-.3 to 1.2) and seed noise (.003 to .03)."""
    hits = Hits()
    each = setting.world.n if setting.world.same_test or others else 12 * len(LINES)
    at_once = max(1, ANSWERS // (setting.world.seeds * each))
    while hits.boards < boards:
        _cover(setting, min(at_once, boards - hits.boards), rng, hits, FLOORS[classes], others)
    return hits


def _cover(
    setting: Setting, b: int, rng: np.random.Generator, hits: Hits, floors: tuple[float, float], others: bool
) -> None:
    """Adds `b` boards, drawn and measured at once."""
    low, high = floors
    floor = rng.uniform(low, min(high, 0.97 - 1.2 * setting.gap), (b, 1))  # the best student is right in 97 %
    pgr = rng.uniform(-0.3, 1.2, (b, 2))
    world = replace(setting.world, noise=np.exp(rng.uniform(np.log(0.003), np.log(0.03), (b, 1))))
    gained = np.concatenate([np.zeros((b, 1)), pgr[:, :1], np.ones((b, 1)), pgr[:, 1:], np.ones((b, 1))], 1)
    truth = floor + setting.gap * gained
    examples = np.zeros((b, len(CONTRASTS), len(CONTRASTS)))
    if world.same_test or others:
        right = draw(world, truth, rng)
        shares = right.mean(-1, dtype=float)
        if world.same_test:
            examples = over_examples(CONTRASTS, right)
    else:
        shares = draw_shares(world, truth, rng)
    mean, seeds = over_seeds(CONTRASTS @ shares)
    moments = Moments(mean, seeds, np.full(mean.shape, world.seeds - 1.0), examples)
    wanted = truth @ CONTRASTS.T
    intervals_of_boards = intervals(moments)
    held = (intervals_of_boards[..., 1] <= wanted) & (wanted <= intervals_of_boards[..., 2])
    (one, bounded), (both, _) = _fieller(moments.pick(1, 2), pgr[:, 0]), _fieller(moments.pick(3, 4), pgr.mean(1))
    each = held[:, 0], held[:, 1], one, both
    hits.held.update({name: int(h.sum()) for name, h in zip(QUANTITIES, each, strict=True)})
    hits.boards += b
    hits.shown += int((bounded & (mean[:, 2] > 0)).sum())
    if others:
        for k in range(b):
            board_moments = Moments(mean[k], seeds[k], moments.df[k], examples[k])
            hits.held.update(_others(right[k], board_moments, wanted[k], pgr[k, 0], world, rng))


def _fieller(moments: Moments, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns which boards' confidence sets have these ratios, and which are bounded."""
    low, high, bounded = fieller_ends(moments)
    return np.where(bounded, (low < truth) & (truth < high), fieller_holds(moments, truth)), bounded


def _others(
    right: np.ndarray, m: Moments, wanted: np.ndarray, pgr: float, world: World, rng: np.random.Generator
) -> Iterator[str]:
    """Yields the names of the intervals that were not chosen and cover the truth."""
    seeds, s = np.diag(m.seeds), world.seeds
    off = abs(m.mean[1] - wanted[1])
    parts = seeds[1], m.df[1], m.examples[1, 1]
    t = stats.t.ppf(0.975, s - 1)
    z = CONTRASTS @ _bootstrap(right, world.same_test, rng)  # [K, B]
    by_seed = CONTRASTS @ right.mean(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = by_seed[1] / by_seed[2]
        value = m.mean[1] / m.mean[2]
        w = np.array([1.0, -value])
        error = np.sqrt(w @ (m.seeds + m.examples)[1:3, 1:3] @ w) / abs(m.mean[2])
        held = (
            off <= t * np.sqrt(seeds[1]),
            off <= mover(*parts),
            off <= satterthwaite(*parts),
            _within(z[1], wanted[1]),
            abs(ratios.mean() - pgr) <= t * ratios.std(ddof=1) / np.sqrt(s),
            abs(value - pgr) <= t * error,
            _within(z[1] / z[2], pgr),
        )
    yield from (name for name, h in zip(OTHERS, held, strict=True) if h)


def mover(seeds: np.ndarray, df: np.ndarray, examples: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Returns half-widths added in squares, each with its own quantile (Howe 1974, Graybill and Wang 1980)."""
    return np.sqrt(quantile(df, level) ** 2 * seeds + quantile(np.inf, level) ** 2 * examples)


def satterthwaite(seeds: np.ndarray, df: np.ndarray, examples: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Returns half the width of Student's t with Satterthwaite's (1946) degrees of freedom."""
    both = np.maximum(seeds + examples, TINY)
    return quantile(df * (both / np.maximum(seeds, TINY)) ** 2, level) * np.sqrt(both)


def _within(draws: np.ndarray, truth: float) -> bool:
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return bool(low <= truth <= high)


def _bootstrap(right: np.ndarray, same_test: bool, rng: np.random.Generator, draws: int = 200) -> np.ndarray:
    """Returns [L, draws] accuracies of a hierarchical bootstrap: seeds, then examples."""
    _, s, n = right.shape
    seeds = rng.multinomial(s, np.full(s, 1 / s), size=draws) / s
    if not same_test:  # a seed's mean holds its examples already
        return right.mean(2) @ seeds.T
    examples = rng.multinomial(n, np.full(n, 1 / n), size=draws) / n
    return np.einsum("lsd,ds->ld", right.astype(float) @ examples.T, seeds)


Found = dict[Setting, Hits]


def grid_tables(boards: int, rng: np.random.Generator, say: Callable[[str], None]) -> None:
    """Says the coverage of the grid: by seeds and kind of test set, by what else differs, and what was drawn again."""
    by_classes = {c: {s: cover(s, boards // len(FLOORS), rng, c) for s in settings()} for c in FLOORS}
    by_setting = {s: by_classes[2][s] + by_classes[4][s] for s in settings()}
    error = 100 * np.sqrt(0.95 * 0.05 / boards)
    say(f"{len(by_setting)} settings of {boards} boards each; Monte-Carlo error of one setting {error:.1f}.\n")
    rows = [
        _row(f"{seeds}, {'one for all seeds' if same else 'drawn per seed'}", part)
        for seeds in (3, 5, 10, 16)
        for same in (False, True)
        if (part := [h for s, h in by_setting.items() if (s.world.seeds, s.world.same_test) == (seeds, same)])
    ]
    every = list(by_setting.values())
    pooled = [f"**{100 * np.mean([h.rate(name) for h in every]):.2f}**" for name in QUANTITIES]
    rows.append(["**all**", *pooled, _shown(every)])
    say(table(["seeds, test set", *QUANTITIES, "PGR shown"], rows) + "\n")
    say("The same boards, by what else differs.\n")
    rows = [_row(f"gap {g:g}", [h for s, h in by_setting.items() if s.gap == g]) for g in (0.02, 0.05, 0.1, 0.3)]
    rows += [_row(f"{n} examples", [h for s, h in by_setting.items() if s.world.n == n]) for n in (200, 1000, 5000)]
    rows += [_row(f"{c} classes", hits_of.values()) for c, hits_of in by_classes.items()]
    say(table(["settings with", *QUANTITIES, "PGR shown"], rows) + "\n")
    _say_again(by_setting, boards, rng, say)


def _row(name: str, hits: Iterable[Hits]) -> list[str]:
    """Returns a row: mean coverage (least to most) over these settings."""
    hits = list(hits)
    rates = [100 * np.array([h.rate(quantity) for h in hits]) for quantity in QUANTITIES]
    return [name, *(f"{r.mean():.1f} ({r.min():.1f} to {r.max():.1f})" for r in rates), _shown(hits)]


def _shown(hits: list[Hits]) -> str:
    return f"{100 * np.mean([h.shown / h.boards for h in hits]):.0f}"


def _say_again(by_setting: Found, boards: int, rng: np.random.Generator, say: Callable[[str], None]) -> None:
    """Says the coverage, on fresh boards, of the settings that looked too low or too high."""
    lows, highs, low_by_chance, high_by_chance = 0, 0, 0.0, 0.0
    again, rows = [], []
    for setting, hits in by_setting.items():
        low = LOW if setting.world.seeds >= 5 else LOW_OF_3
        low_by_chance += len(QUANTITIES) * stats.binom.cdf(np.ceil(boards * low) - 1, boards, 0.95)
        high_by_chance += len(QUANTITIES) * stats.binom.sf(np.floor(boards * HIGH), boards, 0.95)
        beyond = [q for q in QUANTITIES if not low <= hits.rate(q) <= HIGH]
        parts = [cover(setting, AGAIN * boards // len(FLOORS), rng, c) for c in FLOORS if beyond]
        for q in beyond:
            lows, highs = lows + (hits.rate(q) < low), highs + (hits.rate(q) > HIGH)
            again.append(sum(h.held[q] for h in parts) / sum(h.boards for h in parts))
            if not low <= again[-1] <= HIGH:
                rows.append([str(setting), q, f"{100 * hits.rate(q):.1f}", f"{100 * again[-1]:.2f}"])
    say(
        f"Of {len(by_setting) * len(QUANTITIES)} rates {lows} were below {100 * LOW:.0f} % ({100 * LOW_OF_3:.0f} % "
        f"with 3 seeds) and {highs} above {100 * HIGH:.1f} %; {low_by_chance:.1f} and {high_by_chance:.1f} are "
        "expected where all cover 95 %."
    )
    if again:
        least, most = 100 * min(again), 100 * max(again)
        say(f"Drawn again, {AGAIN * boards} boards each, these cover {least:.2f} to {most:.2f} %.")
    say("\n" + table(["beyond the limit again", "quantity", "first", "again"], rows) + "\n" if rows else "")


def in_theory(rule: Callable[..., np.ndarray], df: float, level: float) -> np.ndarray:
    """Returns the coverage of normal data whose examples' part is known, for shares 0, .01 to 1 of the seeds' part."""
    share = np.linspace(0, 1, 101)[:, None]
    seeds = share * stats.chi2.ppf((np.arange(5000) + 0.5) / 5000, df) / df
    return 2 * stats.norm.cdf(rule(seeds, df, 1 - share, level)).mean(1) - 1


def theory_table(say: Callable[[str], None]) -> None:
    """Says the least and the most that intervals cover in theory."""
    rules = {"chosen": half_width, "MOVER": mover, "Satterthwaite": satterthwaite}
    rows = []
    for level in (0.95, 0.99, 0.999):
        for seeds in (3, 5, 7, 10):
            rates = [100 * in_theory(rule, seeds - 1.0, level) for rule in rules.values()]
            rows.append([f"{100 * level:g} %, {seeds} seeds", *(f"{r.min():.2f} to {r.max():.2f}" for r in rates)])
    say(table(["interval", *rules], rows) + "\n")


def choice_table(boards: int, rng: np.random.Generator, say: Callable[[str], None]) -> None:
    """Says the coverage of the chosen intervals beside that of others."""
    rows: list[list[str]] = []
    for seeds in (3, 5, 10):
        for same in (False, True):
            hits = cover(Setting(World(seeds, 500, same), 0.1), boards, rng, others=True)
            shares = [f"{100 * hits.rate(n):.1f}" for n in ("difference", *OTHERS[:4], "PGR", *OTHERS[4:])]
            rows.append([f"{seeds}, {'one for all' if same else 'per seed'}", *shares])
    say(f"True gap .1, 500 test examples, {boards} boards a row, the same for all columns.\n")
    titles = ["seeds, test set", "difference: chosen", *OTHERS[:4], "PGR: Fieller (chosen)", *OTHERS[4:]]
    say(table(titles, rows) + "\n")


def main() -> None:
    """Prints the coverage tables of docs/statistics.md."""
    parser = argparse.ArgumentParser(prog="python -m w2s_bench.studies.coverage", description=main.__doc__)
    parser.add_argument("--boards", type=int, default=1000, help="boards for each of the 96 settings [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the random generator [%(default)s]")
    arguments = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    grid_tables(arguments.boards, np.random.default_rng([arguments.seed, 0]), say)
    theory_table(say)
    choice_table(arguments.boards // 5, np.random.default_rng([arguments.seed, 1]), say)


if __name__ == "__main__":
    main()
