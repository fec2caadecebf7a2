"""The board: from stores to the object that every face shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench.board.controls import misbehaviour
from w2s_bench.board.design import CEILING, FLOOR, Design, design_of
from w2s_bench.board.families import Entry, compare_cells, compare_overall, compare_stacks, judge, resolved_gap
from w2s_bench.board.labels import NAIVE, Group, Labels, labels_of
from w2s_bench.board.rows import cost_of, disagreement_of, imitation_of, mean_of, no_gap_of, pareto, quality_of
from w2s_bench.board.statistics import intervals
from w2s_bench.store.escape import bounded, cut
from w2s_bench.store.files import stores_of
from w2s_bench.store.gap import no_gap_in
from w2s_bench.store.records import SCHEMA, Record, read_stores


@dataclass
class Board:
    """A board: `data` is what `--format json` prints."""

    data: dict[str, Any]
    records: list[list[Record]]
    """Those of each row, by seed."""

    @property
    def cells(self) -> list[list[dict[str, Any]]]:
        """What the page shows when a row is opened: its records in short."""
        return [[bounded(_cell(r), 10_000) for r in records] for records in self.records]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each (mitigation, task, supervisors, student), keys as in `--format json`."""
        return self.data["rows"]

    @property
    def overall(self) -> list[dict[str, Any]]:
        """One dictionary for each mitigation, over all groups with a resolved gap."""
        return self.data["overall"]

    @property
    def notes(self) -> list[str]:
        """One line for each thing that a reader should know."""
        return self.data["notes"]

    def __str__(self) -> str:
        """Returns the tables as a terminal shows them."""
        from w2s_bench.board.render import render

        return render(self)

    def _repr_html_(self) -> str:
        """Returns the tables for a notebook."""
        from w2s_bench.board.render.notebook import as_fragment

        return as_fragment(self)


@dataclass
class _Row:
    group: Group
    stack: str
    records: list[Record]
    whole: bool = True

    @cached_property
    def entry(self) -> Entry:
        return Entry(self.group, self.stack, self.whole, self.control)

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


def board(*stores: Path | str, suite: str | None = None) -> Board:
    """Returns the board of these stores, of one suite where it is named: `w2s board --store STORE --suite NAME`.

    Without a store it is W2S_STORE, else ./w2s-runs. In a notebook the board shows its tables; `rows` and `overall`
    are lists of dictionaries, `str(board)` is what a terminal shows.

    Raises:
        UsageError: A folder is no store, or its records follow several protocols.
    """
    return build_board(stores_of(stores), suite)


def build_board(stores: Sequence[Path | str], suite: str | None = None) -> Board:
    """Returns the board of these stores (of one suite, where named). Needs records and score files alone."""
    reading = read_stores([Path(s) for s in stores], suite)
    labels = labels_of(reading.records, reading.varied)
    rows = _rows(reading.records, labels)
    notes = list(reading.notes)
    design = design_of([r for r in reading.records if r.ok], labels, notes)
    expected = _expected(rows)
    for row in rows:
        row.whole = bool(row.seeds) and set(row.seeds) >= expected[row.group]
    resolved = {g: resolved_gap(design, g) for g in dict.fromkeys(r.group for r in rows)}
    compare_cells(design, [r.entry for r in rows])
    clear = [g for g, gap in resolved.items() if gap]
    levels = sorted({r.group.varied for r in rows})
    overall: list[dict[str, Any]] = []
    stacking: list[dict[str, Any]] = []
    for level in levels:  # values of a varied setting are never pooled
        at_level, clear_here = [r for r in rows if r.group.varied == level], [g for g in clear if g.varied == level]
        setting = _varied(level)
        overall += [setting | e for e in _overall(design, at_level, clear_here)]
        stacking += [setting | e for e in compare_stacks(design, [r.entry for r in at_level], clear_here)]
    if len(levels) > 1:
        judge([e["over_naive"] for e in overall if e["complete"] and e["over_naive"]])
    rows.sort(key=lambda r: (r.group, r.stack != NAIVE, r.control, r.stack))
    naive = {row.group: row.done for row in rows if row.stack == NAIVE}
    shown = [_show(design, row, naive.get(row.group, []), resolved[row.group]) for row in rows]
    pareto(shown)
    present = {r.digest for r in reading.records}
    missing = sum(len(cells - present) for cells in reading.planned.values())
    status = Counter(r.raw["status"] for r in reading.records)
    suites = {r.raw.get("suite") for r in reading.records}
    drawn_with = reading.records[0].drawn_with if reading.records else None  # a part of the protocol, which all share
    data = {
        "schema": SCHEMA,
        "protocol": reading.protocol,
        **({"secret": drawn_with} if drawn_with else {}),
        **_varied(tuple((k, sorted({dict(v)[k] for v in levels if k in dict(v)})) for k in reading.varied)),
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
        "stacking": stacking,
        "rows": shown,
        "notes": notes,
    }
    return Board(rounded(data), [sorted(row.records, key=lambda r: r.seed) for row in rows])


