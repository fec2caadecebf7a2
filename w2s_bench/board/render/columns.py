"""The columns of a board. A new one is one entry here: tables, CSV, page and glossary are made from this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from w2s_bench.board.ranks import single_rank
from w2s_bench.board.render import formatting as show
from w2s_bench.board.render.formatting import Row, number, plus_minus, probability, times

OVERALL, CELLS = "overall", "cell"
"""The two kinds of rows: over all groups, and of one group (its task, supervisors and student)."""
BOTH = (OVERALL, CELLS)
ENDS = ("mean", "low", "high")


@dataclass(frozen=True)
class Column:
    """One column of a board."""

    title: str
    meaning: str
    """For the glossary, in Markdown."""
    names: tuple[str, ...]
    """What it is called in CSV; several where it has several values."""
    values: Callable[[Row], tuple[Any, ...]]
    """Returns its values, one for each of `names`; the page sorts by the first."""
    text: Callable[[Row], str] = lambda row: ""
    """Returns what people see."""
    tables: tuple[str, ...] = ()
    """The kinds of rows whose tables have it; CSV has every column."""
    numeric: bool = True
    wide: bool = False
    """Left out where there is little room: in LaTeX, on a narrow terminal, on a phone."""
    ascending: bool = False
    """The page sorts it with the smallest value first."""
    picture: str = ""
    """The page draws its interval: `pgr`, `difference` or `accuracy`."""


def _one(key: str, *inside: str) -> Callable[[Row], tuple[Any, ...]]:
    """Returns a function that takes one value out of a row, which may be some way inside."""

    def take(row: Row) -> tuple[Any, ...]:
        value: Any = row.get(key)
        for name in inside:
            value = (value or {}).get(name)
        return (value,)

    return take


def _ends(key: str) -> Callable[[Row], tuple[Any, ...]]:
    return lambda row: tuple((row.get(key) or {}).get(end) for end in ENDS)


def _names(key: str) -> tuple[str, ...]:
    return tuple(f"{key}_{end}" for end in ENDS)


def _status(row: Row) -> tuple[Any, ...]:
    if not show.is_overall(row):
        return (row.get("status"),)
    return ("ok" if row["complete"] else "incomplete" if row["groups"] else "gap_unresolved",)


def _joined(key: str) -> Callable[[Row], tuple[Any, ...]]:
    return lambda row: (" ".join(map(str, row.get(key) or ())),)


COLUMNS: tuple[Column, ...] = (
    Column(
        "mitigation", "the stack, with its marks: control, ground truth",
        ("mitigation",), _one("mitigation"), show.name_of, BOTH, numeric=False, ascending=True,
    ),
    Column("task", "the labelled data, split once a seed; empty in an overall row", ("task",), _one("task")),
    Column(
        "supervisors", "the weak models, the reference first; floor and naive rest on that one alone",
        ("supervisors",), _joined("supervisors"),
    ),
    Column("student", "the strong model that is trained on their labels", ("student",), _one("student")),
    Column(
        "track", "`weak-labels-only`, or `uses-ground-truth` for rows that are given some truth",
        ("track",), _one("track"),
    ),
    Column(
        "control", "`yes` for a row that must come out as expected and is no method",
        ("control",), lambda row: ("yes" if row["control"] else "no",),
    ),
    Column(
        "status", "`ok`; `incomplete` where a seed is missing; `gap_unresolved` where there is no PGR",
        ("status",), _status,
    ),
    Column("seeds", "those that have a result", ("seeds",), _joined("seeds")),
    Column(
        "accuracy", "the student's test accuracy *s*, mean over seeds, with the half-width of its 95 % interval",
        _names("student_accuracy"), _ends("student_accuracy"), lambda row: plus_minus(row["student_accuracy"]),
        (CELLS,), picture="accuracy",
    ),
    Column("floor", "*f*, the reference supervisor's accuracy", _names("floor"), _ends("floor")),
    Column(
        "ceiling", "*c*, the accuracy of the same student trained on the transfer split's ground truth",
        _names("ceiling"), _ends("ceiling"),
    ),
    Column(
        "PGR",
        "performance gap recovered, (*s* − *f*) / (*c* − *f*), with its interval (Fieller) from the joint uncertainty "
        "of all three. In an overall row a ratio of sums over the groups with a resolved gap, "
        "Σ(*s* − *f*) / Σ(*c* − *f*), not a mean of ratios; "
        "`unresolved` or `no gap` where the ceiling does not clearly exceed the floor",
        _names("pgr"), _ends("pgr"), show.pgr_of, BOTH, picture="pgr",
    ),
    Column(
        "vs naive",
        "the difference from naive on the same seeds and weak labels, with its interval: of accuracy in a group's "
        "table, of PGR in the overall table",
        (*_names("over_naive"), "over_naive_unit"),
        lambda row: (*_ends("over_naive")(row), *_one("over_naive", "unit")(row)),
        show.difference_of, BOTH, picture="difference",
    ),
    Column(
        "p adj.",
        "the p-value of that difference, adjusted for all comparisons of its table family (Holm); "
        "CSV has it unadjusted too",
        ("over_naive_p_adjusted", "over_naive_p"),
        lambda row: (*_one("over_naive", "p_adjusted")(row), *_one("over_naive", "p")(row)),
        lambda row: probability(row["over_naive"]["p_adjusted"]) if row["over_naive"] else "",
        BOTH, wide=True, ascending=True,
    ),
    Column(
        "verdict",
        "`better` or `worse` where the adjusted p-value is at most .05, else `no evidence`; `incomplete` where a seed "
        "is missing",
        ("verdict",), _one("over_naive", "verdict"), show.verdict_of, BOTH, numeric=False, ascending=True,
    ),
    Column(
        "ranks", "the ranks that the row may have: sets that jointly contain the true ranks with 95 % confidence",
        ("rank_first", "rank_last"), lambda row: tuple(row["ranks"] or (None, None)),
        lambda row: single_rank(row["ranks"]) if row["ranks"] else "", BOTH, ascending=True,
    ),
    Column(
        "cells", "how many of its cells have a result",
        ("cells",), lambda row: (row["cells"] if show.is_overall(row) else len(row["seeds"]),),
        lambda row: str(row["cells"]), (OVERALL,),
    ),
    Column(
        "failed", "how many of its cells failed or ran out of time",
        ("failed",), _one("failed"), lambda row: str(row["failed"]), (OVERALL,), wide=True,
    ),
    Column(
        "keeps", "the student's accuracy where its supervisor is right",
        ("keeps",), _one("imitation", "keeps"), lambda row: number(*_one("imitation", "keeps")(row)),
        (CELLS,), wide=True,
    ),
    Column(
        "corrects", "the student's accuracy where its supervisor is wrong: what imitation of errors leaves",
        ("corrects",), _one("imitation", "corrects"), lambda row: number(*_one("imitation", "corrects")(row)),
        (CELLS,), wide=True,
    ),
    Column(
        "ECE",
        "expected calibration error: the mean distance of confidence and accuracy over fifteen bins of confidence, "
        "weighted by their size",
        ("ece",), _one("quality", "student", "ece"), lambda row: number(*_one("quality", "student", "ece")(row)),
        (CELLS,), wide=True, ascending=True,
    ),
    Column(
        "seconds", "processor seconds of training one cell",
        ("seconds",), _one("cost", "seconds"), lambda row: number(row["cost"]["seconds"], 1) if row["cost"] else "–",
        (CELLS,), wide=True, ascending=True,
    ),
    Column(
        "cost",
        "training examples seen, relative to naive; `*` marks rows that no cheaper row beats; CSV has their number too",
        ("examples_over_naive", "examples"),
        lambda row: (*_one("cost", "examples_over_naive")(row), *_one("cost", "examples")(row)),
        lambda row: times(*_one("cost", "examples_over_naive")(row)) + ("*" if row.get("pareto") else ""),
        BOTH, ascending=True,
    ),
    Column(
        "time", "processor seconds of training, relative to naive",
        ("seconds_over_naive",), _one("cost", "seconds_over_naive"),
        lambda row: times(*_one("cost", "seconds_over_naive")(row)), (OVERALL,), wide=True, ascending=True,
    ),
)  # fmt: skip


def columns_of(table: str) -> list[Column]:
    """Returns the columns of the OVERALL table or of a group's (CELLS), in order."""
    return [column for column in COLUMNS if table in column.tables]


def glossary() -> str:
    """Returns the columns and what they mean, as a Markdown table."""
    lines = ["| column | in CSV | meaning |", "|---|---|---|"]
    for column in COLUMNS:
        lines.append(f"| {column.title} | {', '.join(f'`{name}`' for name in column.names)} | {column.meaning} |")
    return "\n".join(lines) + "\n"
