"""The self-contained HTML page over one or several boards: no network, no library, works from a file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from w2s_bench.board.build import Board
from w2s_bench.board.labels import dial_words
from w2s_bench.board.plots import PLOTS, draw_plot
from w2s_bench.board.ranks import single_rank
from w2s_bench.board.table import by_dial, head, interval, number, plus_minus, times
from w2s_bench.board.untrusted import plain
from w2s_bench.errors import UsageError

CAPTIONS = {
    "dial": "What becomes of students as the suite turns its dial; below, where the supervisor is wrong",
    "scaling": "PGR of naive by student and supervisor",
    "stack": "Which mitigations stack: PGR of the pair minus its better half; a dot where the interval excludes zero",
    "imitation": "What students learnt from whom: accuracy where the supervisor is right and where it is wrong",
    "cost": "Overall PGR against training examples seen; filled points are not beaten on both",
}


def as_page(boards: Sequence[Board], pictures: bool = True) -> str:
    """Returns the page over these boards, a suite each."""
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    loader = PackageLoader("w2s_bench.board", ".")
    environment = Environment(
        loader=loader, autoescape=True, finalize=lambda v: v if isinstance(v, Markup) else plain(v)
    )
    environment.filters["breakable"] = _breakable
    script = _asset("page.js")
    shown = [_board(b, pictures) for b in boards]
    rows, details, provenance = _rows(boards, [s["name"] for s in shown])
    choices = [
        ("suite", "suite", [s["name"] for s in shown]),
        ("task", "task", sorted({r["task"] for r in rows})),
        ("pair", "supervisors > student", sorted({r["pair"] for r in rows})),
        ("track", "track", sorted({r["track"] for r in rows})),
    ]
    varied = {setting: values for b in boards for setting, values in b.data.get("dial", {}).items()}
    dial = ", ".join(varied)
    if dial:
        choices.insert(3, ("dial", dial, list(dict.fromkeys(r["dial"] for r in rows if r["dial"]))))
    return environment.get_template("page.html.jinja").render(
        boards=shown,
        rows=rows,
        choices=choices,
        dial=dial,
        css=Markup(_asset("page.css")),
        js=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=Markup(_script_json({"rows": details, "provenance": provenance})),
    )


def _asset(name: str) -> str:
    return (resources.files("w2s_bench.board") / name).read_text(encoding="utf-8")


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
    for kind in PLOTS if pictures else ():
        try:
            svg = draw_plot(kind, data, "svg").decode()
        except UsageError:
            continue  # a board without stacks has no picture of stacks
        plots.append((CAPTIONS[kind], Markup(_scoped(svg[svg.index("<svg") :], f"{name}-{kind}"))))
    overall = []
    for own in by_dial(data["overall"]):
        if any(e["pgr"] for e in own):
            best_first = sorted(own, key=lambda e: -e["pgr"]["mean"] if e["pgr"] else 9.0)
            overall += [_overall(e, limits) for e in best_first]
    return {
        "name": name,
        "dial": ", ".join(data.get("dial", ())),
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
    return svg


def _overall(entry: dict[str, Any], limits: tuple[float, float]) -> dict[str, Any]:
    over, cost = entry["over_naive"], entry["cost"] or {}
    word = "incomplete" if not entry["complete"] else over["verdict"] if over else ""
    return {
        "mitigation": plain(entry["mitigation"]),
        "track": entry["track"],
        "control": entry["control"],
        "imported": False,
        **_dial(entry),
        "pgr": _measured(entry["pgr"], (-0.25, 1.1), interval(entry["pgr"], 2), marks=(0.0, 1.0)),
        "over": _measured(over, limits, interval(over, 2, True) if over else "", (0.0,), word),
        "verdict": word,
        "verdict_class": _class(word),
        "cells": entry["cells"],
        "failed": entry["failed"],
        "seconds": times(cost, "seconds"),
        "seconds_value": _value(cost.get("seconds_over_naive")),
        **_cost_and_ranks(entry),
    }


def _dial(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the value of the protocol setting that the suite varies, as text and to sort by."""
    values = list((row.get("dial") or {}).values())
    return {"dial": ", ".join(f"{v:g}" for v in values), "dial_value": _value(values[0] if values else None)}


def _cost_and_ranks(entry: dict[str, Any]) -> dict[str, Any]:
    cost = entry["cost"] or {}
    return {
        "ranks": single_rank(entry["ranks"]) if entry["ranks"] else "",
        "rank_value": sum(entry["ranks"]) / 2 if entry["ranks"] else "",
        "cost": times(cost),
        "cost_value": _value(cost.get("examples_over_naive")),
    }


def _rows(boards: Sequence[Board], names: list[str]) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    """Returns the rows of all boards, what opens from each, and the provenances that those refer to."""
    rows, details = [], []
    provenance: dict[str, int] = {}
    for board, suite in zip(boards, names, strict=True):
        limits = _limits(board.data["rows"])
        for row, cells in zip(board.data["rows"], board.cells, strict=True):
            rows.append(_row(row, suite, limits))
            details.append(_details(row, cells, rows[-1], provenance))
    return rows, details, [json.loads(text) for text in provenance]


