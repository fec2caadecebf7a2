"""The self-contained HTML page over one or several boards: no network, no library, works from a file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from w2s_bench.board.labels import varied_words
from w2s_bench.board.ranks import single_rank
from w2s_bench.board.render.plots import draw_plot
from w2s_bench.board.render.table import by_varied, head, interval, number, plus_minus, times
from w2s_bench.errors import UsageError
from w2s_bench.store.escape import plain

if TYPE_CHECKING:
    from w2s_bench.board.build import Board

CAPTIONS = {
    "scaling": "PGR of naive by student and supervisor",
    "varied": "Accuracy as the suite varies one setting; below, accuracy where the supervisor is wrong",
    "stack": "Which mitigations stack: PGR of the pair minus its better half; a dot where the interval excludes zero",
    "imitation": "What students learnt from whom: accuracy where the supervisor is right and where it is wrong",
    "cost": "Overall PGR against training examples seen; filled points are not beaten on both",
}
"""The pictures of the page: those that need no predictions."""


def as_page(boards: Sequence[Board], pictures: bool = True) -> str:
    """Returns the page over these boards, a suite each."""
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    loader = PackageLoader("w2s_bench.board.render", ".")
    environment = Environment(
        loader=loader, autoescape=True, finalize=lambda v: v if isinstance(v, Markup) else plain(v)
    )
    environment.filters["breakable"] = _breakable
    script = _asset("page.js")
    shown = [_board(b, pictures) for b in boards]
    rows, details, shared = _rows(boards, [s["name"] for s in shown])
    choices = [
        ("suite", "suite", [s["name"] for s in shown]),
        ("task", "task", sorted({r["task"] for r in rows})),
        ("pair", "supervisors > student", sorted({r["pair"] for r in rows})),
        ("track", "track", sorted({r["track"] for r in rows})),
    ]
    varied = list(dict.fromkeys(r["varied"] for r in rows if r["varied"]))
    if varied:
        choices.insert(3, ("varied", "varied", varied))
    return environment.get_template("page.html.jinja").render(
        boards=shown,
        rows=rows,
        choices=choices,
        varied=bool(varied),
        css=Markup(_asset("page.css")),
        js=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=Markup(_script_json({"rows": details, "shared": shared})),
    )


def _asset(name: str) -> str:
    return (resources.files("w2s_bench.board.render") / name).read_text(encoding="utf-8")


def _breakable(name: str) -> Any:
    """Returns a name that may be broken after `_`, `+` and `,`."""
    from markupsafe import Markup, escape

    text = escape(plain(name))
    for mark in "_+,":
        text = Markup(str(text).replace(mark, f"{mark}<wbr>"))
    return text


def _script_json(value: Any) -> str:
    """Returns JSON that can stand inside a script element, whatever its strings hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _board(board: Board, pictures: bool) -> dict[str, Any]:
    from markupsafe import Markup

    data = board.data
    name = plain(data["suite"] or "all cells")
    limits = _limits(data["overall"])
    plots = []
    for kind, caption in CAPTIONS.items() if pictures else ():
        try:
            svg = draw_plot(kind, data, "svg").decode()
        except UsageError:
            continue  # a board without stacks has no picture of stacks
        plots.append((caption, Markup(_scoped(svg[svg.index("<svg") :], f"{name}-{kind}"))))
    overall = []
    for own in by_varied(data["overall"]):
        if any(e["pgr"] for e in own):
            best_first = sorted(own, key=lambda e: -e["pgr"]["mean"] if e["pgr"] else 9.0)
            overall += [_overall(e, limits) for e in best_first]
    return {
        "name": name,
        "varied": ", ".join(data.get("varied", ())),
        "head": head(data),
        "overall": overall,
        "plots": plots,
        "notes": board.notes,
    }


def _scoped(svg: str, name: str) -> str:
    """Returns a picture whose ids are its own: several stand in one page."""
    prefix = "p" + hashlib.sha256(name.encode()).hexdigest()[:8]
    for attribute in ('id="', 'xlink:href="#', "url(#"):
        svg = svg.replace(attribute, f"{attribute}{prefix}")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    return re.sub(r">\s+<", "><", svg)


