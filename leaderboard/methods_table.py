"""The tables in docs/methods.md: what mitigations change, need and cost, how they fare, what their sources claim."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import yaml

from w2s_bench.board.render.formatting import difference_of, interval, number
from w2s_bench.interfaces import KINDS_WITH_CLASSES, TASK_KINDS
from w2s_bench.registry import Registration, load, stacking

CHANGES = {
    "combine_votes": "votes",
    "plan_rounds": "rounds",
    "revise_labels": "labels",
    "weigh_examples": "weights",
    "order_examples": "order",
    "fit_student": "loop",
    "training_batch": "batch",
    "training_targets": "targets",
    "training_loss": "loss",
}
"""By hook, what it decides."""
AGREEMENT = {
    ("better", "better"): "reproduced",
    ("better", "worse"): "opposite",
    ("same", "no evidence"): "reproduced",
}
"""By what a source claims and what the board says; all else is `not found here`."""
WHAT = ("mitigation", "what it does", "changes", "tasks", "needs", "cost", "source")
MEASURED = ("mitigation", "PGR", "vs naive", "verdict", "tuned", "its source claims", "here")


def claims() -> dict[str, dict[str, str]]:
    """Returns what sources claim, by mitigation."""
    return yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text(encoding="utf-8"))


def methods_tables(board: dict[str, Any] | None, tuned: dict[str, Any] | None) -> str:
    """Returns two tables, methods first and controls last: what each is, and how it fares on the published boards."""
    entries = [e for e in load([]).entries("mitigation") if e.distribution == "w2s_bench"]
    entries.sort(key=lambda e: (getattr(e.cls, "control", False), e.name))
    text = _table(WHAT, [_what(e) for e in entries])
    if board is None:
        return text
    rows = {row["mitigation"]: row for row in board["overall"]}
    order = sorted((e for e in entries if e.name in rows), key=lambda e: -(rows[e.name]["pgr"] or {"mean": -9})["mean"])
    return text + "\n" + _table(MEASURED, [_measured(e, rows[e.name], board, tuned) for e in order])


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _name(entry: Registration) -> str:
    return f"`{entry.name}`" + (" (control)" if getattr(entry.cls, "control", False) else "")


def _what(entry: Registration) -> list[str]:
    cls, doc = entry.cls, " ".join(inspect.getdoc(entry.cls).split())  # type: ignore[union-attr]
    changes = [
        CHANGES[i.hook] + (" (w)" if i.wrapper else "")
        for i in sorted(stacking.implementations(cls), key=lambda i: list(CHANGES).index(i.hook))
    ]
    cost = re.search(r"Cost:\s+(.+?)\.(?:\s|$)", doc)
    kinds = getattr(cls, "kinds", KINDS_WITH_CLASSES)
    tasks = {TASK_KINDS: "all", KINDS_WITH_CLASSES: "with classes"}
    return [
        _name(entry),
        doc.split(". ")[0].rstrip(".").replace("|", "\\|"),
        ", ".join(changes) or "nothing",
        tasks.get(tuple(k for k in TASK_KINDS if k in kinds), ", ".join(sorted(kinds))),
        ", ".join(sorted(getattr(cls, "needs", ()))) or "–",
        cost[1] if cost else "1",
        str(getattr(cls, "source", "–")).replace("|", "\\|"),
    ]


def _measured(
    entry: Registration, row: dict[str, Any], board: dict[str, Any], tuned: dict[str, Any] | None
) -> list[str]:
    verdict = (row["over_naive"] or {}).get("verdict") or "–"
    cells = [_name(entry), interval(row["pgr"], 2), difference_of(row) if row["over_naive"] else "–", verdict]
    claim = claims().get(entry.name, {"claim": "nothing", "of": ""})
    says = f"{claim['claim']}: {claim['of']}" if claim["of"] else "–"
    agrees = "–" if claim["claim"] == "nothing" else AGREEMENT.get((claim["claim"], verdict), "not found here")
    return [c.replace("[", "\\[").replace("]", "\\]") for c in cells] + [_tuned(entry.name, board, tuned), says, agrees]


def _tuned(name: str, board: dict[str, Any], tuned: dict[str, Any] | None) -> str:
    values = tuned_and_default(name, board, tuned) if tuned else None
    return f"{number(values[0], 2)} ({number(values[1], 2)})" if values else "–"


def tuned_and_default(name: str, board: dict[str, Any], tuned: dict[str, Any]) -> tuple[float, float] | None:
    """Returns the PGR with tuned options over the groups that were tuned, and with the defaults over the same."""
    rows = [r for r in tuned["rows"] if r["mitigation"] == f"{name}(tuned)" and r["pgr"]]
    places = [_place(r) for r in rows]
    defaults = [r for r in board["rows"] if r["mitigation"] == name and r["pgr"] and _place(r) in places]
    if not rows or len(defaults) != len(rows):
        return None
    return _recovered(rows), _recovered(defaults)


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["task"], tuple(row["supervisors"]), row["student"]


def _recovered(rows: list[dict[str, Any]]) -> float:
    gained, gap = (sum(r[top]["mean"] - r["floor"]["mean"] for r in rows) for top in ("student_accuracy", "ceiling"))
    return gained / gap
