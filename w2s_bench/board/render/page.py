"""The self-contained HTML page over one or several boards: no network, no library, works from a file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from w2s_bench.board.labels import varied_words
from w2s_bench.board.render.columns import CELLS, OVERALL, Column, columns_of
from w2s_bench.board.render.details import Shared, details_of
from w2s_bench.board.render.formatting import BoardContent, Row, look_of
from w2s_bench.board.render.interval_svg import Range, draw_interval, range_of_differences
from w2s_bench.board.render.plots import draw_plot
from w2s_bench.board.render.table import by_varied, head
from w2s_bench.errors import UsageError
from w2s_bench.store.escape import plain

CAPTIONS = {
    "mitigations": "Overall PGR of each mitigation with its 95 % interval; coloured where it is separable from naive",
    "scaling": "PGR of naive by student and supervisor",
    "varied": "Accuracy as the suite varies one setting; below, accuracy where the supervisor is wrong",
    "stack": "Which mitigations stack: PGR of the pair minus its better half; a dot where the interval excludes zero",
    "imitation": "What students learnt from whom: accuracy where the supervisor is right and where it is wrong",
    "cost": "Overall PGR against training examples seen; filled points are not beaten on both",
}
"""The pictures of the page: those that need no predictions."""


def as_page(boards: Sequence[BoardContent], pictures: bool = True) -> str:
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
        overall=columns_of(OVERALL)[1:],
        cells=columns_of(CELLS)[1:],
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
    """Returns JSON that may be inside a script element, whatever its strings are."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _board(board: BoardContent, pictures: bool) -> dict[str, Any]:
    from markupsafe import Markup

    data = board.data
    name = plain(data["suite"] or "all cells")
    differences = range_of_differences(data["overall"])
    plots = []
    for kind, caption in CAPTIONS.items() if pictures else ():
        try:
            svg = draw_plot(kind, data, "svg").decode()
        except UsageError:
            continue  # a board without stacks has no picture of stacks
        plots.append((caption, Markup(_scoped(svg[svg.index("<svg") :], f"{name}-{kind}"))))
    overall = []
    for rows in by_varied(data["overall"]):
        if any(row["pgr"] for row in rows):
            best_first = sorted(rows, key=lambda row: -row["pgr"]["mean"] if row["pgr"] else 9.0)
            overall += [_row(row, OVERALL, name, differences) for row in best_first]
    return {
        "name": name,
        "varied": ", ".join(data.get("varied", ())),
        "head": head(data),
        "overall": overall,
        "plots": plots,
        "notes": board.notes,
    }


def _scoped(svg: str, name: str) -> str:
    """Returns a picture whose ids no other picture of the page has."""
    prefix = "p" + hashlib.sha256(name.encode()).hexdigest()[:8]
    for attribute in ('id="', 'xlink:href="#', "url(#"):
        svg = svg.replace(attribute, f"{attribute}{prefix}")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    return re.sub(r">\s+<", "><", svg)


def _rows(boards: Sequence[BoardContent], names: list[str]) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    """Returns the rows of all boards, what opens from each, and the values that those share."""
    rows, details = [], []
    shared = Shared()
    for board, suite in zip(boards, names, strict=True):
        differences = range_of_differences(board.data["rows"])
        for row, cells in zip(board.data["rows"], board.cells, strict=True):
            pair = plain(f"{' + '.join(row['supervisors'])} > {row['student']}")
            rows.append({**_row(row, CELLS, suite, differences), "task": plain(row["task"]), "pair": pair})
            details.append(details_of(row, cells, shared))
    return rows, details, shared.values()


def _row(row: Row, table: str, suite: str, differences: Range) -> dict[str, Any]:
    """Returns what the template shows of a row: its name and marks, and its cells apart by whether they are wide."""
    values = list((row.get("varied") or {}).values())
    name, *columns = columns_of(table)
    return {
        "suite": suite,
        "mitigation": plain(*name.values(row)),
        "track": row["track"],
        "control": row["control"],
        "imported": row.get("imported", False),
        "varied": ", ".join(varied_words(row.get("varied"))),
        "varied_text": ", ".join(f"{v:g}" for v in values),
        "varied_value": _sort_value(values[0] if values else None),
        "narrow": [_cell(c, row, differences) for c in columns if not c.wide],
        "wide": [_cell(c, row, differences) for c in columns if c.wide],
    }


def _cell(column: Column, row: Row, differences: Range) -> dict[str, Any]:
    text = column.text(row)
    return {
        "text": text,
        "value": _sort_value(column.values(row)[0]) if column.numeric else text,
        "picture": draw_interval(column.picture, row, differences) if column.picture else "",
        "look": " ".join(filter(None, [look_of(text), "optional" if column.wide else ""])),
    }


def _sort_value(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
