"""The table in docs/methods.md: what each mitigation changes, needs and costs, its source and its measured row."""

from __future__ import annotations

import inspect
import re
from typing import Any

from w2s_bench.board.render.formatting import number
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
HEAD = "| mitigation | what it does | changes | tasks | needs | cost | PGR | vs naive | source |\n|" + "---|" * 9 + "\n"


def methods_table(overall: list[dict[str, Any]]) -> str:
    """Returns the table, methods first and controls last; `overall` are the rows of a published board."""
    entries = [e for e in load([]).entries("mitigation") if e.distribution == "w2s_bench"]
    entries.sort(key=lambda e: (getattr(e.cls, "control", False), e.name))
    measured = {row["mitigation"]: row for row in overall}
    return HEAD + "".join(f"| {' | '.join(_row(e, measured.get(e.name)))} |\n" for e in entries)


def _row(entry: Registration, measured: dict[str, Any] | None) -> list[str]:
    cls, doc = entry.cls, " ".join(inspect.getdoc(entry.cls).split())  # type: ignore[union-attr]
    changes = [
        CHANGES[i.hook] + (" (w)" if i.wrapper else "")
        for i in sorted(stacking.implementations(cls), key=lambda i: list(CHANGES).index(i.hook))
    ]
    cost = re.search(r"Cost:\s+(.+?)\.(?:\s|$)", doc)
    kinds = getattr(cls, "kinds", KINDS_WITH_CLASSES)
    tasks = {TASK_KINDS: "all", KINDS_WITH_CLASSES: "with classes"}
    return [
        f"`{entry.name}`" + (" (control)" if getattr(cls, "control", False) else ""),
        doc.split(". ")[0].rstrip(".").replace("|", "\\|"),
        ", ".join(changes) or "nothing",
        tasks.get(tuple(k for k in TASK_KINDS if k in kinds), ", ".join(sorted(kinds))),
        ", ".join(sorted(getattr(cls, "needs", ()))) or "–",
        cost[1] if cost else "1",
        *_measured(measured),
        str(getattr(cls, "source", "–")).replace("|", "\\|"),
    ]


def _measured(row: dict[str, Any] | None) -> tuple[str, str]:
    if row is None or not row["pgr"]:
        return "–", "–"
    interval = f"{number(row['pgr']['mean'], 2)} \\[{number(row['pgr']['low'], 2)}, {number(row['pgr']['high'], 2)}\\]"
    return interval, (row["over_naive"] or {}).get("verdict") or "–"
