"""The two families of comparisons: overall rows (primary) and single rows, each with its verdicts and rank sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from w2s_bench.board.comparison import Pooled, moderate, p_of, pooled_noise, verdict
from w2s_bench.board.design import CEILING, FLOOR, Design, Series, ratio_of
from w2s_bench.board.labels import NAIVE, Group
from w2s_bench.board.ranks import rank_sets
from w2s_bench.board.statistics import Moments, add, holm, intervals, p_values


@dataclass
class Entry:
    """One mitigation stack in one group, as far as comparisons go."""

    group: Group
    stack: str
    whole: bool
    """Finished on every seed that naive finished on: only whole entries make claims and have ranks."""
    control: bool = False
    over: dict[str, Any] | None = None
    """Filled in: the difference from naive, in accuracy."""
    ranks: list[int] | None = None
    """Filled in: first and last possible rank in the group."""

    @property
    def line(self) -> Series:
        return (self.group, self.stack)


def resolved_gap(design: Design, group: Group) -> bool:
    """Returns whether the ceiling clearly exceeds the floor."""
    if (group, FLOOR) not in design.where:
        return False
    return bool(intervals(design.moments([{(group, CEILING): 1.0, (group, FLOOR): -1.0}]))[0, 1] > 0)


def compare_cells(design: Design, entries: list[Entry]) -> None:
    """Fills in the differences from naive and the rank sets of single rows: the second family."""
    groups: dict[Group, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.whole and entry.line in design.where:
            groups[entry.group].append(entry)
    noise = _noise(
        design, {g: [[e.line] for e in _naive_first(members) if not e.control] for g, members in groups.items()}
    )
    compared: list[tuple[Entry, Moments]] = []
    rivals: dict[Group, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.stack != NAIVE and entry.line in design.where and (entry.group, NAIVE) in design.where:
            rivals[entry.group].append(entry)
    for group, members in rivals.items():
        base = (group, NAIVE)
        # whole entries share naive's seeds, and are measured at once; the others each on the seeds they have
        whole = [e for e in members if e.whole]
        for batch in ([whole] if whole else []) + [[e] for e in members if not e.whole]:
            parts = design.parts([{e.line: 1.0, base: -1.0} for e in batch])
            prior = noise.get(group) if batch is whole else None
            shrink = dict.fromkeys(parts, prior) if prior else {}
            for k, entry in enumerate(batch):
                compared.append((entry, moderate({name: p.pick(k) for name, p in parts.items()}, shrink)))
    if compared:
        stacked = [np.array(x) for x in zip(*(_first(m) for _, m in compared), strict=True)]
        for (entry, moments), p in zip(compared, p_values(*stacked), strict=True):
            mean, low, high = intervals(moments)[0]
            entry.over = _difference(mean, low, high, float(p), "accuracy")
    judge([e.over for e, _ in compared if e.whole and e.over])
    for group, members in groups.items():
        ranked = [e for e in members if not e.control]
        prior = noise.get(group)
        sets = _ranks(design, [[e.line] for e in ranked], dict.fromkeys(design.blocks, prior) if prior else {})
        for entry, ranks in zip(ranked, sets, strict=True):
            entry.ranks = ranks


def _naive_first(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda e: e.stack != NAIVE)


def _first(m: Moments) -> tuple[float, float, float, float]:
    """Returns the first contrast's mean, seed variance, degrees of freedom and example variance."""
    return m.mean[0], m.seeds[0, 0], m.df[0], m.examples[0, 0]


def compare_overall(design: Design, entries: list[Entry], groups: list[Group]) -> dict[str, dict[str, Any]]:
    """Returns for each stack its PGR over these (resolved) groups, its difference from naive's and its ranks."""
    stacks: dict[str, dict[Group, Entry]] = defaultdict(dict)
    for entry in entries:
        stacks[entry.stack][entry.group] = entry
    whole = {
        stack: bool(groups) and all(g in by_group and by_group[g].whole for g in groups)
        for stack, by_group in stacks.items()
    }
    control = {s: any(e.control for e in by_group.values()) for s, by_group in stacks.items()}
    compared = sorted((s for s in stacks if whole[s] and not control[s]), key=lambda s: s != NAIVE)
    units: dict[str, list[list[Series]]] = {}
    of_task: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        of_task[group.task_name].append(group)
    for name in design.blocks:
        if name in of_task:
            units[name] = [[(g, s) for g in of_task[name]] for s in compared]
    noise = _noise(design, units)
    out: dict[str, dict[str, Any]] = {}
    measured = _over_groups(design, [s for s in stacks if whole[s]], groups, noise)
    for stack, by_group in stacks.items():
        had = [g for g in groups if g in by_group and (g, stack) in design.where]
        out[stack] = {"complete": whole[stack], "control": control[stack], "groups": len(had), "ranks": None}
        out[stack] |= measured[stack] if whole[stack] else _over_groups(design, [stack], had, {})[stack]
    judge([e["over_naive"] for s, e in out.items() if e["over_naive"] and whole[s]])
    sets = _ranks(design, [[(g, s) for g in groups] for s in compared], noise)
    for stack, ranks in zip(compared, sets, strict=True):
        out[stack]["ranks"] = ranks
    return out


