"""What a store says of its sweeps: read from the files alone, while they run or after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from w2s_bench.cells import label
from w2s_bench.errors import UsageError
from w2s_bench.plan import SCHEMA
from w2s_bench.referee.progress import spell
from w2s_bench.referee.store import RUNNING, heard
from w2s_bench.settings import store_folder


def look(given: str | None = None) -> dict[str, Any]:
    """Returns counts of cells, times in seconds, suites, failures and running sweeps of a store."""
    root = Path(store_folder(given))
    if not root.is_dir():
        raise UsageError(f"store {root} is not there; give --store DIR, or begin one with `w2s run` or `w2s suite`")
    paths = sorted(p for p in (root / "records").glob("*.json") if not p.name.startswith("."))
    records = [r for p in paths if isinstance(r := _read(p), dict) and r.get("schema") == SCHEMA]
    by_digest = {r.get("digest"): r for r in records}
    running = heard(root / RUNNING)
    suites = {}
    for path in sorted((root / "suites").glob("*.json")):
        plan = _read(path) or {}
        cells = [by_digest.get(d) for d in plan.get("cells", ())]
        suites[str(plan.get("suite", path.stem))] = {
            "cells": len(cells),
            "ok": sum(r is not None and r["status"] == "ok" for r in cells),
            "failed": sum(r is not None and r["status"] != "ok" for r in cells),
            "to_do": sum(r is None for r in cells),
        }
    failures = [r for r in records if r["status"] != "ok"]
    costs = [r["cost"] for r in records if r.get("cost")]
    to_do = sum(s["to_do"] for s in suites.values())
    a_cell = sum(c["seconds"] for c in costs) / len(costs) if costs else None
    return {
        "store": str(root),
        "ok": len(records) - len(failures),
        "failed": len(failures),
        "running": running,
        "to_do": to_do,
        "suites": suites,
        "failures": [{"cell": label(r["cell"]), "status": r["status"], "reason": r["reason"]} for r in failures],
        "seconds": {
            # over all records each stage stands once as not cached
            "spent": sum(s["seconds"] for c in costs for s in c["stages"].values() if not s["cached"]),
            "a_cell": a_cell,
            "left": _left(running) if running else None if a_cell is None else a_cell * to_do,
        },
        "flops": sum(c["flops"] for c in costs),
        "supervisor_calls": sum(c["supervisor_calls"] for c in costs),
    }


def describe(found: dict[str, Any]) -> str:
    """Returns the same for people."""
    seconds = found["seconds"]
    lines = [f"store {found['store']}: {found['ok']} cells done, {found['failed']} failed, {found['to_do']} to do"]
    for name, suite in found["suites"].items():
        of = f"{suite['ok']} of {suite['cells']} done, {suite['failed']} failed, {suite['to_do']} to do"
        lines.append(f"  suite {name}: {of}")
    if seconds["a_cell"] is not None:
        cell = f"{seconds['a_cell']:.1f} s of training a cell"
        lines.append(f"spent {spell(seconds['spent'])} of work ({cell}), about {found['flops']:.2g} operations")
    for sweep in found["running"]:
        cells = sweep["cells"]
        left = sweep.get("seconds_left")
        lines.append(
            f"running for {spell(sweep['seconds'])}: {cells['done']} done, {cells['failed']} failed, "
            f"{cells['left']} left" + ("" if left is None else f", about {spell(left)}")
        )
        lines += [f"  {label}" for label in sweep["running"]]
    if not found["running"]:
        rest = f"; to do: about {spell(seconds['left'])} of work" if found["to_do"] and seconds["left"] else ""
        lines.append("nothing is running" + rest)
    lines += [f"{f['status']}: {f['cell']}: {f['reason']}" for f in found["failures"]]
    return "\n".join(lines)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _left(running: list[dict[str, Any]]) -> float | None:
    known = [s["seconds_left"] for s in running if s.get("seconds_left") is not None]
    return max(known) if known else None
