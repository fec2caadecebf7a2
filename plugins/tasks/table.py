"""Any labelled table as a task: CSV, TSV, JSONL, Parquet, Arrow or a Hugging Face dataset."""

from __future__ import annotations

import importlib.util
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
from w2s_bench.plugins.tables.questions import CHECKS, CHOICE, answers_in, candidates, fields_of, written
from w2s_bench.plugins.tables.reading import column_names, fingerprint, read_columns
from w2s_bench.plugins.tables.rows import Rows, drawn_once, with_text_groups
from w2s_bench.seeds import derive
from w2s_bench.splitting import split_examples


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
        template: str = ""
        """Takes `text`'s place: a text with columns in braces, `{passage} Question: {question}`, and `{choice}`."""
        choices: str = ""
        """Column with lists of candidate answers, or a column for each, `a,b,c`. A question then makes two examples in
        one group, with its right answer (1) and with a wrong one (0)."""
        answer: str = ""
        """Column with the answer: which of `choices`, by number, letter or text; without them a text to be written."""
        first: int = 0
        """Number of the first of `choices`."""
        answer_after: str = ""
        """What the answer in its column comes after, such as `####`."""
        check: Literal["exact", "number", "chess"] = "exact"
        """When an answer in words is right: same words, the same last number, the best move or one that mates too."""
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
        """`preference` where the options name two candidates, `generation` where an answer, else `classification`."""
        o = self.options
        if o.other or o.chosen:
            return "preference"
        return "generation" if o.answer and not o.choices else "classification"

    def check(self, answer: str, truth: str, text: str) -> bool:
        """Returns whether an answer in words is right."""
        return CHECKS[self.options.check](answer, truth, text)

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
        if self.options.check == "chess" and importlib.util.find_spec("chess") is None:
            raise UsageError("task.check=chess needs the package chess: pip install 'w2s_bench[chess]'")
        return fingerprint(source, self.options.config, self.options.revision)

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns the class names and the splits; a seed changes test only where the data does not fix it."""
        rows = self._rows
        classes = None if self.kind == "generation" else rows.truth
        drawn = split_examples(
            classes if classes is not None else np.zeros(len(rows.ids), dtype=np.int64),
            sizes,
            seed,
            group=rows.group,
            in_test=rows.in_test,
            balance=self.options.balance and classes is not None,
            class_names=rows.class_names if classes is not None else ["any"],
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
    def _rows(self) -> Rows:
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
        checked = self._checked(RowsInUse(o.path, columns, keep), in_test)
        checked = checked if checked.group is not None else with_text_groups(checked)
        return drawn_once(checked, o.rows) if o.rows else checked

    def _checked(self, rows: RowsInUse, in_test: list[bool] | None) -> Rows:
        """Returns texts and truth of the rows in use, checked."""
        o = self.options
        notes: list[str] = []
        other: list[str] | None = None
        truth: np.ndarray | None = None
        class_names = ["first", "second"]
        if not (o.chosen or o.answer):
            rows, left_out = labelled(rows, o.label, o.missing_labels)
            notes += [left_out] if left_out else []
        ids = rows.ids(o.id)
        group = [str(g) for g in rows.present("group", o.group)] if o.group else None
        if o.chosen:
            prompt = rows.texts("text", o.text, may_be_empty=True) if o.text else [""] * len(ids)
            better, worse = rows.texts("chosen", o.chosen), rows.texts("rejected", o.rejected)
            pairs = [with_prompt(*row) for row in zip(prompt, better, worse, strict=True)]
            text, other = [first for first, _ in pairs], [second for _, second in pairs]
        elif o.choices:
            questions, number = ids, dict(zip(rows.keep, range(len(ids)), strict=True))
            drawn = candidates(rows, o.choices, o.answer, o.first)
            rows, truth, class_names = drawn.rows, drawn.truth, ["wrong", "right"]
            of = [number[i] for i in rows.keep]
            group = [(group or questions)[n] for n in of]
            ids = [opaque(questions[n], str(k % 2)) for k, n in enumerate(of)]
            text = written(rows, o.template or f"{{{o.text}}} {{{CHOICE}}}", drawn.choices)
        elif o.answer:
            text, class_names = self._texts(rows), []
            truth = answers_in(rows, o.answer, o.answer_after)
        else:
            text, other = self._texts(rows), rows.texts("other", o.other) if o.other else None
            classes = classes_of(rows, o.label, o.join_classes)
            notes += [classes.joined] if classes.joined else []
            truth = classes.numbers
            if other is None:
                class_names = classes.names
            elif classes.names not in (["0", "1"], ["False", "True"]):
                raise W2SError(
                    f"{o.path}: column {o.label!r} (task.label) of a preference task has 0 or 1 "
                    f"(1: {o.other!r} is better), found: {', '.join(classes.names[:5])}"
                )
        difficulty = rows.numbers("difficulty", o.difficulty) if o.difficulty else None
        tested = np.array([in_test[i] for i in rows.keep]) if in_test else None
        return Rows(ids, text, other, truth, class_names, group, difficulty, tested, tuple(notes))

    def _texts(self, rows: RowsInUse) -> list[str]:
        return written(rows, self.options.template) if self.options.template else rows.texts("text", self.options.text)

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
        if not (o.text or o.template or o.chosen):
            raise UsageError("task.text is empty: it names the column with the text")
        if o.choices and not o.answer:
            raise UsageError("task.choices needs task.answer=COLUMN, which says the right one")
        options = ["other", "chosen", "rejected", "group", "difficulty", "split", "answer"]
        options += [] if o.template else ["text"]
        options += [] if o.chosen or o.answer else ["label"]
        named = {option: getattr(o, option) for option in options if getattr(o, option)}
        named |= {"id": o.id} if o.id not in ("", "row") else {}
        named |= {f"choices {n}": name.strip() for n, name in enumerate(o.choices.split(","))} if o.choices else {}
        return named | {f"template {n}": name for n, name in enumerate(fields_of(o.template)) if name != CHOICE}

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


@hookimpl
def register_tasks(register):
    """Registers the table task."""
    register("table", Table)
