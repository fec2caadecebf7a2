"""What opens from a row of the page: its cells, options, provenance, and the commands that rerun them."""

from __future__ import annotations

import json
from typing import Any

from w2s_bench.board.render.formatting import Row, number, plus_minus
from w2s_bench.store.escape import plain


class Shared:
    """Values that many rows have, each kept once; rows have their numbers."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """Returns which number the value has."""
        return self._at.setdefault(json.dumps(value, sort_keys=True), len(self._at))

    def values(self) -> list[Any]:
        """Returns all values, by number."""
        return [json.loads(text) for text in self._at]


def details_of(row: Row, cells: list[dict[str, Any]], shared: Shared) -> dict[str, Any]:
    """Returns what opens from a row; `command` is that of its cells but for the seed, where they have it in common.

    A cell is a list, in the order in which the page's script shows it.
    """
    begin = {str(c["command"]).removesuffix(str(c["seed"])) for c in cells}
    common = begin.pop() if len(begin) == 1 else ""
    common = common if common.endswith("seed=") and all(c["command"] == f"{common}{c['seed']}" for c in cells) else ""
    listed = []
    for cell in cells:
        source = {k: v for k, v in cell["provenance"].items() if k != "finished"}
        if isinstance(source.get("plugins"), list):
            source["plugins"] = [shared.number(p) for p in source["plugins"]]
        accuracy = [_rounded(a, 5) for a in cell["accuracy"] or (None, None, None)]
        seconds = _rounded((cell["cost"] or {}).get("seconds"), 2)
        values = [cell["seed"], cell["status"], *accuracy, _rounded(cell["pgr"], 4), seconds, cell["digest"]]
        listed.append([*values, shared.number(source), *([] if common else [cell["command"]])])
    options = {k: shared.number(v) for k, v in cells[0]["cell"].items() if k != "seed"} if cells else {}
    floor, ceiling = plus_minus(row["floor"]), plus_minus(row["ceiling"])
    no_gap = f". No PGR: {row['no_gap']}" if row.get("no_gap") else ""
    return {
        "about": f"floor {floor}, student {plus_minus(row['student_accuracy'])}, ceiling {ceiling}{no_gap}",
        "answers": _answers(row, cells),
        "reasons": [plain(r) for r in row["reasons"]],
        "command": common,
        "cells": listed,
        "options": options,
    }


def _answers(row: Row, cells: list[dict[str, Any]]) -> str:
    """Returns calibration errors and how often the student answers each class, means over seeds."""
    sentences = []
    ece = {who: number(q["ece"]) for who, q in (row["quality"] or {}).items() if q["ece"] is not None}
    if ece:
        sentences.append("calibration error (ECE): " + ", ".join(f"{who} {value}" for who, value in ece.items()))
    rates = [r for c in cells if isinstance(r := c["predicted_rates"], list) and all(isinstance(x, float) for x in r)]
    if rates and len({len(r) for r in rates}) == 1:
        means = [sum(each) / len(rates) for each in zip(*rates, strict=True)]
        sentences.append("the student's answers by class: " + ", ".join(map(number, means)))
    return "; ".join(sentences)


def _rounded(value: Any, digits: int) -> float | None:
    return round(value, digits) if isinstance(value, int | float) else None
