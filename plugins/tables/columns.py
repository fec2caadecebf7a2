"""Columns of the rows in use, each value checked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from w2s_bench.errors import UsageError, W2SError, nearest
from w2s_bench.plugins.tables.conversations import conversation
from w2s_bench.plugins.tables.files import Columns


@dataclass(frozen=True)
class RowsInUse:
    """Columns of some rows; every error names the file, the column, its option and the row."""

    path: str
    columns: Columns
    keep: list[int]
    """Positions of the rows in use."""

    def used(self, option: str, name: str) -> list[Any]:
        """Returns a column as it is."""
        values = column(self.path, self.columns, option, name)
        return [values[i] for i in self.keep]

    def present(self, option: str, name: str) -> list[Any]:
        """Returns a column without holes."""
        return self.all_good(option, name, self.used(option, name), lambda v: v is not None and v != "", "a value")

    def texts(self, option: str, name: str, may_be_empty: bool = False) -> list[str]:
        """Returns a column of texts; a list of messages is a `Conversation`."""
        texts = []
        for i, value in zip(self.keep, self.used(option, name), strict=True):
            if isinstance(value, list):
                try:
                    value = conversation(value, may_be_empty)
                except ValueError as error:
                    raise W2SError(f"{self.place_of(i, option, name)}: {error}") from error
            texts.append(value)

        def is_text(value: Any) -> bool:
            return isinstance(value, str) and (may_be_empty or value.strip() != "")

        return self.all_good(option, name, texts, is_text, "a text or a list of messages")

    def numbers(self, option: str, name: str) -> np.ndarray:
        """Returns a column of finite numbers."""
        values = self.all_good(option, name, self.present(option, name), is_number, "a finite number")
        return np.array([float(v) for v in values])

    def ids(self, name: str) -> list[str]:
        """Returns opaque ids. Plain ones often tell the class (`review-pos-17`), and so do rows in a sorted file."""
        if name == "row" or (not name and "id" not in self.columns.names):
            plain = [str(self.columns.places[i]) for i in self.keep]
        else:
            name = name or "id"
            plain = [str(v) for v in self.present("id", name)]
            first: dict[str, int] = {}
            for i, value in zip(self.keep, plain, strict=True):
                if value in first:
                    places = f"{self.columns.place}s {self.columns.places[first[value]]} and {self.columns.places[i]}"
                    raise W2SError(
                        f"{self.path}: column {name!r} (task.id): id {value!r} is in {places}; ids must be unique. "
                        f"If rows belong together: task.group={name} task.id=row"
                    )
                first[value] = i
        return [opaque(value) for value in plain]

    def all_good(
        self, option: str, name: str, values: list[Any], good: Callable[[Any], bool], expected: str, remedy: str = ""
    ) -> list[Any]:
        """Returns the values, or raises for the first that is not good."""
        for i, value in zip(self.keep, values, strict=True):
            if not good(value):
                shown = "nothing" if value is None or value == "" else f"{value!r:.80} ({type(value).__name__})"
                raise W2SError(f"{self.place_of(i, option, name)}: expected {expected}, found {shown}{remedy}")
        return values

    def place_of(self, position: int, option: str, name: str) -> str:
        """Returns file, row, column and option, for an error."""
        place = f"{self.columns.place} {self.columns.places[position]}"
        return f"{self.path}, {place}: column {name!r} (task.{option})"


def column(path: str, columns: Columns, option: str, name: str) -> list[Any]:
    """Returns all of a column, or raises UsageError where there is none of that name."""
    check_column(path, columns.names, option, name)
    return columns.values[name]


def check_column(path: str, names: list[str], option: str, name: str, remedy: str = "") -> None:
    """Raises UsageError where no column has this name."""
    if name not in names:
        close = nearest(name, names) or ";"
        raise UsageError(f"{path}: no column {name!r} (task.{option}){close} it has: {', '.join(names)}{remedy}")


def opaque(*parts: str) -> str:
    """Returns a digest that does not tell what it was made of."""
    return hashlib.sha256("\0".join(("table", *parts)).encode()).hexdigest()[:16]


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite number, or a text that is one."""
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False
