"""A board as sections of text cells, for the formats that print tables (terminal, Markdown, LaTeX, notebook)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from w2s_bench.board.labels import varied_words
from w2s_bench.board.render.columns import CELLS, OVERALL, Column, columns_of
from w2s_bench.board.render.formatting import Row, number, plus_minus
from w2s_bench.board.rows import group_of


@dataclass
class Section:
    """A table with the sentence above it."""

    title: str
    about: list[str]
    columns: list[Column]
    rows: list[list[str]] = field(default_factory=list)


def head(data: dict[str, Any]) -> list[str]:
    """Returns the sentences above all tables: what this is, what is missing, what went wrong."""
    counts = data["records"]
    named = [f"suite {data['suite']}"] if data["suite"] else []
    named += [f"protocol {str(data['protocol'])[:12]}"] if data["protocol"] else []
    named += [f"drawn with secret {data['secret']}"] if "secret" in data else []
    for setting, values in (data.get("varied") or {}).items():
        named += [f"{setting} varied ({', '.join(f'{v:g}' for v in values)})"]
    named += [f"as of {data['as_of']}"] if data["as_of"] else []
    shown = [f"{counts[k]} {k}" for k in ("ok", "failed", "skipped", "missing") if counts[k] or k == "ok"]
    if counts["timeout"]:
        shown.append(f"of the failed {counts['timeout']} by time limit")
    lines = [", ".join(named)] if named else []
    lines.append(f"records: {', '.join(shown)}")
    bare = [", ".join(varied_words(r[0].get("varied"))) for r in by_varied(data["overall"]) if not _any_pgr(r)]
    if data.get("varied") and bare:
        lines.append(f"no overall table at {', '.join(bare)}: no group has a resolved gap there")
    controls = data["controls"]
    for line in controls["misbehaving"]:
        lines.append(f"CONTROL MISBEHAVES: {line}. Do not trust this board before that is explained.")
    if controls["checked"] and not controls["misbehaving"]:
        lines.append(f"controls: {controls['checked']} checked, all as expected")
    return lines


FOOT = [
    "Brackets and ± are 95 % intervals over seeds and test examples. PGR is withheld where "
    "the ceiling does not clearly exceed the floor.",
    "Verdicts are adjusted for all comparisons of their table family (Holm); ranks are sets that jointly "
    "contain the true ranks.",
]


def sections(data: dict[str, Any]) -> list[Section]:
    """Returns the overall table, then one table for each (task, supervisors, student)."""
    out = []
    for rows in by_varied(data["overall"]):
        if _any_pgr(rows):
            resolved = max(row["groups"] for row in rows)
            about = (
                f"PGR as a ratio of sums over the {resolved} groups (task, supervisors, student) with a resolved gap"
            )
            title = ", ".join(["Overall", *varied_words(rows[0].get("varied"))])
            out.append(_section(title, [about], OVERALL, rows))
    for rows in _together(data["rows"], group_of):
        row = rows[0]
        pair = f"{row['task']}: {' + '.join(row['supervisors'])} > {row['student']}"
        title = ", ".join([pair, *varied_words(row.get("varied"))])
        out.append(_section(title, _about(rows), CELLS, rows))
    return out


def _section(title: str, about: list[str], table: str, rows: list[Row]) -> Section:
    columns = columns_of(table)
    return Section(title, about, columns, [[column.text(row) for column in columns] for row in rows])


def _any_pgr(rows: list[Row]) -> bool:
    return any(r["pgr"] for r in rows)


def by_varied(rows: list[Row]) -> list[list[Row]]:
    """Returns rows by the value of what the suite varies: these are never pooled; one list where nothing varies."""
    return _together(rows, lambda r: tuple((r.get("varied") or {}).items()))


def _together(rows: list[Row], key: Callable[[Row], Any]) -> list[list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _about(rows: list[Row]) -> list[str]:
    best = max(rows, key=lambda r: len(r["seeds"]))
    if not best["floor"]:
        return ["no finished cell"]
    about = f"floor {plus_minus(best['floor'])}, ceiling {plus_minus(best['ceiling'])}, {len(best['seeds'])} seeds"
    if best["n_test"]:
        about += f", {best['n_test']:.0f} test examples"
    lines = [about]
    apart = best["disagreement"]
    if apart and apart["effective"] is not None:
        lines.append(
            f"the {len(best['supervisors'])} supervisors err as {apart['effective']:.1f} independent ones would: "
            f"kappa {number(apart['kappa'])}, two of them wrong together in {number(apart['double_fault'])}"
        )
    if best.get("no_gap"):
        lines.append(f"no PGR: {best['no_gap']}")
    elif all(r["status"] != "ok" for r in rows) and any(r["status"] == "gap_unresolved" for r in rows):
        lines.append("gap unresolved: the ceiling does not clearly exceed the floor, so there is no PGR")
    if any(r["imported"] for r in rows):
        lines.append("imported accuracies: intervals over seeds alone")
    return lines
