"""Any labelled table as a task: CSV, TSV, JSONL, Parquet, Arrow or a Hugging Face dataset."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError, W2SError, nearest
from w2s_bench.interfaces import Inputs, Sizes, Split
from w2s_bench.plugins.tasks.reading import Columns, column_names, fingerprint, read_columns
from w2s_bench.seeds import derive
from w2s_bench.splitting import split_examples

MOST_CLASSES = 50


@dataclass(frozen=True)
class _Rows:
    """The usable rows, checked."""

    ids: list[str]
    text: list[str]
    other: list[str] | None
    truth: np.ndarray | None
    """None for chosen and rejected: which one comes first is drawn per split."""
    class_names: list[str]
    group: list[str] | None
    difficulty: np.ndarray | None
    in_test: np.ndarray | None


class Table:
    """A table with a text and a class, or with two candidates and the better one."""

    @dataclass(frozen=True)
    class Options:
        """Where the data lies and what its columns mean."""

        path: str = ""
        """File (.csv .tsv .jsonl .json .parquet .arrow, also .gz), dataset folder, or Hugging Face dataset name."""
        text: str = "text"
        """Column with the text; preference: with the prompt, empty for none."""
        label: str = "label"
        """Column with the class: whole numbers, booleans or words. With `other`: 1 where the second is better."""
        other: str = ""
        """Column with the second candidate: makes it a preference task in which `text` is the first."""
        chosen: str = ""
        """Column with the better answer, and `rejected` with the worse: makes it a preference task without `label`."""
        rejected: str = ""
        """Column with the worse answer."""
        group: str = ""
        """Column whose equal values stay in one split. Empty: equal texts do, and training rows seen in test go."""
        difficulty: str = ""
        """Column of numbers, higher is harder, known without the label."""
        split: str = ""
        """Column that says train or test. Empty: a dataset's own splits where it has both, else drawn by seed."""
        train: str = "train"
        """Value of `split` for rows that supervision, transfer and validation are drawn from."""
        test: str = "test"
        """Value of `split` for test rows. Rows with any other value are left out."""
        id: str = ""
        """Column of unique ids. Empty: `id` where there is one, else the row's number; `row`: the row's number."""
        balance: bool = True
        """Equal numbers of every class in every split, by leaving examples out."""
        config: str | None = None
        """Configuration of a Hugging Face dataset."""
        revision: str | None = None
        """Commit, branch or tag of a Hugging Face dataset."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def kind(self) -> str:
        """`preference` where the options name two candidates, else `classification`."""
        return "preference" if self.options.other or self.options.chosen else "classification"

    @property
    def same_test_for_all_seeds(self) -> bool:
        """True where the data says which rows are test rows."""
        return self._rows.in_test is not None

    def fingerprint(self) -> str:
        """Returns sha256 of the file's content, or the dataset's name and commit; UsageError for columns it lacks.

        It is asked while a run is planned: the time to say that an option is wrong.
        """
        source = self._source()
        names = column_names(source)
        for option, name in self._named().items() if names else ():
            _check_column(source, names or [], option, name)
        return fingerprint(source, self.options.config, self.options.revision)

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns the class names and the splits; a seed changes test only where the data does not fix it."""
        rows = self._rows
        drawn = split_examples(
            np.zeros(len(rows.ids), dtype=np.int64) if rows.truth is None else rows.truth,
            sizes,
            seed,
            group=rows.group,
            in_test=rows.in_test,
            balance=self.options.balance and rows.truth is not None,
            class_names=rows.class_names if rows.truth is not None else ["any"],
        )
        return rows.class_names, {name: self._split(name, at, seed) for name, at in drawn.items()}

    def _split(self, name: str, at: np.ndarray, seed: int) -> Split:
        rows = self._rows
        group = [rows.group[i] for i in at] if rows.group is not None else None
        inputs = Inputs(rows.ids, rows.text, rows.other, rows.difficulty).take(at)
        if rows.truth is not None:
            return Split(inputs, rows.truth[at], group)
        fixed = name == "test" and rows.in_test is not None
        truth = np.random.default_rng(derive(0 if fixed else seed, "order", name)).permutation(np.arange(len(at)) % 2)
        pairs = list(zip(inputs.text, inputs.other or (), strict=True))  # chosen, rejected
        pairs = [(worse, better) if t else (better, worse) for (better, worse), t in zip(pairs, truth, strict=True)]
        text, other = (list(side) for side in zip(*pairs, strict=True))
        return Split(replace(inputs, text=text, other=other), truth, group)

    def _source(self) -> str:
        if not self.options.path:
            raise UsageError("task=table needs task.path=FILE (or a Hugging Face dataset name)")
        return self.options.path

    # --- reading and checking

    @cached_property
    def _rows(self) -> _Rows:
        o = self.options
        wanted = {*self._named().values(), o.id or "id"}
        columns = read_columns(self._source(), wanted, o.config, o.revision)
        if not columns.places:
            raise W2SError(f"{o.path}: the table has no rows")
        in_test, keep = self._fixed_split(columns)
        column = _Reader(o.path, columns, keep)
        prompt = column.texts("text", o.text, may_be_empty=bool(o.chosen)) if o.text else [""] * len(keep)
        other: list[str] | None = None
        if o.chosen:
            better, worse = column.texts("chosen", o.chosen), column.texts("rejected", o.rejected)
            text = [_join(p, answer) for p, answer in zip(prompt, better, strict=True)]
            other = [_join(p, answer) for p, answer in zip(prompt, worse, strict=True)]
            truth, class_names = None, ["first", "second"]
        else:
            text, other = prompt, column.texts("other", o.other) if o.other else None
            truth, class_names = column.classes("label", o.label)
            if other is not None:
                if class_names not in (["0", "1"], ["False", "True"]):
                    raise W2SError(
                        f"{o.path}: column {o.label!r} (task.label) of a preference task holds 0 or 1 "
                        f"(1: {o.other!r} is better), found: {', '.join(class_names[:5])}"
                    )
                class_names = ["first", "second"]
        rows = _Rows(
            column.ids(o.id),
            text,
            other,
            truth,
            class_names,
            [str(g) for g in column.present("group", o.group)] if o.group else None,
            column.numbers("difficulty", o.difficulty) if o.difficulty else None,
            np.array([in_test[i] for i in keep]) if in_test else None,
        )
        return rows if rows.group is not None else _with_text_groups(rows)

    def _named(self) -> dict[str, str]:
        """Returns the columns that must be there, by option."""
        o = self.options
        if bool(o.chosen) != bool(o.rejected) or (o.chosen and o.other):
            raise UsageError("task.chosen and task.rejected go together, and not with task.other")
        if not o.text and not o.chosen:
            raise UsageError("task.text is empty: it names the column with the text")
        options = ["text", "other", "chosen", "rejected", "group", "difficulty", "split"] + ["label"] * (not o.chosen)
        named = {option: getattr(o, option) for option in options if getattr(o, option)}
        return named if o.id in ("", "row") else {**named, "id": o.id}

    def _fixed_split(self, columns: Columns) -> tuple[list[bool] | None, list[int]]:
        """Returns which rows are test rows (None: to be drawn), and the positions of the rows in use."""
        o = self.options
        if o.split:
            values = [None if v is None else str(v) for v in _column(o.path, columns, "split", o.split)]
        elif columns.split and {o.train, o.test} <= set(columns.split):
            values = list(columns.split)
        else:
            return None, list(range(len(columns.places)))
        for option, value in (("train", o.train), ("test", o.test)):
            if value not in values:
                found = sorted({str(v) for v in values})
                raise UsageError(
                    f"{o.path}: column {o.split!r} (task.split) never says {value!r} (task.{option}); "
                    f"found: {', '.join(found[:8])}{' ...' if len(found) > 8 else ''}"
                )
        return [v == o.test for v in values], [i for i, v in enumerate(values) if v in (o.train, o.test)]


