"""Sections of the board as text cells, for the faces that print tables (terminal, Markdown, LaTeX)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from w2s_bench.board.labels import varied_words
from w2s_bench.board.ranks import single_rank
from w2s_bench.board.rows import group_of


@dataclass(frozen=True)
class Column:
    """One column; `wide` ones are left out where there is little room."""

    title: str
    numeric: bool = True
    wide: bool = False


@dataclass
class Section:
    """A table with the sentence above it."""

    title: str
    about: list[str]
    columns: list[Column]
    rows: list[list[str]] = field(default_factory=list)


OVERALL = [
    Column("mitigation", False),
    Column("PGR"),
    Column("over naive"),
    Column("p adj.", wide=True),
    Column("verdict", False),
    Column("ranks"),
    Column("cells"),
    Column("failed", wide=True),
    Column("cost"),
]
CELLS = [
    Column("mitigation", False),
    Column("accuracy"),
    Column("PGR"),
    Column("over naive"),
    Column("p adj.", wide=True),
    Column("verdict", False),
    Column("ranks"),
    Column("keeps", wide=True),
    Column("corrects", wide=True),
    Column("ECE", wide=True),
    Column("seconds", wide=True),
    Column("cost"),
]


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Returns `.713`, `1.020` or `+.042`; an en dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def interval(value: dict[str, Any] | None, digits: int = 3, sign: bool = False) -> str:
    """Returns `.713 [.690, .736]`."""
    if not value:
        return "–"
    middle = number(value["mean"], digits, sign)
    if value.get("low") is None or value.get("high") is None:
        return f"{middle} [?]"
    return f"{middle} [{number(value['low'], digits, sign)}, {number(value['high'], digits, sign)}]"


def plus_minus(value: dict[str, Any] | None, digits: int = 3, sign: bool = False) -> str:
    """Returns `.713 ±.023` for an interval that is symmetric."""
    if not value:
        return "–"
    half = "?" if value.get("low") is None else number((value["high"] - value["low"]) / 2, digits)
    return f"{number(value['mean'], digits, sign)} ±{half}"


def probability(value: float | None) -> str:
    """Returns `.031`, or `<.001`."""
    return "" if value is None else "<.001" if value < 0.0005 else number(value)


def head(data: dict[str, Any]) -> list[str]:
    """Returns the sentences above all tables: what this is, what is missing, what went wrong."""
    counts = data["records"]
    named = [f"suite {data['suite']}"] if data["suite"] else []
    named += [f"protocol {str(data['protocol'])[:12]}"] if data["protocol"] else []
    for setting, values in (data.get("varied") or {}).items():
        named += [f"{setting} varied ({', '.join(f'{v:g}' for v in values)})"]
    named += [f"as of {data['as_of']}"] if data["as_of"] else []
    shown = [f"{counts[k]} {k}" for k in ("ok", "failed", "skipped", "missing") if counts[k] or k == "ok"]
    if counts["timeout"]:
        shown.append(f"of the failed {counts['timeout']} by time limit")
    lines = [", ".join(named)] if named else []
    lines.append(f"records: {', '.join(shown)}")
    bare = [", ".join(varied_words(own[0].get("varied"))) for own in by_varied(data["overall"]) if not _any_pgr(own)]
    if data.get("varied") and bare:
        lines.append(f"no overall table at {', '.join(bare)}: no group has a resolved gap there")
    controls = data["controls"]
    for line in controls["misbehaving"]:
        lines.append(f"CONTROL MISBEHAVES: {line}. Do not trust this board before that is explained.")
    if controls["checked"] and not controls["misbehaving"]:
        lines.append(f"controls: {controls['checked']} checked, all behave")
    return lines


FOOT = [
    "Brackets and ± are 95 % intervals over seeds and test examples. PGR is withheld where "
    "the ceiling does not clearly exceed the floor.",
    "Verdicts are adjusted for all comparisons of their table family (Holm); ranks are sets that jointly "
    "hold the true ranks.",
]


def sections(data: dict[str, Any]) -> list[Section]:
    """Returns the overall table, then one table for each (task, supervisors, student)."""
    out = []
    for own in by_varied(data["overall"]):
        if _any_pgr(own):
            resolved = max(e["groups"] for e in own)
            about = (
                f"PGR as a ratio of sums over the {resolved} groups (task, supervisors, student) with a resolved gap"
            )
            title = ", ".join(["Overall", *varied_words(own[0].get("varied"))])
            out.append(Section(title, [about], OVERALL, [_overall(e) for e in own]))
    for own in _together(data["rows"], group_of):
        row = own[0]
        pair = f"{row['task']}: {' + '.join(row['supervisors'])} > {row['student']}"
        title = ", ".join([pair, *varied_words(row.get("varied"))])
        out.append(Section(title, _about(own), CELLS, [_cells(r) for r in own]))
    return out


def _any_pgr(rows: list[dict[str, Any]]) -> bool:
    return any(r["pgr"] for r in rows)


def by_varied(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Returns rows by the value of what the suite varies: these are never pooled; one list where nothing varies."""
    return _together(rows, lambda r: tuple((r.get("varied") or {}).items()))


