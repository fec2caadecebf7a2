"""What a store says of its sweeps: read from the files alone, while they run or after."""

from __future__ import annotations

import json
from collections.abc import Iterable
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


def look(store: str | None = None) -> dict[str, Any]:
    """Returns counts of cells, times in seconds, suites, failures and running sweeps of a store."""
    root = Path(store_folder(store))
    if not root.is_dir():
        raise UsageError(f"store {root} is not there; give --store DIR, or begin one with `w2s run` or `w2s suite`")
    files = StoreFiles(root)
    unusable: list[str] = []
    records = [r.raw for name in files.names("records", ".json") for r in read_record(files, name, unusable)]
    by_digest = {r["digest"]: r["status"] for r in records}
    running = running_sweeps(root / RUNNING)
    suites = {}
    for name in files.names("suites", ".json"):
        cells = [by_digest.get(d) for d in _planned(files, name, unusable)]
        suites[Path(name).stem] = {
            "cells": len(cells),
            "ok": sum(c == "ok" for c in cells),
            "failed": sum(c not in (None, "ok") for c in cells),
            "to_do": sum(c is None for c in cells),
        }
    failures = [r for r in records if r["status"] != "ok"]
    costs = [r["cost"] for r in records if r.get("cost")]
    to_do = sum(s["to_do"] for s in suites.values())
    each = [c["seconds"] for c in costs if c.get("seconds") is not None]
    a_cell = sum(each) / len(each) if each else None
    stages = [s for c in costs for s in (c.get("stages") or {}).values() if isinstance(s, dict)]
    return {
        "store": str(root),
        "ok": len(records) - len(failures),
        "failed": len(failures),
        "running": running,
        "submitted": Submitted(Path(cache_folder()).absolute()).count(root),
        "to_do": to_do,
        "suites": suites,
        "failures": [{"cell": label(r["cell"]), "status": r["status"], "reason": r.get("reason")} for r in failures],
        "no_gap": _without_gap(r for r in records if r["status"] == "ok"),
        "unusable": unusable,
        "seconds": {
            # over all records each stage is there once as not cached
            "spent": sum(s.get("seconds") or 0 for s in stages if not s.get("cached")),
            "a_cell": a_cell,
            "left": _left(running) if running else None if a_cell is None else a_cell * to_do,
        },
        "flops": sum(c.get("flops") or 0 for c in costs),
        "supervisor_calls": sum(c.get("supervisor_calls") or 0 for c in costs),
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


def _without_gap(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns how many cells have a ceiling that is not above the floor, and why, by task, supervisors and student."""
    groups: dict[str, dict[str, Any]] = {}
    for record in records:
        reason = no_gap_in(record)
        if reason is not None:
            cell = record["cell"]
            names = [cell["task"]["name"], [s["name"] for s in cell["supervisors"]], cell["student"]["name"]]
            group = groups.setdefault(json.dumps(names), {"cell": label(cell), "reason": reason, "cells": 0})
            group["cells"] += 1
    return list(groups.values())


def _planned(files: StoreFiles, name: str, unusable: list[str]) -> list[str]:
    try:
        return [str(c) for c in parse_json(files.read(name))["cells"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        unusable.append(f"{name}: not a suite's plan ({type(error).__name__}); run `w2s suite` again to write it")
        return []


def _left(running: list[dict[str, Any]]) -> float | None:
    known = [s["seconds_left"] for s in running if s.get("seconds_left") is not None]
    return max(known) if known else None