def _row(row: dict[str, Any], suite: str, limits: tuple[float, float]) -> dict[str, Any]:
    over, told = row["over_naive"], row["imitation"] or {}
    ece = ((row["quality"] or {}).get("student") or {}).get("ece")
    word = "incomplete" if row["status"] == "incomplete" else over["verdict"] if over else ""
    if row["failed"]:
        word = f"{row['failed']} failed"
    unresolved = row["status"] == "gap_unresolved"
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
        **_dial(row),
        "search": " ".join([mitigation, task, pair, suite, *dial_words(row.get("dial"))]).lower(),
        "accuracy": _accuracy(row),
        "pgr": _measured(
            row["pgr"], (-0.25, 1.1), "gap unresolved" if unresolved else interval(row["pgr"], 2), (0.0, 1.0)
        ),
        "over": _measured(over, limits, plus_minus(over, 3, True) if over else "", (0.0,), word),
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


def _details(
    row: dict[str, Any], cells: list[dict[str, Any]], shown: dict[str, Any], provenance: dict[str, int]
) -> dict[str, Any]:
    listed = []
    for cell in cells:
        source = {k: v for k, v in cell["provenance"].items() if k != "finished"}
        at = provenance.setdefault(json.dumps(source, sort_keys=True), len(provenance))
        told = {k: cell[k] for k in ("seed", "status", "accuracy", "pgr", "digest", "command")}
        listed.append(told | {"provenance": at, "seconds": (cell["cost"] or {}).get("seconds")})
    options = {k: v for k, v in cells[0]["cell"].items() if k != "seed"} if cells else {}
    floor, ceiling = plus_minus(row["floor"]), plus_minus(row["ceiling"])
    return {
        "title": ", ".join([f"{shown['mitigation']}: {shown['task']}", shown["pair"], *dial_words(row.get("dial"))]),
        "about": f"floor {floor}, student {plus_minus(row['student_accuracy'])}, ceiling {ceiling}",
        "reasons": [plain(r) for r in row["reasons"]],
        "cells": listed,
        "options": options,
    }


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


def _measured(
    value: dict[str, Any] | None, limits: tuple[float, float], text: str, marks: Sequence[float] = (), word: str = ""
) -> dict[str, Any]:
    """Returns a table cell: its number to sort by, its text, and its interval as a picture."""
    return {
        "value": _value(value["mean"]) if value else "",
        "text": text,
        "picture": _picture(value, limits, marks, text, {"better": "good", "worse": "bad"}.get(word, "")),
    }


def _accuracy(row: dict[str, Any]) -> dict[str, Any]:
    value, floor, ceiling = row["student_accuracy"], row["floor"], row["ceiling"]
    text = plus_minus(value)
    if not value:
        return {"value": "", "text": text, "picture": ""}
    low, high = sorted((floor["mean"], ceiling["mean"]))
    room = max(0.02, 0.35 * (high - low))
    band = (floor["mean"], ceiling["mean"])
    picture = _picture(
        value, (low - room, high + room), (), f"{text}, floor {number(low)}, ceiling {number(high)}", band=band
    )
    return {"value": _value(value["mean"]), "text": text, "picture": picture}


def _picture(
    value: dict[str, Any] | None,
    limits: tuple[float, float],
    marks: Sequence[float],
    text: str,
    kind: str = "",
    band: tuple[float, float] | None = None,
) -> Any:
    """Returns an SVG of an interval; ends beyond the limits are cut there."""
    from markupsafe import Markup

    if not value:
        return ""
    low, high = limits

    def at(x: float) -> str:
        return f"{4 + (WIDTH - 8) * (min(max(x, low), high) - low) / (high - low):.1f}"

    parts = [f'<line class="rail" x1="4" x2="{WIDTH - 4}" y1="8" y2="8"/>'] if band is None else []
    if band is not None:
        parts.append(f'<line class="gap" x1="{at(band[0])}" x2="{at(band[1])}" y1="8" y2="8"/>')
    parts += [f'<line class="zero" x1="{at(m)}" x2="{at(m)}" y1="1" y2="15"/>' for m in marks]
    bar = ""
    if value["low"] is not None and value["high"] is not None:
        bar = f'<line class="bar" x1="{at(value["low"])}" x2="{at(value["high"])}" y1="8" y2="8"/>'
    parts.append(f'<g class="{kind}">{bar}<circle class="dot" cx="{at(value["mean"])}" cy="8" r="3.6"/></g>')
    label = Markup.escape(text)
    return Markup(f'<svg class="iv" viewBox="0 0 {WIDTH} 16" role="img" aria-label="{label}">{"".join(parts)}</svg>')