@dataclass(frozen=True)
class _Reader:
    """Columns of the rows in use, checked; every error names the file, the column, its option and the row."""

    path: str
    columns: Columns
    keep: list[int]

    def present(self, option: str, name: str) -> list[Any]:
        """Returns a column without holes."""
        return self._all(option, name, self._used(option, name), lambda v: v is not None and v != "", "a value")

    def texts(self, option: str, name: str, may_be_empty: bool = False) -> list[str]:
        """Returns a column of strings."""
        values = self._used(option, name)
        return self._all(
            option, name, values, lambda v: isinstance(v, str) and (may_be_empty or v.strip() != ""), "a text"
        )

    def numbers(self, option: str, name: str) -> np.ndarray:
        """Returns a column of finite numbers."""
        values = self._all(option, name, self.present(option, name), _is_number, "a finite number")
        return np.array([float(v) for v in values])

    def classes(self, option: str, name: str) -> tuple[np.ndarray, list[str]]:
        """Returns class numbers [N] and the classes' names, in sorted order."""
        values = self.present(option, name)
        declared = self.columns.class_names.get(name)
        if declared is not None:
            self._all(option, name, values, lambda v: 0 <= v < len(declared), f"a class out of {', '.join(declared)}")
        elif all(isinstance(v, str) and _is_number(v) for v in values):  # CSV has no types
            values = [int(v) if _is_whole(v) else float(v) for v in values]
        kind: type = type(values[0])
        expected = f"a class ({kind.__name__}, as in the first row)"
        if kind not in (int, bool, str):
            kind, expected = int, "a class (a whole number, a word, true or false)"
        self._all(option, name, values, lambda v: type(v) is kind, expected)
        distinct = sorted(set(values))
        where = f"{self.path}: column {name!r} (task.{option})"
        if len(distinct) > MOST_CLASSES:
            some = ", ".join(repr(v) for v in distinct[:3])
            raise W2SError(
                f"{where}: {len(distinct)} different values ({some}, ...) are not classes; at most {MOST_CLASSES}"
            )
        if len(distinct) < 2:
            raise W2SError(f"{where}: only one class, {distinct[0]!r}; a task needs at least two")
        number = {value: i for i, value in enumerate(distinct)}
        names = [declared[v] for v in distinct] if declared is not None else [str(v) for v in distinct]
        return np.array([number[v] for v in values], dtype=np.int64), names

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
                        f"{self.path}: column {name!r} (task.id): id {value!r} stands in {places}; ids must be unique. "
                        f"If rows belong together: task.group={name} task.id=row"
                    )
                first[value] = i
        return [_opaque(value) for value in plain]

    def _used(self, option: str, name: str) -> list[Any]:
        values = _column(self.path, self.columns, option, name)
        return [values[i] for i in self.keep]

    def _all(self, option: str, name: str, values: list[Any], good: Callable[[Any], bool], expected: str) -> list[Any]:
        for i, value in zip(self.keep, values, strict=True):
            if not good(value):
                found = "nothing" if value is None or value == "" else f"{value!r:.80} ({type(value).__name__})"
                raise W2SError(
                    f"{self.path}, {self.columns.place} {self.columns.places[i]}: column {name!r} (task.{option}): "
                    f"expected {expected}, found {found}"
                )
        return values


