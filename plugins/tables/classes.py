"""Which values of a label column are classes, which are the same class, and which rows have none."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from w2s_bench.errors import W2SError
from w2s_bench.plugins.tables.columns import RowsInUse, is_number

MOST_CLASSES = 50
NO_NUMBER = frozenset({"nan", "na", "n/a", "<na>", "null", "none"})
"""What is written for a missing number; among words these are classes."""


@dataclass(frozen=True)
class Classes:
    """The classes of a label column."""

    numbers: np.ndarray
    """[N] of each row in use."""
    names: list[str]
    """In sorted order."""
    joined: str = ""
    """In words: which spellings were taken for one class, "" where none were."""


def labelled(rows: RowsInUse, name: str, missing_labels: str) -> tuple[RowsInUse, str]:
    """Returns the rows that have a label, and in words how many have none, "" where all have one.

    W2SError for the first without one where `missing_labels` is `error`.
    """
    values = rows.used("label", name)
    declared = rows.columns.class_names.get(name)
    words = {v.strip().casefold() for v in values if isinstance(v, str) and not is_number(v)} - {""}
    holes = NO_NUMBER if words <= NO_NUMBER and any(is_number(v) for v in values) else frozenset()

    def has_label(value: Any) -> bool:
        if isinstance(value, str):
            return value.strip() != "" and value.strip().casefold() not in holes
        if declared is not None and value == -1:  # how datasets of the hub mark rows whose class is kept secret
            return False
        return value is not None and value == value

    if missing_labels == "error":
        expected = "a class" if declared is None else f"a class out of {', '.join(declared)}"
        remedy = "; task.missing_labels=drop leaves out the rows without a label"
        rows.all_good("label", name, values, has_label, expected, remedy)
        return rows, ""
    keep = [i for i, value in zip(rows.keep, values, strict=True) if has_label(value)]
    if not keep:
        raise W2SError(f"{rows.path}: column {name!r} (task.label): no row has a label")
    n_missing = len(rows.keep) - len(keep)
    note = f"{n_missing} of {len(rows.keep)} rows have no label ({name!r}) and are left out" if n_missing else ""
    return replace(rows, keep=keep), note


def classes_of(rows: RowsInUse, name: str, join: bool) -> Classes:
    """Returns the classes of a column in which every row has one; with `join`, spellings of one word are one class."""
    values = rows.used("label", name)
    declared = rows.columns.class_names.get(name)
    if declared is not None:
        expected = f"a class out of {', '.join(declared)}"
        rows.all_good("label", name, values, lambda v: 0 <= v < len(declared), expected)
    numeric = all(is_number(v) or isinstance(v, float) for v in values)
    if numeric:  # text in CSV, which has no types; floats in other tables, where a value is missing or was
        values = [_whole(v) for v in values]
    kind: type = int if numeric else type(values[0])
    expected = f"a class ({kind.__name__}, as in the first row)"
    if numeric or kind not in (bool, str, int):
        kind, expected = int, "a class (a whole number, a word, true or false)"
    rows.all_good("label", name, values, lambda v: type(v) is kind, expected)
    where = f"{rows.path}: column {name!r} (task.label)"
    joined = ""
    if kind is str:
        values, joined = _joined(where, values, join)
    distinct = sorted(set(values))
    if len(distinct) > MOST_CLASSES:
        some = ", ".join(repr(v) for v in distinct[:3])
        raise W2SError(
            f"{where}: {len(distinct)} different values ({some}, ...) are not classes; at most {MOST_CLASSES}"
        )
    if len(distinct) < 2:
        raise W2SError(f"{where}: only one class, {distinct[0]!r}; a task needs at least two")
    number = {value: i for i, value in enumerate(distinct)}
    names = [declared[v] for v in distinct] if declared is not None else [str(v) for v in distinct]
    return Classes(np.array([number[v] for v in values], dtype=np.int64), names, joined)


def _joined(where: str, values: list[str], join: bool) -> tuple[list[str], str]:
    """Returns the values, each by the most frequent spelling of its class, and what was joined, in words."""
    spellings: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for value, n in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])):
        spellings[_same(value)].append((value, n))
    several = [", ".join(f"{value!r} ({n})" for value, n in group) for group in spellings.values() if len(group) > 1]
    if not several:
        return values, ""
    if not join:
        raise W2SError(
            f"{where}: classes that differ in case or blanks alone: {'; '.join(several[:5])}; "
            "task.join_classes=true makes one class of each"
        )
    return [_trimmed(spellings[_same(value)][0][0]) for value in values], f"joined as one class: {'; '.join(several)}"


def _same(value: str) -> str:
    return _trimmed(value).casefold()


def _trimmed(value: str) -> str:
    return unicodedata.normalize("NFC", " ".join(value.split()))


def _whole(value: Any) -> Any:
    """Returns a number, or a text that is one, as an integer where it is whole."""
    if isinstance(value, str):
        digits = value.strip().lstrip("-")
        value = int(value) if digits.isascii() and digits.isdigit() else float(value)
    return int(value) if math.isfinite(value) and value == int(value) else value
