"""What a supervisor must keep to. The docstring of a check is what it expects."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench.conformance.findings import Failed, Skipped, once
from w2s_bench.conformance.settings import RECIPE, SEED, Place, Placed
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import FitContext, Inputs

PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How a pickle begins."""
COMPANY = "keep nothing of a batch but the text itself"


class Subject(Placed):
    """A supervisor, fitted on the first task that it reads."""

    @once
    def fitted(self) -> tuple[Place, Any]:
        """Returns the place and the fitted object; skipped where it asks for an option first."""
        try:
            return self.first_that_reads(lambda place: (place, self.fit(place)))
        except UsageError as needs:
            raise Skipped(str(needs)) from None

    def fit(self, place: Place) -> Any:
        """Returns a fresh object after `fit`, with the global streams as a worker seeds them."""
        from w2s_bench.conformance.trial import streams

        made, split = self.entry.build(self.options), place.splits["supervision"]
        with streams(SEED):
            made.fit(split.inputs, np.array(split.truth), self.context(place))
        return made

    def context(self, place: Place) -> FitContext:
        """Returns what comes with the examples."""
        return FitContext(place.task, SEED, RECIPE)

    @once
    def votes(self) -> np.ndarray:
        """Returns what it says of the test split."""
        place, made = self.fitted
        return np.asarray(made.label(place.splits["test"].inputs))

    def label(self, made: Any, inputs: Inputs) -> np.ndarray:
        """Returns votes of the same shape as `votes`, for comparison."""
        return np.asarray(made.label(inputs), dtype=np.float64)


def labels(subject: Subject) -> str:
    """It is fitted on the supervision split, and labels [N, C]."""
    place, _ = subject.fitted
    shape = (len(place.splits["test"].inputs), place.task.n_classes)
    votes = subject.votes
    if votes.shape != shape or votes.dtype.kind != "f":
        raise Failed(f"{votes.dtype} {list(votes.shape)} came where floats {list(shape)} were due", "return [N, C]")
    return f"on the task {place.task.name}"


def probabilities(subject: Subject) -> str:
    """Each row of votes is probabilities, or all NaN to abstain."""
    votes = np.asarray(subject.votes, dtype=np.float64)
    silent = np.isnan(votes).all(-1)
    said = votes[~silent]
    wrong = ~np.isfinite(said).all(-1) | (said < -1e-6).any(-1) | (abs(said.sum(-1) - 1) > 1e-3)
    if wrong.any():
        row = [round(float(p), 4) for p in said[wrong][0]]
        raise Failed(f"{int(wrong.sum())} of {len(votes)} rows are not, such as {row}", "divide each row by its sum")
    return f"{int(silent.sum())} of {len(votes)} abstain"


def same_seed(subject: Subject) -> None:
    """Fitted twice with one seed it votes the same, bit for bit."""
    place, _ = subject.fitted
    _compare(subject.votes, subject.label(subject.fit(place), place.splits["test"].inputs), "draw from context.seed")


def each_text_alone(subject: Subject) -> None:
    """What it says of a text does not depend on the others."""
    place, made = subject.fitted
    inputs = place.splits["test"].inputs
    order = np.random.default_rng(0).permutation(len(inputs))[: len(inputs) // 2]
    _compare(subject.votes[order], subject.label(made, inputs.take(order)), COMPANY, close=1e-4)
    for row in order[:4]:
        _compare(subject.votes[[row]], subject.label(made, inputs.take([row])), COMPANY, close=1e-4)


def saves(subject: Subject) -> str:
    """Saved and restored it votes the same, without pickle."""
    place, made = subject.fitted
    offered = [what for what in ("save", "restore") if callable(getattr(made, what, None))]
    if len(offered) == 1:
        lacking = "restore" if offered == ["save"] else "save"
        raise Failed(f"it has `{offered[0]}` and no `{lacking}`", f"write `{lacking}` too, or neither")
    if not offered:
        raise Skipped("it offers no save and restore, so no mitigation can ask it during training")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made.save(folder)
        files = [f for f in sorted(folder.rglob("*")) if f.is_file()]
        for file in files:
            start = file.read_bytes()[:4096]
            if start.startswith(PICKLES) or b"data.pkl" in start:
                raise Failed(f"{file.name} is a pickle", "write JSON, npz without objects, or safetensors")
        again = subject.entry.build(subject.options)
        again.restore(folder, subject.context(place))
        votes = subject.label(again, place.splits["test"].inputs)
        _compare(subject.votes, votes, "save all that `label` rests on", close=1e-6)
        return ", ".join(f.name for f in files) or "nothing was needed"


def rewards(subject: Subject) -> None:
    """Its reward is one finite number for each answer."""
    place, made = subject.fitted
    if not callable(getattr(made, "reward", None)):
        raise Skipped("it offers no reward")
    inputs = place.splits["test"].inputs
    given = np.asarray(made.reward(inputs, np.zeros(len(inputs), dtype=np.int64)))
    if given.shape != (len(inputs),) or given.dtype.kind not in "fiu" or not np.isfinite(given).all():
        raise Failed(f"{given.dtype} {list(given.shape)} came, finite or not", f"return {len(inputs)} finite floats")


def corrects(subject: Subject) -> str:
    """It corrects to class numbers, or -1 to abstain."""
    place, made = subject.fitted
    if not callable(getattr(made, "correct", None)):
        raise Skipped("it offers no correct")
    inputs = place.splits["test"].inputs
    answers = np.arange(len(inputs)) % place.task.n_classes
    given = np.asarray(made.correct(inputs, answers))
    if given.shape != (len(inputs),) or given.dtype.kind not in "iu":
        raise Failed(f"{given.dtype} {list(given.shape)} came", f"return {len(inputs)} whole numbers")
    if given.min() < -1 or given.max() >= place.task.n_classes:
        raise Failed(f"{int(given.min())} to {int(given.max())} came", f"return -1 to {place.task.n_classes - 1}")
    kept, open_ = int((given == answers).sum()), int((given < 0).sum())
    return f"{kept} accepted, {len(given) - kept - open_} corrected, {open_} left open"


CHECKS = (
    labels, probabilities, same_seed, each_text_alone, saves, rewards, corrects
)  # fmt: skip


def _compare(one: np.ndarray, two: np.ndarray, remedy: str, close: float = 0.0) -> None:
    if one.shape != two.shape:
        raise Failed(f"{list(one.shape)} came, then {list(two.shape)}", remedy)
    differ = ~np.isclose(one, two, rtol=0.0, atol=close, equal_nan=True).all(-1)
    if differ.any():
        largest = float(np.nanmax(abs(np.asarray(one, dtype=np.float64) - two)))
        raise Failed(f"{int(differ.sum())} of {len(one)} rows differ, by up to {largest:.2g}", remedy)
