"""From predictions, votes and truth to a record. No torch, no files but those of the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from w2s_bench.referee.disagreement import disagreement

Metric = Callable[[np.ndarray, np.ndarray], float]


Check = Callable[[str, str, str], bool]


@dataclass(frozen=True)
class Answers:
    """What is to be scored: probabilities [N, C], where rows of NaN are abstentions of a supervisor.

    In a generation task texts [N] throughout, an empty one to abstain, and `check(answer, truth, text)` says which are
    right.
    """

    test_truth: np.ndarray
    transfer_truth: np.ndarray
    floors: list[np.ndarray]
    """Test votes of each supervisor; the first is the reference."""
    labels: np.ndarray
    """The reference supervisor's votes on transfer."""
    validation_labels: np.ndarray
    """The same on validation, whose truth plays no part."""
    student: np.ndarray
    student_on_transfer: np.ndarray
    student_on_validation: np.ndarray
    ceiling: np.ndarray
    check: Check | None = None
    test_texts: Sequence[str] = ()
    transfer_texts: Sequence[str] = ()
    """What was asked, for `check`."""

    def right(self, predictions: np.ndarray, split: str = "test") -> np.ndarray:
        """Returns which of these answers [N] to a split are right."""
        truth = self.test_truth if split == "test" else self.transfer_truth
        if self.check is None:
            return chosen(predictions) == truth
        texts = self.test_texts if split == "test" else self.transfer_texts
        asked = zip(predictions.tolist(), truth.tolist(), texts, strict=True)
        return np.array([bool(self.check(answer, true, text)) for answer, true, text in asked])


def decided(votes: np.ndarray) -> np.ndarray:
    """Returns the votes with abstentions as uniform probabilities, which argmax gives to the lowest class."""
    votes = np.asarray(votes, dtype=np.float64)
    return np.where(np.isnan(votes).any(axis=1, keepdims=True), 1.0 / votes.shape[1], votes)


def chosen(predictions: np.ndarray) -> np.ndarray:
    """Returns the answers [N]: the likeliest class of probabilities [N, C], texts as they are."""
    return predictions if predictions.dtype.kind == "U" else decided(predictions).argmax(axis=1)


def has_voted(votes: np.ndarray) -> np.ndarray:
    """Returns where a supervisor did not abstain [N]."""
    return votes != "" if votes.dtype.kind == "U" else ~np.isnan(votes).any(axis=1)


def score(answers: Answers, metrics: Mapping[str, Metric], metric: str, same_for_all_seeds: bool) -> dict[str, Any]:
    """Returns the record's `test`, `transfer`, `validation` and `pgr`; the gap is measured in `metric`.

    Answers in words have no probabilities: accuracy is all that is measured of them.
    """
    truth = answers.test_truth
    sides = _sides(answers)
    right = right_of(answers)
    if answers.check is None:
        measured = {side: measure(decided(predictions), truth, metrics) for side, predictions in sides.items()}
        rates = np.bincount(chosen(answers.student), minlength=answers.student.shape[1]) / len(truth)
        measured["student"]["predicted_rates"] = rates.tolist()
    else:
        measured = {side: {"accuracy": float(r.mean())} for side, r in right.items()}
    agrees = chosen(answers.student) == chosen(answers.floors[0])
    code = right["floor"] * 4 + right["student"] * 2 + right["ceiling"]
    joint = np.bincount(code, minlength=8)
    test = {
        "n": len(truth),
        "same_for_all_seeds": same_for_all_seeds,
        **measured,
        "agreement": {
            "all": _mean(agrees),
            "supervisor_right": _mean(agrees[right["floor"] == 1]),
            "supervisor_wrong": _mean(agrees[right["floor"] == 0]),
        },
        "joint": {f"{k:03b}": int(n) for k, n in enumerate(joint)},
    }
    if len(answers.floors) > 1:
        each = np.stack([answers.right(predictions) for predictions in answers.floors])
        voted = np.stack([has_voted(predictions) for predictions in answers.floors])
        apart = disagreement(np.stack([chosen(p) for p in answers.floors]), each, voted)
        test["supervisors"] = {"mean": float(each.mean()), "best": float(each.mean(axis=1).max()), **apart}
    labelled, learnt = (answers.right(a, "transfer") for a in (answers.labels, answers.student_on_transfer))
    transfer = {
        "n": len(answers.transfer_truth),
        "label_accuracy": _mean(labelled),
        "student_accuracy": _mean(learnt),
        "student_accuracy_label_wrong": _mean(learnt[~labelled]),
    }
    pgr = recovered(*(measured[side][metric] for side in ("floor", "student", "ceiling")))
    validation = like_weak(answers.student_on_validation, answers.validation_labels)
    return {"test": test, "transfer": transfer, "validation": validation, "pgr": pgr}


def like_weak(student: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Returns how like a supervisor's labels the student is, where there are any: `n`, `agreement`, `log_loss`.

    The log-loss is the student's cross-entropy under soft labels, probabilities not below 1e-7; None for texts.
    """
    voted = has_voted(labels)
    student, labels = student[voted], labels[voted]
    loss = None
    if labels.dtype.kind != "U" and len(labels):
        loss = float(-(labels * np.log(np.clip(student, 1e-7, 1.0))).sum(axis=1).mean())
    return {"n": len(labels), "agreement": _mean(chosen(student) == chosen(labels)), "log_loss": loss}


def right_of(answers: Answers) -> dict[str, np.ndarray]:
    """Returns for floor, student and ceiling which test examples [N] each got right, as 0 and 1."""
    return {side: answers.right(predicted).astype(np.int64) for side, predicted in _sides(answers).items()}


def _sides(answers: Answers) -> dict[str, np.ndarray]:
    return {"floor": answers.floors[0], "student": answers.student, "ceiling": answers.ceiling}


def measure(probabilities: np.ndarray, truth: np.ndarray, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Returns each metric's value, None where it is not defined here."""
    out: dict[str, Any] = {}
    for name, metric in metrics.items():
        value = float(metric(probabilities, truth))
        out[name] = value if math.isfinite(value) else None
    return out


def recovered(floor: float | None, student: float | None, ceiling: float | None) -> float | None:
    """Returns (student - floor) / (ceiling - floor); None where the ceiling is not above the floor.

    Whether the gap is more than chance is for the board to say.
    """
    if floor is None or student is None or ceiling is None or ceiling <= floor:
        return None
    return (student - floor) / (ceiling - floor)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