def _overall(entry: dict[str, Any], limits: tuple[float, float]) -> dict[str, Any]:
    over, cost = entry["over_naive"], entry["cost"] or {}
    word = "incomplete" if not entry["complete"] else over["verdict"] if over else ""
    return {
        "mitigation": plain(entry["mitigation"]),
        "track": entry["track"],
        "control": entry["control"],
        "imported": False,
        **_varied(entry),
        "pgr": _measured(entry["pgr"], PGR_RANGE, interval(entry["pgr"], 2), "pgr"),
        "over": _measured(over, limits, interval(over, 2, True) if over else "", "over", word),
        "verdict": word,
        "verdict_class": _class(word),
        "cells": entry["cells"],
        "failed": entry["failed"],
        "seconds": times(cost, "seconds"),
        "seconds_value": _value(cost.get("seconds_over_naive")),
        **_cost_and_ranks(entry),
    }


def _varied(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the value of the protocol setting that the suite varies, as text and to sort by."""
    values = list((row.get("varied") or {}).values())
    return {
        "varied": ", ".join(varied_words(row.get("varied"))),
        "varied_text": ", ".join(f"{v:g}" for v in values),
        "varied_value": _value(values[0] if values else None),
    }


def _cost_and_ranks(entry: dict[str, Any]) -> dict[str, Any]:
    cost = entry["cost"] or {}
    return {
        "ranks": single_rank(entry["ranks"]) if entry["ranks"] else "",
        "rank_value": sum(entry["ranks"]) / 2 if entry["ranks"] else "",
        "cost": times(cost),
        "cost_value": _value(cost.get("examples_over_naive")),
    }


def _rows(boards: Sequence[Board], names: list[str]) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    """Returns the rows of all boards, what opens from each, and the values that those share."""
    rows, details = [], []
    shared = _Shared()
    for board, suite in zip(boards, names, strict=True):
        limits = _limits(board.data["rows"])
        for row, cells in zip(board.data["rows"], board.cells, strict=True):
            rows.append(_row(row, suite, limits))
            details.append(_details(row, cells, shared))
    return rows, details, shared.values()


def _row(row: dict[str, Any], suite: str, limits: tuple[float, float]) -> dict[str, Any]:
    over, told = row["over_naive"], row["imitation"] or {}
    ece = ((row["quality"] or {}).get("student") or {}).get("ece")
    word = "incomplete" if row["status"] == "incomplete" else over["verdict"] if over else ""
    if row["failed"]:
        word = f"{row['failed']} failed"
    unresolved = "no gap" if row.get("no_gap") else "gap unresolved" if row["status"] == "gap_unresolved" else ""
    pair = plain(f"{' + '.join(row['supervisors'])} > {row['student']}")
    task, mitigation = plain(row["task"]), plain(row["mitigation"])
    return {
        "suite": suite,
        "task": task,
        "pair": pair,
        "mitigation": mitigation,
        "track": row["track"],
        "control": row["control"],
        "imported": row["imported"],
        "pareto": row.get("pareto"),
        **_varied(row),
        "accuracy": _accuracy(row),
        "pgr": _measured(row["pgr"], PGR_RANGE, unresolved or interval(row["pgr"], 2), "pgr"),
        "over": _measured(over, limits, plus_minus(over, 3, True) if over else "", "over", word),
        "verdict": word,
        "verdict_class": _class(word),
        "corrects": number(told.get("corrects")),
        "corrects_value": _value(told.get("corrects")),
        "keeps": number(told.get("keeps")),
        "keeps_value": _value(told.get("keeps")),
        "ece": number(ece),
        "ece_value": _value(ece),
        **_cost_and_ranks(row),
    }


class _Shared:
    """Values that many rows hold, each kept once; rows hold their numbers."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """Returns where the value stands."""
        return self._at.setdefault(json.dumps(value, sort_keys=True), len(self._at))

    def values(self) -> list[Any]:
        """Returns all values, by number."""
        return [json.loads(text) for text in self._at]


def _details(row: dict[str, Any], cells: list[dict[str, Any]], shared: _Shared) -> dict[str, Any]:
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
        told = [cell["seed"], cell["status"], *accuracy, _rounded(cell["pgr"], 4), seconds, cell["digest"]]
        listed.append([*told, shared.number(source), *([] if common else [cell["command"]])])
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


def _answers(row: dict[str, Any], cells: list[dict[str, Any]]) -> str:
    """Returns calibration errors and how often the student answers each class, means over seeds."""
    told = []
    ece = {who: number(q["ece"]) for who, q in (row["quality"] or {}).items() if q["ece"] is not None}
    if ece:
        told.append("calibration error (ECE): " + ", ".join(f"{who} {value}" for who, value in ece.items()))
    rates = [r for c in cells if isinstance(r := c["predicted_rates"], list) and all(isinstance(x, float) for x in r)]
    if rates and len({len(r) for r in rates}) == 1:
        means = [sum(each) / len(rates) for each in zip(*rates, strict=True)]
        told.append("the student's answers by class: " + ", ".join(map(number, means)))
    return "; ".join(told)


def _rounded(value: Any, digits: int) -> float | None:
    return round(value, digits) if isinstance(value, int | float) else None


def _class(word: str) -> str:
    return {"better": "better", "worse": "worse", "no evidence": "", "": ""}.get(word, "warn")


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def _limits(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Returns a symmetric range that holds nine tenths of the differences from naive, controls aside."""
    values = [r["over_naive"] for r in rows if r["over_naive"] and not r["control"]]
    ends = sorted(max(abs(v["low"]), abs(v["high"])) for v in values if v["low"] is not None)
    reach = max(0.02, ends[int(0.9 * (len(ends) - 1))] if ends else 0.1)
    return -reach, reach


WIDTH = 150
"""Of a picture; the style sheet draws its rail, and its marks at PGR 0 and 1."""
PGR_RANGE = (-0.25, 1.1)


def _measured(
    value: dict[str, Any] | None, limits: tuple[float, float], text: str, kind: str, word: str = ""
) -> dict[str, Any]:
    """Returns a table cell: its number to sort by, its text, and its interval as a picture (`kind`: pgr or over)."""
    look = f"{kind} {({'better': 'good', 'worse': 'bad'}).get(word, '')}".strip()
    return {
        "value": _value(value["mean"]) if value else "",
        "text": text,
        "picture": _picture(value, limits, look) if value else "",
    }


def _accuracy(row: dict[str, Any]) -> dict[str, Any]:
    value, floor, ceiling = row["student_accuracy"], row["floor"], row["ceiling"]
    text = plus_minus(value)
    if not value:
        return {"value": "", "text": text, "picture": ""}
    low, high = sorted((floor["mean"], ceiling["mean"]))
    room = max(0.02, 0.35 * (high - low))
    gap = None if row.get("no_gap") else (low, high)
    picture = _picture(value, (low - room, high + room), "acc", gap)
    return {"value": _value(value["mean"]), "text": text, "picture": picture}


def _picture(
    value: dict[str, Any], limits: tuple[float, float], look: str, band: tuple[float, float] | None = None
) -> Any:
    """Returns an SVG of an interval; ends beyond the limits are cut there. The style sheet draws rail and marks."""
    from markupsafe import Markup

    low, high = limits

    def at(x: float) -> str:
        return f"{4 + (WIDTH - 8) * (min(max(x, low), high) - low) / (high - low):.1f}"

    parts = [f'<path class="gap" d="M{at(band[0])} 8H{at(band[1])}"/>'] if band else []
    if value["low"] is not None and value["high"] is not None:
        parts.append(f'<path d="M{at(value["low"])} 8H{at(value["high"])}"/>')
    parts.append(f'<circle cx="{at(value["mean"])}" cy="8" r="3.6"/>')
    return Markup(f'<svg class="iv {look}" viewBox="0 0 {WIDTH} 16" aria-hidden="true">{"".join(parts)}</svg>')
