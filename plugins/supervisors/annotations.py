"""Labels out of a file: people's or a model's, several to an example or none."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError, W2SError, nearest
from w2s_bench.interfaces import FitContext, Inputs
from w2s_bench.plugins.tables.reading import fingerprint, read_columns


@hookimpl
def register_supervisors(register) -> None:
    """Registers the supervisor."""
    register("annotations", Annotations)


class Annotations:
    """The share of annotators that named each class, out of a file with one annotation a row.

    A text that nobody annotated is an abstention. Texts are looked up as they are written in the task, in every split.
    With `annotator` it is one person's labels alone; several entries of a config folder, one for each, are several
    supervisors, for `dawid_skene` and its like.
    """

    kinds = frozenset({"classification"})

    @dataclass
    class Options:
        path: str = ""
        """File with the annotations, or the name of a Hugging Face dataset."""
        text: str = "text"
        """Column with the text."""
        label: str = "label"
        """Column with the class, by its name in the task; empty where an annotator gave none."""
        annotator_column: str = "annotator"
        """Column that says whose annotation a row is; read where `annotator` is set."""
        annotator: str = ""
        """Whose rows count. Empty: everybody's."""
        encoding: str = "utf-8"
        """Of a text file."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Returns sha256 of the file's content."""
        return fingerprint(self._source(), None, None)

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Reads the annotations; no truth is looked at."""
        o = self.options
        wanted = {o.text, o.label, *([o.annotator_column] if o.annotator else [])}
        columns = read_columns(self._source(), wanted, None, None, o.encoding)
        for name in sorted(wanted - set(columns.names)):
            has = f"{nearest(name, columns.names) or ';'} it has: {', '.join(columns.names)}"
            raise W2SError(f"supervisor annotations: {o.path} has no column {name!r}{has}")
        whose = columns.values[o.annotator_column] if o.annotator else [""] * len(columns.places)
        if o.annotator and o.annotator not in {str(w) for w in whose}:
            known = ", ".join(sorted({str(w) for w in whose})[:8])
            raise W2SError(f"supervisor annotations: {o.path} has no annotator {o.annotator!r}; it has {known}")
        classes = {name: k for k, name in enumerate(context.task.class_names)}
        self.n_classes = context.task.n_classes
        self.counts: dict[str, Counter[int]] = defaultdict(Counter)
        rows = zip(columns.places, columns.values[o.text], columns.values[o.label], whose, strict=True)
        for place, text, label, who in rows:
            if (o.annotator and str(who) != o.annotator) or label is None or str(label).strip() == "":
                continue
            if str(label).strip() not in classes:
                raise W2SError(
                    f"supervisor annotations: {o.path}, {columns.place} {place}: {label!r} is no class of task "
                    f"{context.task.name}; its classes are {', '.join(classes)}"
                )
            self.counts[str(text)][classes[str(label).strip()]] += 1

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns shares of votes [N, C]; a row of NaN where nobody annotated the text."""
        labels = np.full((len(inputs), self.n_classes), np.nan)
        for row, text in enumerate(inputs.text):
            if votes := self.counts.get(str(text)):
                labels[row] = [votes[c] / votes.total() for c in range(self.n_classes)]
        if len(inputs) and np.isnan(labels).all():
            raise W2SError(
                f"supervisor annotations: {self.options.path} annotates none of {len(inputs)} texts, the first of them "
                f"{str(inputs.text[0])[:60]!r}; it must have texts as they are in the task"
            )
        return labels

    def _source(self) -> str:
        if not self.options.path:
            raise UsageError("annotations needs supervisor.annotations.path=FILE (or a Hugging Face dataset name)")
        return self.options.path
