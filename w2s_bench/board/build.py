"""The board: from stores to the object that every face shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench.board.comparison import Pooled, moderate, p_of, pooled_noise, verdict
from w2s_bench.board.controls import misbehaviour
from w2s_bench.board.design import CEILING, FLOOR, Design, Line, design_of, ratio_of
from w2s_bench.board.labels import NAIVE, Group, Labels, labels_of
from w2s_bench.board.ranks import rank_sets
from w2s_bench.board.records import SCHEMA, Record, read_stores
from w2s_bench.board.rows import cost_of, imitation_of, mean_of, pareto, quality_of
from w2s_bench.board.statistics import holm, intervals, p_values


@dataclass
class Board:
    """A board: `data` is what `--format json` prints, `cells` what the page shows when a row is opened."""

    data: dict[str, Any]
    cells: list[list[dict[str, Any]]] = field(default_factory=list)
    """For each row, its records in short."""

    @property
    def notes(self) -> list[str]:
        return self.data["notes"]


@dataclass
class _Row:
    group: Group
    stack: str
    records: list[Record]
    status: str = "ok"
    over: dict[str, Any] | None = None
    ranks: list[int] | None = None

    @property
    def done(self) -> list[Record]:
        return [r for r in self.records if r.ok]

    @property
    def seeds(self) -> list[int]:
        return sorted(r.seed for r in self.done)

    @property
    def control(self) -> bool:
        return any(bool(r.raw.get("control")) for r in self.records)

    @property
    def track(self) -> str:
        tracks = {str(r.raw.get("track") or WEAK_ONLY) for r in self.records}
        return GROUND_TRUTH if GROUND_TRUTH in tracks else WEAK_ONLY


WEAK_ONLY, GROUND_TRUTH = "weak-labels-only", "uses-ground-truth"


def build_board(stores: Sequence[Path | str], suite: str | None = None) -> Board:
    """Returns the board of these stores (of one suite, where named). Needs records and score files alone."""
    reading = read_stores([Path(s) for s in stores], suite)
    labels = labels_of(reading.records)
    rows = _rows(reading.records, labels)
    notes = list(reading.notes)
    design = design_of([r for r in reading.records if r.ok], labels, notes)
    expected = _expected(rows)
    for row in rows:
        row.status = "ok" if set(row.seeds) >= expected[row.group] else "incomplete"
    resolved = {g: _resolved(design, g) for g in dict.fromkeys(r.group for r in rows)}
    _compare_rows(design, rows)
    overall = _overall(design, rows, resolved)
    rows.sort(key=lambda r: (r.group, r.stack != NAIVE, r.control, r.stack))
    shown = [_show(design, row, rows, resolved[row.group]) for row in rows]
    pareto(shown)
    present = {r.digest for r in reading.records}
    missing = sum(len(cells - present) for cells in reading.planned.values())
    status = Counter(r.raw["status"] for r in reading.records)
    suites = {r.raw.get("suite") for r in reading.records}
    data = {
        "schema": SCHEMA,
        "protocol": reading.records[0].protocol if reading.records else None,
        "suite": suite if suite is not None else (suites.pop() if len(suites) == 1 else None),
        "as_of": max((r.finished for r in reading.records), default=None) or None,
        "records": {
            "ok": status["ok"],
            "failed": status["failed"] + status["timeout"],
            "timeout": status["timeout"],
            "skipped": status["skipped"],
            "missing": missing,
        },
        "controls": misbehaviour(shown, {(r.group, r.stack): r.done for r in rows}, [(r.group, r.stack) for r in rows]),
        "overall": overall,
        "rows": shown,
        "notes": notes,
    }
    return Board(rounded(data), [[_cell(r) for r in sorted(row.records, key=lambda r: r.seed)] for row in rows])


def _rows(records: list[Record], labels: Labels) -> list[_Row]:
    together: dict[tuple[Group, str], list[Record]] = defaultdict(list)
    for record in records:
        together[labels.group(record), labels.stack(record)].append(record)
    return [_Row(group, stack, found) for (group, stack), found in together.items()]


def _expected(rows: list[_Row]) -> dict[Group, set[int]]:
    """Returns the seeds that a row needs to be whole: those on which naive finished, else those most rows have."""
    expected: dict[Group, set[int]] = {}
    for group in dict.fromkeys(r.group for r in rows):
        own = [r for r in rows if r.group == group]
        naive = [set(r.seeds) for r in own if r.stack == NAIVE and r.seeds]
        common = Counter(tuple(sorted({x.seed for x in r.records})) for r in own).most_common(1)[0][0]
        expected[group] = naive[0] if naive else set(common)
    return expected


def _resolved(design: Design, group: Group) -> bool:
    """Says whether the ceiling clearly exceeds the floor."""
    if (group, FLOOR) not in design.where:
        return False
    gap = design.moments([{(group, CEILING): 1.0, (group, FLOOR): -1.0}])
    return bool(intervals(gap)[0, 1] > 0)


def _lines(rows: list[_Row], design: Design) -> list[_Row]:
    """Returns the rows that can be compared: whole, and finished at least once."""
    return [r for r in rows if r.status != "incomplete" and (r.group, r.stack) in design.where]


def _noise(design: Design, units: dict[str, list[Line] | list[list[Line]]]) -> dict[str, Pooled]:
    """Returns pooled noise by unit; a unit lists, for each mitigation, the lines that are summed."""
    values = {}
    for name, mitigations in units.items():
        sums = [np.sum([design.series(line) for line in _as_list(lines)], 0) for lines in mitigations]
        y = np.array(sums)
        y = y[:, np.isfinite(y).all(0)] if len(y) else np.zeros((0, 0))
        values[name] = y
    return pooled_noise(values)


def _as_list(lines: Line | list[Line]) -> list[Line]:
    return lines if isinstance(lines, list) else [lines]


def _compare_rows(design: Design, rows: list[_Row]) -> None:
    """Fills in the differences from naive and the rank sets of single rows: the second family."""
    whole = _lines(rows, design)
    groups = {g: [r for r in whole if r.group == g] for g in dict.fromkeys(r.group for r in whole)}
    noise = _noise(design, {repr(g): [(g, r.stack) for r in own if not r.control] for g, own in groups.items()})
    family: list[dict[str, Any]] = []
    for row in rows:
        line, base = (row.group, row.stack), (row.group, NAIVE)
        if row.stack == NAIVE or line not in design.where or base not in design.where:
            continue
        parts = design.parts([{line: 1.0, base: -1.0}])
        prior = noise.get(repr(row.group)) if row.status == "ok" else None
        moments = moderate(parts, dict.fromkeys(parts, prior) if prior else {})
        mean, low, high = intervals(moments)[0]
        row.over = {"mean": mean, "low": low, "high": high, "p": p_of(moments), "p_adjusted": None, "unit": "accuracy"}
        if row.status == "ok":
            family.append(row.over)
    _adjust(family)
    for row in rows:
        if row.over is not None:
            row.over["verdict"] = verdict(row.over["mean"], row.over["p_adjusted"] or 1.0)
    for group, own in groups.items():
        ranked = [r for r in own if not r.control]
        sets = _ranks(design, [[(group, r.stack)] for r in ranked], {b: noise.get(repr(group)) for b in design.blocks})
        for row, ranks in zip(ranked, sets, strict=True):
            row.ranks = ranks


def _adjust(family: list[dict[str, Any]]) -> None:
    for entry, adjusted in zip(family, holm(np.array([e["p"] for e in family])), strict=True):
        entry["p_adjusted"] = float(adjusted)


def _ranks(design: Design, sums: list[list[Line]], noise: dict[str, Pooled | None]) -> list[list[int] | None]:
    """Returns a rank set for each sum of lines, from all pairs; None where pairs cannot be tested."""
    if len(sums) < 2:
        return [None] * len(sums)
    parts = design.parts([dict.fromkeys(lines, 1.0) for lines in sums])
    i, j = np.triu_indices(len(sums), 1)
    mean, seeds, df, examples = (np.zeros(len(i)) for _ in range(4))
    squared = np.zeros(len(i))
    known = np.ones(len(i), dtype=bool)
    for name, part in parts.items():
        mean += part.mean[i] - part.mean[j]
        own = part.seeds[i, i] + part.seeds[j, j] - 2 * part.seeds[i, j]
        own_df = np.minimum(part.df[i], part.df[j])
        prior = noise.get(name)
        if prior is not None and prior.df:
            shrunk, own_df = prior.shrink(own * (part.df[i] + 1), own_df)
            own = shrunk / (part.df[i] + 1)
        known &= own_df > 0
        seeds += own
        squared += own**2 / np.maximum(own_df, 1e-9)
        examples += part.examples[i, i] + part.examples[j, j] - 2 * part.examples[i, j]
        df += own_df
    df = np.where(squared > 0, seeds**2 / np.where(squared > 0, squared, 1.0), df)
    p = np.ones((len(sums), len(sums)))
    p[i, j] = p[j, i] = p_values(mean, seeds, np.where(known, df, 0.0), examples)
    level = np.sum([part.mean for part in parts.values()], 0)
    return [[int(a), int(b)] for a, b in rank_sets(level, p)]


def _overall(design: Design, rows: list[_Row], resolved: dict[Group, bool]) -> list[dict[str, Any]]:
    """Returns one row a mitigation over all resolved groups: the primary family."""
    groups = [g for g, clear in resolved.items() if clear]
    by_stack: dict[str, dict[Group, _Row]] = defaultdict(dict)
    for row in rows:
        by_stack[row.stack][row.group] = row
    whole = {
        stack: bool(groups) and all(g in own and own[g].status == "ok" for g in groups)
        for stack, own in by_stack.items()
    }
    control = {stack: any(r.control for r in own.values()) for stack, own in by_stack.items()}
    units: dict[str, list[list[Line]]] = defaultdict(list)
    for name in design.blocks:
        own_groups = [g for g in groups if g.task_name == name]
        if own_groups:
            units[name] = [[(g, s) for g in own_groups] for s in by_stack if whole[s] and not control[s]]
    noise = _noise(design, units)
    naive = by_stack.get(NAIVE, {})
    overall, family = [], []
    for stack, own in sorted(by_stack.items(), key=lambda kv: (kv[0] != NAIVE, control[kv[0]], kv[0])):
        had = [g for g in groups if g in own and (g, stack) in design.where]
        entry = _overall_row(design, stack, had, noise if whole[stack] else {})
        records = [r for row in own.values() for r in row.records]
        entry |= {
            "track": GROUND_TRUTH if any(r.track == GROUND_TRUTH for r in own.values()) else WEAK_ONLY,
            "control": control[stack],
            "complete": whole[stack],
            "ranks": None,
            "cells": sum(r.ok for r in records),
            "failed": sum(r.raw["status"] in ("failed", "timeout") for r in records),
            "groups": len(had),
            "cost": cost_of(
                [r for g in had for r in own[g].done],
                [r for g in had if g in naive for r in naive[g].done],
            ),
        }
        overall.append(entry)
        if entry["over_naive"] and whole[stack]:
            family.append(entry["over_naive"])
    _adjust(family)
    for entry in overall:
        if entry["over_naive"]:
            over = entry["over_naive"]
            over["verdict"] = verdict(over["mean"], over["p_adjusted"] or 1.0)
    ranked = [e for e in overall if e["complete"] and not e["control"]]
    sets = _ranks(design, [[(g, e["mitigation"]) for g in groups] for e in ranked], dict(noise))
    for entry, ranks in zip(ranked, sets, strict=True):
        entry["ranks"] = ranks
    return overall


def _overall_row(design: Design, stack: str, groups: list[Group], noise: dict[str, Pooled]) -> dict[str, Any]:
    entry: dict[str, Any] = {"mitigation": stack, "pgr": None, "over_naive": None}
    if not groups:
        return entry
    gap = {(g, CEILING): 1.0 for g in groups} | {(g, FLOOR): -1.0 for g in groups}
    gain = {(g, stack): 1.0 for g in groups} | {(g, FLOOR): -1.0 for g in groups}
    pgr = design.ratio(gain, gap)
    if pgr.bounded:
        entry["pgr"] = {"mean": pgr.value, "low": pgr.low, "high": pgr.high}
    if stack == NAIVE or not all((g, NAIVE) in design.where for g in groups):
        return entry
    over = {(g, stack): 1.0 for g in groups} | {(g, NAIVE): -1.0 for g in groups}
    parts = design.parts([over, gap])
    moments = moderate(parts, noise)
    difference = ratio_of([moderate({name: part}, noise) for name, part in parts.items()])
    bounded = difference.bounded
    entry["over_naive"] = {
        "mean": difference.value,
        "low": difference.low if bounded else None,
        "high": difference.high if bounded else None,
        "p": p_of(moments),
        "p_adjusted": None,
        "unit": "pgr",
    }
    return entry


def _show(design: Design, row: _Row, rows: list[_Row], resolved: bool) -> dict[str, Any]:
    """Returns a row as the JSON face shows it."""
    group, line = row.group, (row.group, row.stack)
    failed = [r for r in row.records if r.raw["status"] in ("failed", "timeout")]
    shown: dict[str, Any] = {
        "mitigation": row.stack,
        "task": group.task,
        "supervisors": list(group.supervisors),
        "student": group.student,
        "track": row.track,
        "control": row.control,
        "seeds": row.seeds,
        "failed": len(failed),
        "reasons": sorted({str(r.raw.get("reason") or r.raw["status"]) for r in row.records if not r.ok}),
        "imported": any("imported" in r.raw for r in row.records),
        "n_test": mean_of(r.test.get("n") for r in row.done),
        "floor": None,
        "student_accuracy": None,
        "ceiling": None,
        "pgr": None,
        "status": "incomplete" if row.status == "incomplete" else "ok" if resolved else "gap_unresolved",
        "over_naive": row.over,
        "ranks": row.ranks,
        "imitation": imitation_of(row.done),
        "quality": quality_of(row.done),
        "cost": None,
    }
    if line not in design.where:
        return shown
    accuracy = [intervals(design.moments([{w: 1.0}], line))[0] for w in ((group, FLOOR), line, (group, CEILING))]
    for key, values in zip(("floor", "student_accuracy", "ceiling"), accuracy, strict=True):
        shown[key] = dict(zip(("mean", "low", "high"), map(float, values), strict=True))
    if resolved:
        pgr = design.ratio({line: 1.0, (group, FLOOR): -1.0}, {(group, CEILING): 1.0, (group, FLOOR): -1.0})
        if pgr.bounded:
            shown["pgr"] = {"mean": pgr.value, "low": pgr.low, "high": pgr.high}
        elif shown["status"] == "ok":
            shown["status"] = "gap_unresolved"
    naive = next((r.done for r in rows if r.group == group and r.stack == NAIVE), [])
    shown["cost"] = cost_of(row.done, naive)
    return shown


def _cell(record: Record) -> dict[str, Any]:
    """Returns what the page shows of one record."""
    raw = record.raw
    provenance = raw.get("provenance") or {}
    return {
        "digest": record.digest,
        "seed": record.seed,
        "status": raw["status"],
        "reason": raw.get("reason"),
        "cell": record.cell,
        "accuracy": [raw["test"][w]["accuracy"] for w in ("floor", "student", "ceiling")] if record.ok else None,
        "pgr": raw.get("pgr"),
        "cost": raw.get("cost"),
        "provenance": {k: v for k, v in provenance.items() if k != "command"},
        "command": provenance.get("command"),
    }


def _significant(p: float | None) -> float | None:
    return None if p is None else float(f"{p:.3g}")


def rounded(value: Any) -> Any:
    """Returns a JSON-able value with floats of at most five decimals; infinite and undefined ones become None."""
    if isinstance(value, dict):
        return {k: _significant(v) if k in ("p", "p_adjusted") else rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return round(float(value), 5) + 0.0 if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