def _together(rows: list[dict[str, Any]], key: Callable[[dict[str, Any]], Any]) -> list[list[dict[str, Any]]]:
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _about(rows: list[dict[str, Any]]) -> list[str]:
    best = max(rows, key=lambda r: len(r["seeds"]))
    if not best["floor"]:
        return ["no finished cell"]
    about = f"floor {plus_minus(best['floor'])}, ceiling {plus_minus(best['ceiling'])}, {len(best['seeds'])} seeds"
    if best["n_test"]:
        about += f", {best['n_test']:.0f} test examples"
    lines = [about]
    if best.get("no_gap"):
        lines.append(f"no PGR: {best['no_gap']}")
    elif all(r["status"] != "ok" for r in rows) and any(r["status"] == "gap_unresolved" for r in rows):
        lines.append("gap unresolved: the ceiling does not clearly exceed the floor, so there is no PGR")
    if any(r["imported"] for r in rows):
        lines.append("imported accuracies: intervals over seeds alone")
    return lines


def name_of(entry: dict[str, Any]) -> str:
    """Returns a row's name with its marks."""
    marks = ["control"] * entry["control"] + ["ground truth"] * (entry["track"] == "uses-ground-truth")
    return entry["mitigation"] + (f" ({', '.join(marks)})" if marks else "")


def _overall(e: dict[str, Any]) -> list[str]:
    over = e["over_naive"]
    word = "" if over is None else over["verdict"]
    return [
        name_of(e),
        interval(e["pgr"], 2),
        interval(over, 2, True),
        probability(over["p_adjusted"]) if over else "",
        word if e["complete"] else "incomplete",
        single_rank(e["ranks"]) if e["ranks"] else "",
        str(e["cells"]),
        str(e["failed"]),
        times(e["cost"]),
    ]


def _cells(r: dict[str, Any]) -> list[str]:
    over, imitation, quality = r["over_naive"], r["imitation"] or {}, r["quality"] or {}
    word = "incomplete" if r["status"] == "incomplete" else over["verdict"] if over else ""
    if r["failed"]:
        word = f"{r['failed']} failed"
    return [
        name_of(r),
        plus_minus(r["student_accuracy"]),
        interval(r["pgr"], 2)
        if r["pgr"]
        else "no gap"
        if r.get("no_gap")
        else "unresolved"
        if r["status"] == "gap_unresolved"
        else "–",
        plus_minus(over, 3, True) if over else "",
        probability(over["p_adjusted"]) if over else "",
        word,
        single_rank(r["ranks"]) if r["ranks"] else "",
        number(imitation.get("keeps")),
        number(imitation.get("corrects")),
        number((quality.get("student") or {}).get("ece")),
        number(r["cost"]["seconds"], 1) if r["cost"] else "–",
        times(r["cost"]) + ("*" if r.get("pareto") else ""),
    ]


def times(cost: dict[str, Any] | None, what: str = "examples") -> str:
    """Returns cost relative to naive, such as `2x`."""
    ratio = cost and cost.get(f"{what}_over_naive")
    return f"{ratio:.2g}x" if ratio else "–"
