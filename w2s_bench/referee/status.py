"""What a store says of its sweeps: read from the files alone, while they run or after."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_bench.cells import label
from w2s_bench.compose.settings import cache_folder, store_folder
from w2s_bench.errors import UsageError
from w2s_bench.exchange import parse_json
from w2s_bench.referee.progress import spell
from w2s_bench.referee.store import RUNNING, running_sweeps
from w2s_bench.referee.submitted import Submitted
from w2s_bench.store.escape import plain
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.gap import no_gap_in
from w2s_bench.store.records import read_record


@dataclass
class _Seen:
    """What is left of records once they are looked at."""

    status: dict[str, str] = field(default_factory=dict)
    """By digest."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    no_gap: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By task, supervisors and student: how many cells have a ceiling that is not above the floor, and why."""
    trained: int = 0
    trained_s: float = 0
    spent_s: float = 0
    flops: float = 0
    calls: int = 0

    def add(self, record: dict[str, Any]) -> None:
        self.status[record["digest"]] = record["status"]
        self._add_cost(record.get("cost") or {})
        cell = record["cell"]
        if record["status"] != "ok":
            self.failures.append({"cell": label(cell), "status": record["status"], "reason": record.get("reason")})
        elif (reason := no_gap_in(record)) is not None:
            names = [cell["task"]["name"], [s["name"] for s in cell["supervisors"]], cell["student"]["name"]]
            group = self.no_gap.setdefault(json.dumps(names), {"cell": label(cell), "reason": reason, "cells": 0})
            group["cells"] += 1

    def _add_cost(self, cost: dict[str, Any]) -> None:
        if cost.get("seconds") is not None:
            self.trained += 1
            self.trained_s += cost["seconds"]
        for stage in (cost.get("stages") or {}).values():
            if isinstance(stage, dict) and not stage.get("cached"):  # over all records each is there once so
                self.spent_s += stage.get("seconds") or 0
        self.flops += cost.get("flops") or 0
        self.calls += cost.get("supervisor_calls") or 0


def look(store: str | None = None) -> dict[str, Any]:
    """Returns counts of cells, times in seconds, suites, failures and running sweeps of a store."""
    root = Path(store_folder(store))
    if not root.is_dir():
        raise UsageError(f"store {root} is not there; give --store DIR, or begin one with `w2s run` or `w2s suite`")
    files = StoreFiles(root)
    unusable: list[str] = []
    seen = _Seen()
    for name in files.names("records", ".json"):  # one at a time: a store may have more than memory has room for
        for record in read_record(files, name, unusable):
            seen.add(record.raw)
    running = running_sweeps(root / RUNNING)
    suites = {}
    for name in files.names("suites", ".json"):
        cells = [seen.status.get(d) for d in _planned(files, name, unusable)]
        suites[Path(name).stem] = {
            "cells": len(cells),
            "ok": sum(c == "ok" for c in cells),
            "failed": sum(c not in (None, "ok") for c in cells),
            "to_do": sum(c is None for c in cells),
        }
    to_do = sum(s["to_do"] for s in suites.values())
    a_cell = seen.trained_s / seen.trained if seen.trained else None
    return {
        "store": str(root),
        "ok": len(seen.status) - len(seen.failures),
        "failed": len(seen.failures),
        "running": running,
        "submitted": Submitted(Path(cache_folder()).absolute()).count(root),
        "to_do": to_do,
        "suites": suites,
        "failures": seen.failures,
        "no_gap": list(seen.no_gap.values()),
        "unusable": unusable,
        "seconds": {
            "spent": seen.spent_s,
            "a_cell": a_cell,
            "left": _left(running) if running else None if a_cell is None else a_cell * to_do,
        },
        "flops": seen.flops,
        "supervisor_calls": seen.calls,
    }


def describe(status: dict[str, Any]) -> str:
    """Returns what `look` returned, for people."""
    seconds = status["seconds"]
    lines = [f"store {status['store']}: {status['ok']} cells done, {status['failed']} failed, {status['to_do']} to do"]
    for name, suite in status["suites"].items():
        of = f"{suite['ok']} of {suite['cells']} done, {suite['failed']} failed, {suite['to_do']} to do"
        lines.append(f"  suite {name}: {of}")
    if seconds["a_cell"] is not None:
        lines.append(
            f"spent {spell(seconds['spent'])} of work; training took {seconds['a_cell']:.1f} s a cell on average"
        )
    for sweep in status["running"]:
        cells = sweep["cells"]
        left = sweep.get("seconds_left")
        lines.append(
            f"running for {spell(sweep['seconds'])}: {cells['done']} done, {cells['failed']} failed, "
            f"{cells['left']} left" + ("" if left is None else f", about {spell(left)} to go")
        )
        if sweep["queued"] or sweep["engine"] not in ("local", "inline"):
            lines.append(
                f"  engine {sweep['engine']}: {len(sweep['running'])} stages run, {sweep['queued']} are queued"
            )
        lines += [f"  {stage}" for stage in sweep["running"]]
    if not status["running"]:
        rest = f"; to do: about {spell(seconds['left'])} of work" if status["to_do"] and seconds["left"] else ""
        lines.append(("no sweep is running" if status["submitted"] else "nothing is running") + rest)
        for engine, n in status["submitted"].items():
            lines.append(
                f"jobs of {engine} go on: {n['queued']} stages queued, {n['running']} running, {n['ended']} ended; "
                "the same command collects them, `w2s cancel` ends them"
            )
    lines += [f"{f['status']}: {f['cell']}: {f['reason']}" for f in status["failures"]]
    lines += [f"no PGR in {g['cells']} cells like {g['cell']}: {g['reason']}" for g in status["no_gap"]]
    lines += [f"unusable: {line}" for line in status["unusable"]]
    return "\n".join(plain(line) for line in lines)


def _planned(files: StoreFiles, name: str, unusable: list[str]) -> list[str]:
    try:
        return [str(c) for c in parse_json(files.read(name))["cells"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        unusable.append(f"{name}: not a suite's plan ({type(error).__name__}); run `w2s suite` again to write it")
        return []


def _left(running: list[dict[str, Any]]) -> float | None:
    known = [s["seconds_left"] for s in running if s.get("seconds_left") is not None]
    return max(known) if known else None
