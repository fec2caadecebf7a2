"""What a supervisor must keep to, on each kind of task that it serves. A check's docstring is what it expects."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.conformance.findings import Failed, Noted, Skipped, once
from w2s_bench.conformance.general import shape_of
from w2s_bench.conformance.places import RECIPE, SEED, Place, Placed
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

        def trying(place: Place) -> tuple[Place, Any]:
            made = self.fit(place)
            if callable(getattr(made, "answer" if place.task.kind == "generation" else "label", None)):
                self.vote(
                    made, place.splits["test"].inputs.take(range(4)), place
                )  # one made of rules reads nothing before
            return place, made

        try:
            return self.first_that_reads(trying)
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
        sees = "truth" in getattr(self.entry.cls, "needs", ())
        truths = (
            {i: int(c) for s in place.splits.values() for i, c in zip(s.inputs.ids, s.truth, strict=True)}
            if sees
            else None
        )
        return FitContext(place.task, SEED, RECIPE, truth=truths)

    @once
    def votes(self) -> np.ndarray:
        """Returns its votes on the test split: [N, C], or texts [N] in a generation task."""
        place, made = self.fitted
        return self.vote(made, place.splits["test"].inputs, place)

    @property
    def writes(self) -> bool:
        """Whether its votes are texts."""
        return self.fitted[0].task.kind == "generation"

    def vote(self, made: Any, inputs: Inputs, place: Place | None = None) -> np.ndarray:
        """Returns the votes of a fitted object on these inputs."""
        writes = self.writes if place is None else place.task.kind == "generation"
        return np.asarray(made.answer(inputs) if writes else made.label(inputs))


def labels(subject: Subject) -> str:
    """It is fitted on the supervision split, and labels [N, C]; in a generation task it answers [N] texts."""
    place, made = subject.fitted
    if not callable(getattr(made, "answer" if subject.writes else "label", None)):
        lacking, kind = "answer" if subject.writes else "label", place.task.kind
        raise Failed(f"it has no `{lacking}`", f"write `{lacking}`, or leave {kind} out of its `kinds`")
    votes, n = subject.votes, len(place.splits["test"].inputs)
    if subject.writes:
        if votes.shape != (n,) or votes.dtype.kind != "U":
            raise Failed(f"{votes.dtype} {list(votes.shape)} came where {n} texts were due", "return an array of str")
        return f"on the task {place.task.name}"
    shape = (n, place.task.n_classes)
    if votes.shape != shape or votes.dtype.kind != "f":
        raise Failed(f"{votes.dtype} {list(votes.shape)} came where floats {list(shape)} were due", "return [N, C]")
    return f"on the task {place.task.name}"


def probabilities(subject: Subject) -> str:
    """Each row of votes is probabilities, or all NaN to abstain; of texts, not all are empty."""
    votes = subject.votes
    if subject.writes:
        abstained = votes == ""
        if abstained.all():
            raise Noted("all are", "see that it learns something from a hundred examples")
        return f"{int(abstained.sum())} of {len(votes)} abstain"
    abstained = np.isnan(votes).all(-1)
    wrong = exchange.improbable_rows(votes) & ~abstained
    if wrong.any():
        row = [round(float(p), 4) for p in votes[wrong][0]]
        raise Failed(f"{int(wrong.sum())} of {len(votes)} rows are not, such as {row}", "divide each row by its sum")
    return f"{int(abstained.sum())} of {len(votes)} abstain"


def same_seed(subject: Subject) -> None:
    """Fitted twice with one seed it votes the same, bit for bit."""
    place, _ = subject.fitted
    _compare(subject.votes, subject.vote(subject.fit(place), place.splits["test"].inputs), "draw from context.seed")


def each_text_alone(subject: Subject) -> None:
    """What it says of a text does not depend on the others."""
    place, made = subject.fitted
    inputs = place.splits["test"].inputs
    order = np.random.default_rng(0).permutation(len(inputs))[: len(inputs) // 2]
    _compare(subject.votes[order], subject.vote(made, inputs.take(order)), COMPANY, close=1e-4)
    for row in order[:4]:
        _compare(subject.votes[[row]], subject.vote(made, inputs.take([row])), COMPANY, close=1e-4)


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
        votes = subject.vote(again, place.splits["test"].inputs)
        _compare(subject.votes, votes, "save all that `label` rests on", close=1e-6)
        return ", ".join(f.name for f in files) or "nothing was needed"


def rewards(subject: Subject) -> None:
    """Its reward is one finite number for each answer."""
    place, made = subject.fitted
    if not callable(getattr(made, "reward", None)):
        raise Skipped("it offers no reward")
    inputs = place.splits["test"].inputs
    rewards = np.asarray(made.reward(inputs, _answers(subject)))
    if rewards.shape != (len(inputs),) or rewards.dtype.kind not in "fiu" or not np.isfinite(rewards).all():
        raise Failed(
            f"{rewards.dtype} {list(rewards.shape)} came, finite or not", f"return {len(inputs)} finite floats"
        )


def corrects(subject: Subject) -> str:
    """It corrects to class numbers, or -1 to abstain; texts to texts, or an empty one."""
    place, made = subject.fitted
    if not callable(getattr(made, "correct", None)):
        raise Skipped("it offers no correct")
    inputs = place.splits["test"].inputs
    answers = _answers(subject)
    verdicts = np.asarray(made.correct(inputs, answers))
    kinds, what = ("U", "texts") if subject.writes else ("iu", "whole numbers")
    if verdicts.shape != (len(inputs),) or verdicts.dtype.kind not in kinds:
        raise Failed(f"{verdicts.dtype} {list(verdicts.shape)} came", f"return {len(inputs)} {what}")
    if not subject.writes and (verdicts.min() < -1 or verdicts.max() >= place.task.n_classes):
        raise Failed(f"{int(verdicts.min())} to {int(verdicts.max())} came", f"return -1 to {place.task.n_classes - 1}")
    kept, left = int((verdicts == answers).sum()), int((verdicts == "" if subject.writes else verdicts < 0).sum())
    return f"{kept} accepted, {len(verdicts) - kept - left} corrected, {left} left open"


def shape(subject: Subject) -> str:
    """Its shape, where it tells one, is of whole positive numbers."""
    made = shape_of(subject)
    return "it tells none" if made is None else f"{made.weights} weights"


CHECKS = (labels, probabilities, same_seed, each_text_alone, saves, rewards, corrects, shape)
OF_A_KIND = CHECKS[:-1]
"""What depends on the kind of task."""


def _answers(subject: Subject) -> np.ndarray:
    """Returns answers [N] to the test split: classes in turn, or the truths of other examples."""
    place, _ = subject.fitted
    split = place.splits["test"]
    if subject.writes:
        return np.roll(np.asarray(split.truth), 1)
    return np.arange(len(split.inputs)) % place.task.n_classes


def _compare(one: np.ndarray, two: np.ndarray, remedy: str, close: float = 0.0) -> None:
    if one.shape != two.shape or one.dtype.kind != two.dtype.kind:
        raise Failed(f"{one.dtype} {list(one.shape)} came, then {two.dtype} {list(two.shape)}", remedy)
    if one.dtype.kind == "U" or two.dtype.kind == "U":
        if (one != two).any():
            raise Failed(f"{int((one != two).sum())} of {len(one)} answers differ", remedy)
        return
    differ = ~np.isclose(one, two, rtol=0.0, atol=close, equal_nan=True).all(-1)
    if differ.any():
        largest = float(np.nanmax(abs(np.asarray(one, dtype=np.float64) - two)))
        raise Failed(f"{int(differ.sum())} of {len(one)} rows differ, by up to {largest:.2g}", remedy)