def compare_stacks(design: Design, entries: list[Entry], groups: list[Group]) -> list[dict[str, Any]]:
    """Returns for each stack of two, beside both its halves, its overall PGR minus that of the better half."""
    whole: dict[str, set[Group]] = defaultdict(set)
    for entry in entries:
        if entry.whole:
            whole[entry.stack].add(entry.group)
    complete = {s for s, finished in whole.items() if groups and finished >= set(groups)}
    gap = {(g, CEILING): 1.0 for g in groups} | {(g, FLOOR): -1.0 for g in groups}
    out = []
    for stack in sorted(complete):
        halves = stack.split("+")
        if len(halves) != 2 or halves[0] == halves[1] or not complete.issuperset(halves):
            continue
        gains = {
            h: design.ratio({(g, h): 1.0 for g in groups} | {(g, FLOOR): -1.0 for g in groups}, gap) for h in halves
        }
        better = max(halves, key=lambda h: gains[h].value)
        over = design.ratio({(g, stack): 1.0 for g in groups} | {(g, better): -1.0 for g in groups}, gap)
        ends = (over.low, over.high) if over.bounded else (None, None)
        out.append(
            {"stack": stack, "halves": halves, "better": better, "mean": over.value, "low": ends[0], "high": ends[1]}
        )
    return out


def _over_groups(
    design: Design, stacks: list[str], groups: list[Group], noise: Mapping[Any, Pooled]
) -> dict[str, dict[str, Any]]:
    """Returns for each stack its PGR and difference from naive over these groups, on the seeds that all have."""
    if not groups:
        return {s: {"pgr": None, "over_naive": None} for s in stacks}
    gap = {(g, CEILING): 1.0 for g in groups} | {(g, FLOOR): -1.0 for g in groups}
    gains = [{(g, s): 1.0 for g in groups} | {(g, FLOOR): -1.0 for g in groups} for s in stacks]
    gain_parts = design.parts([gap, *gains])
    rivals = [s for s in stacks if s != NAIVE] if all((g, NAIVE) in design.where for g in groups) else []
    overs = [{(g, s): 1.0 for g in groups} | {(g, NAIVE): -1.0 for g in groups} for s in rivals]
    over_parts = design.parts([gap, *overs])
    out: dict[str, dict[str, Any]] = {}
    for k, stack in enumerate(stacks, 1):
        pgr = ratio_of([p.pick(k, 0) for p in gain_parts.values()])
        shown = {"mean": pgr.value, "low": pgr.low, "high": pgr.high} if pgr.bounded else None
        out[stack] = {"pgr": shown, "over_naive": None}
    for k, stack in enumerate(rivals, 1):
        parts = {name: p.pick(k, 0) for name, p in over_parts.items()}
        shrunk = {name: moderate({name: p}, noise) for name, p in parts.items()}
        ratio = ratio_of(list(shrunk.values()))
        low, high = (ratio.low, ratio.high) if ratio.bounded else (None, None)
        out[stack]["over_naive"] = _difference(ratio.value, low, high, p_of(add(list(shrunk.values()))), "pgr")
    return out


def _difference(mean: float, low: float | None, high: float | None, p: float, unit: str) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "p": p, "p_adjusted": None, "verdict": "no evidence", "unit": unit}


def judge(family: list[dict[str, Any]]) -> None:
    """Fills in adjusted p-values and verdicts of one family."""
    for entry, adjusted in zip(family, holm(np.array([e["p"] for e in family])), strict=True):
        entry["p_adjusted"] = float(adjusted)
        entry["verdict"] = verdict(entry["mean"], float(adjusted))


def _noise(design: Design, units: Mapping[Any, list[list[Series]]]) -> dict[Any, Pooled]:
    """Returns pooled noise by unit; a unit lists, for each mitigation (naive first), the lines that are summed."""
    values = {}
    for name, mitigations in units.items():
        if not mitigations:
            continue
        y = np.array([np.sum([design.series(line) for line in lines], 0) for lines in mitigations])
        values[name] = y[:, np.isfinite(y).all(0)]
    first = {lines[0][1] for mitigations in units.values() for lines in mitigations[:1]}
    return pooled_noise(values, 0 if first == {NAIVE} else None)


def _ranks(design: Design, sums: list[list[Series]], noise: Mapping[Any, Pooled]) -> list[list[int] | None]:
    """Returns a rank set for each sum of lines, from all pairs; None where there is nothing to rank."""
    if len(sums) < 2:
        return [None] * len(sums)
    parts = design.parts([dict.fromkeys(lines, 1.0) for lines in sums])
    i, j = np.triu_indices(len(sums), 1)
    mean, seeds, df, examples, squared = (np.zeros(len(i)) for _ in range(5))
    known = np.ones(len(i), dtype=bool)
    for name, part in parts.items():
        mean += part.mean[i] - part.mean[j]
        variance = part.seeds[i, i] + part.seeds[j, j] - 2 * part.seeds[i, j]
        seeds_df = np.minimum(part.df[i], part.df[j])
        prior = noise.get(name)
        if prior is not None and prior.df:
            shrunk, seeds_df = prior.shrink(variance * (part.df[i] + 1), seeds_df, False)
            variance = shrunk / (part.df[i] + 1)
        known &= seeds_df > 0
        seeds += variance
        squared += variance**2 / np.maximum(seeds_df, 1e-9)
        examples += part.examples[i, i] + part.examples[j, j] - 2 * part.examples[i, j]
        df += seeds_df
    df = np.where(squared > 0, seeds**2 / np.where(squared > 0, squared, 1.0), df)
    p = np.ones((len(sums), len(sums)))
    p[i, j] = p[j, i] = p_values(mean, seeds, np.where(known, df, 0.0), examples)
    level = np.sum([part.mean for part in parts.values()], 0)
    return [[int(a), int(b)] for a, b in rank_sets(level, p)]