def _varied(level: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Returns what the board and its rows say of what the suite varies; nothing where nothing does."""
    return {"varied": dict(level)} if level else {}


def _rows(records: list[Record], labels: Labels) -> list[_Row]:
    together: dict[tuple[Group, str], list[Record]] = defaultdict(list)
    for record in records:
        together[labels.group(record), labels.stack(record)].append(record)
    return [_Row(group, stack, records) for (group, stack), records in together.items()]


def _expected(rows: list[_Row]) -> dict[Group, set[int]]:
    """Returns the seeds that a row needs to be whole: those on which naive finished, else those most rows have."""
    groups: dict[Group, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    expected: dict[Group, set[int]] = {}
    for group, members in groups.items():
        naive = [set(r.seeds) for r in members if r.stack == NAIVE and r.seeds]
        common = Counter(tuple(sorted({x.seed for x in r.records})) for r in members).most_common(1)[0][0]
        expected[group] = naive[0] if naive else set(common)
    return expected


def _overall(design: Design, rows: list[_Row], groups: list[Group]) -> list[dict[str, Any]]:
    """Returns one row a mitigation over all resolved groups: the primary family."""
    compared = compare_overall(design, [r.entry for r in rows], groups)
    by_stack: dict[str, dict[Group, _Row]] = defaultdict(dict)
    for row in rows:
        by_stack[row.stack][row.group] = row
    naive = by_stack.get(NAIVE, {})
    overall = []
    for stack, result in sorted(compared.items(), key=lambda kv: (kv[0] != NAIVE, kv[1]["control"], kv[0])):
        by_group = by_stack[stack]
        records = [r for row in by_group.values() for r in row.records]
        shared = [g for g in groups if g in by_group and g in naive]
        overall.append(
            {
                "mitigation": stack,
                "track": GROUND_TRUTH if any(r.track == GROUND_TRUTH for r in by_group.values()) else WEAK_ONLY,
                **result,
                "cells": sum(r.ok for r in records),
                "failed": sum(r.raw["status"] in ("failed", "timeout") for r in records),
                "cost": cost_of(*([r for g in shared for r in rows[g].done] for rows in (by_group, naive))),
            }
        )
    return overall


def _show(design: Design, row: _Row, naive: list[Record], resolved: bool) -> dict[str, Any]:
    """Returns a row as the JSON face shows it."""
    group, line = row.group, (row.group, row.stack)
    failed = [r for r in row.records if r.raw["status"] in ("failed", "timeout")]
    shown: dict[str, Any] = {
        "mitigation": row.stack,
        "task": group.task,
        "supervisors": list(group.supervisors),
        "student": group.student,
        **_varied(group.varied),
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
        "status": "incomplete" if not row.whole else "ok" if resolved else "gap_unresolved",
        "over_naive": row.entry.over,
        "ranks": row.entry.ranks,
        "imitation": imitation_of(row.done),
        "quality": quality_of(row.done),
        "disagreement": disagreement_of(row.done),
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
    shown["cost"] = cost_of(row.done, naive)
    return shown | no_gap_of(shown, [*row.done, *naive])


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
        "pgr": None if record.ok and no_gap_in(raw) else raw.get("pgr"),
        "predicted_rates": raw["test"]["student"].get("predicted_rates") if record.ok else None,
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
    if isinstance(value, str):
        return cut(value, 1000)
    return int(value) if isinstance(value, np.integer) else value