def _column(path: str, columns: Columns, option: str, name: str) -> list[Any]:
    _check_column(path, columns.names, option, name)
    return columns.values[name]


def _check_column(path: str, names: list[str], option: str, name: str) -> None:
    if name not in names:
        raise UsageError(
            f"{path}: no column {name!r} (task.{option}){nearest(name, names) or ';'} it has: {', '.join(names)}"
        )


def _with_text_groups(rows: _Rows) -> _Rows:
    """Returns the rows with equal texts as groups, without those training rows whose text is in the test split."""
    group = [_opaque(t, o) for t, o in zip(rows.text, rows.other or [""] * len(rows.text), strict=True)]
    if rows.in_test is None:
        return replace(rows, group=group)
    seen = {g for g, tested in zip(group, rows.in_test, strict=True) if tested}
    at = [i for i, g in enumerate(group) if rows.in_test[i] or g not in seen]
    taken = Inputs(rows.ids, rows.text, rows.other, rows.difficulty).take(at)
    return replace(
        rows,
        ids=taken.ids,
        text=taken.text,
        other=taken.other,
        difficulty=taken.difficulty,
        truth=None if rows.truth is None else rows.truth[at],
        in_test=rows.in_test[at],
        group=[group[i] for i in at],
    )


def _opaque(*parts: str) -> str:
    return hashlib.sha256("\0".join(("table", *parts)).encode()).hexdigest()[:16]


def _join(prompt: str, answer: str) -> str:
    return prompt + answer if not prompt or prompt[-1].isspace() else f"{prompt} {answer}"


def _is_whole(value: str) -> bool:
    return value.lstrip("-").isascii() and value.lstrip("-").isdigit()


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


@hookimpl
def register_tasks(register):
    """Registers the table task."""
    register("table", Table)
