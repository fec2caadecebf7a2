"""A board's values as text: numbers, intervals, verdicts, names."""

from __future__ import annotations

from typing import Any, Protocol

from w2s_bench.store.records import Record

Row = dict[str, Any]
"""A row of `overall` or of `rows` in a board's data."""


class BoardContent(Protocol):
    """What is rendered; `w2s_bench.board.Board` has it."""

    data: dict[str, Any]
    records: list[list[Record]]

    @property
    def cells(self) -> list[list[dict[str, Any]]]:
        """What the page shows when a row is opened."""

    @property
    def notes(self) -> list[str]:
        """One line for each thing that a reader should know."""


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
    """Returns `.031`, or `<.001`; '' where there is none."""
    return "" if value is None else "<.001" if value < 0.0005 else number(value)


def times(ratio: float | None) -> str:
    """Returns a cost relative to naive, such as `2x`."""
    return f"{ratio:.2g}x" if ratio else "–"


def is_overall(row: Row) -> bool:
    """Returns whether a row is over all groups, not of one."""
    return "complete" in row


def name_of(row: Row) -> str:
    """Returns a row's name with its marks."""
    marks = ["control"] * row["control"] + ["ground truth"] * (row["track"] == "uses-ground-truth")
    return row["mitigation"] + (f" ({', '.join(marks)})" if marks else "")


def pgr_of(row: Row) -> str:
    """Returns the PGR with its interval, or why there is none."""
    if row["pgr"]:
        return interval(row["pgr"], 2)
    return "no gap" if row.get("no_gap") else "unresolved" if row.get("status") == "gap_unresolved" else "–"


def difference_of(row: Row) -> str:
    """Returns the difference from naive with its interval: of PGR in overall rows, else of accuracy."""
    difference = row["over_naive"]
    if is_overall(row):
        return interval(difference, 2, True)
    return plus_minus(difference, 3, True) if difference else ""


def verdict_of(row: Row) -> str:
    """Returns `better`, `worse`, `no evidence`, or what is missing for a verdict; '' for naive itself."""
    if not is_overall(row) and row["failed"]:
        return f"{row['failed']} failed"
    if not row.get("complete", True) or row.get("status") == "incomplete":
        return "incomplete"
    return row["over_naive"]["verdict"] if row["over_naive"] else ""


def look_of(text: str) -> str:
    """Returns how a cell's text is to look: `better`, `worse`, `warn`, or ''."""
    if text in ("better", "worse"):
        return text
    return "warn" if text in ("incomplete", "unresolved", "no gap") or text.endswith(" failed") else ""
