"""Any labelled table as a task: CSV, TSV, JSONL, Parquet, Arrow or a Hugging Face dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import Inputs, Sizes, Split
from w2s_bench.plugins.tables.classes import classes_of, labelled
from w2s_bench.plugins.tables.columns import RowsInUse, check_column, column, opaque
from w2s_bench.plugins.tables.conversations import with_prompt
from w2s_bench.plugins.tables.files import Columns
from w2s_bench.plugins.tables.reading import column_names, fingerprint, read_columns
from w2s_bench.seeds import derive
from w2s_bench.splitting import split_examples


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
    notes: tuple[str, ...]

    def take(self, at: Sequence[int]) -> _Rows:
        """Returns the rows at these positions."""
        taken = Inputs(self.ids, self.text, self.other, self.difficulty).take(at)
        return replace(
            self,
            ids=taken.ids,
            text=taken.text,
            other=taken.other,
            difficulty=taken.difficulty,
            truth=None if self.truth is None else self.truth[at],
            in_test=None if self.in_test is None else self.in_test[at],
            group=None if self.group is None else [self.group[i] for i in at],
        )


class Table:
    """A table with a text and a class, or with two candidates and the better one."""

    @dataclass(frozen=True)
    class Options:
        """Where the data is and what its columns mean."""

        path: str = ""
        """File (.csv .tsv .jsonl .json .parquet .arrow, also .gz .bz2 .xz .zst), dataset folder, Hugging Face name."""
        encoding: str = "utf-8"
        """Of the letters in a CSV, TSV or JSON file, by Python's names: utf-8, utf-16, latin-1, cp1252, ..."""
        text: str = "text"
        """Column with the text, or a list of messages; preference: with the prompt, empty for none."""
        label: str = "label"
        """Column with the class: whole numbers, booleans or words. With `other`: 1 where the second is better."""
        missing_labels: Literal["error", "drop"] = "error"
        """`drop` leaves rows without a label out; their number is shown and recorded."""
        join_classes: bool = False
        """Classes that differ in case or blanks alone (`pos`, `POS `) are one class; without it they are an error."""
        other: str = ""
        """Column with the second candidate: makes it a preference task in which `text` is the first."""
        chosen: str = ""
        """Column with the better answer, `rejected` with the worse: a preference task without `label`."""
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
        rows: int = 0
        """Draw from this many rows alone, and from as many test rows where `split` tells them; the same for every seed,
        groups whole. Of a large table, seeds then share texts, which a frozen model reads once. 0: from all."""
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

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or joined, in words."""
        return self._rows.notes

    def fingerprint(self) -> str:
        """Returns sha256 of the file's content, or the dataset's name and commit; UsageError for columns it lacks.

        It is asked while a run is planned: the time to say that an option is wrong.
        """
        source = self._source()
        names = column_names(source, self.options.encoding)
        for option, name in self._named().items() if names else ():
            check_column(source, names or [], option, name, self._no_prompt(option))
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
        if o.rows < 0:
            raise UsageError(f"task.rows={o.rows}: give a number of rows, or 0 for all")
        wanted = {*self._named().values(), o.id or "id"}
        columns = read_columns(self._source(), wanted, o.config, o.revision, o.encoding)
        if not columns.places:
            raise W2SError(f"{o.path}: the table has no rows")
        for option, name in self._named().items():
            check_column(o.path, columns.names, option, name, self._no_prompt(option))
        in_test, keep = self._fixed_split(columns)
        rows, notes = RowsInUse(o.path, columns, keep), []
        other: list[str] | None = None
        if o.chosen:
            prompt = rows.texts("text", o.text, may_be_empty=True) if o.text else [""] * len(keep)
            better, worse = rows.texts("chosen", o.chosen), rows.texts("rejected", o.rejected)
            pairs = [with_prompt(*row) for row in zip(prompt, better, worse, strict=True)]
            text, other = [first for first, _ in pairs], [second for _, second in pairs]
            truth, class_names = None, ["first", "second"]
        else:
            rows, left_out = labelled(rows, o.label, o.missing_labels)
            text, other = rows.texts("text", o.text), rows.texts("other", o.other) if o.other else None
            classes = classes_of(rows, o.label, o.join_classes)
            notes = [note for note in (left_out, classes.joined) if note]
            truth, class_names = classes.numbers, classes.names
            if other is not None:
                if class_names not in (["0", "1"], ["False", "True"]):
                    raise W2SError(
                        f"{o.path}: column {o.label!r} (task.label) of a preference task has 0 or 1 "
                        f"(1: {o.other!r} is better), found: {', '.join(class_names[:5])}"
                    )
                class_names = ["first", "second"]
        checked = _Rows(
            rows.ids(o.id),
            text,
            other,
            truth,
            class_names,
            [str(g) for g in rows.present("group", o.group)] if o.group else None,
            rows.numbers("difficulty", o.difficulty) if o.difficulty else None,
            np.array([in_test[i] for i in rows.keep]) if in_test else None,
            tuple(notes),
        )
        checked = checked if checked.group is not None else _with_text_groups(checked)
        return _drawn_once(checked, o.rows) if o.rows else checked

    def _no_prompt(self, option: str) -> str:
        """Returns what to do where the default of `text` names no column of a table of chosen and rejected answers."""
        if option != "text" or not self.options.chosen:
            return ""
        return "; task.text=COLUMN names the prompt, task.text= that there is none"

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
            values = [None if v is None else str(v) for v in column(o.path, columns, "split", o.split)]
        elif columns.split and {o.train, o.test} <= set(columns.split):
            values = list(columns.split)
        else:
            return None, list(range(len(columns.places)))
        for option, value in (("train", o.train), ("test", o.test)):
            if value not in values:
                distinct = sorted({str(v) for v in values})
                raise UsageError(
                    f"{o.path}: column {o.split!r} (task.split) never says {value!r} (task.{option}); "
                    f"found: {', '.join(distinct[:8])}{' ...' if len(distinct) > 8 else ''}"
                )
        return [v == o.test for v in values], [i for i, v in enumerate(values) if v in (o.train, o.test)]


def _with_text_groups(rows: _Rows) -> _Rows:
    """Returns the rows with equal texts as groups, without those training rows whose text is in the test split."""
    group = [opaque(t, o) for t, o in zip(rows.text, rows.other or [""] * len(rows.text), strict=True)]
    if rows.in_test is None:
        return replace(rows, group=group)
    seen = {g for g, tested in zip(group, rows.in_test, strict=True) if tested}
    at = [i for i, g in enumerate(group) if rows.in_test[i] or g not in seen]
    return replace(rows, group=group).take(at)


def _drawn_once(rows: _Rows, number: int) -> _Rows:
    """Returns `number` of the rows, of training and of test rows where they are told apart; groups stay whole."""
    assert rows.group is not None
    kept: list[int] = []
    sides = (
        [np.arange(len(rows.ids))]
        if rows.in_test is None
        else [np.flatnonzero(t) for t in (~rows.in_test, rows.in_test)]
    )
    for side in sides:
        members: dict[str, list[int]] = {}
        for i in side.tolist():
            members.setdefault(rows.group[i], []).append(i)
        groups, chosen = list(members.values()), 0
        for g in np.random.default_rng(derive(0, "rows")).permutation(len(groups)):
            if chosen >= number:
                break
            kept += groups[g]
            chosen += len(groups[g])
    return rows.take(sorted(kept))


@hookimpl
def register_tasks(register):
    """Registers the table task."""
    register("table", Table)
