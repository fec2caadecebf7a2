"""From predictions, votes and truth to a record. No torch, no files but those of the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Answers:
    """What stands to be scored, probabilities [N, C] throughout; rows of NaN are abstentions of a supervisor."""

    test_truth: np.ndarray
    transfer_truth: np.ndarray
    floors: list[np.ndarray]
    """Test votes of each supervisor; the first is the reference."""
    labels: np.ndarray
    """The reference supervisor's votes on transfer."""
    student: np.ndarray
    student_on_transfer: np.ndarray
    ceiling: np.ndarray


def decided(votes: np.ndarray) -> np.ndarray:
    """Returns the votes with abstentions as uniform probabilities, which argmax gives to the lowest class."""
    votes = np.asarray(votes, dtype=np.float64)
    return np.where(np.isnan(votes).any(axis=1, keepdims=True), 1.0 / votes.shape[1], votes)


def score(answers: Answers, metrics: Mapping[str, Metric], metric: str, same_for_all_seeds: bool) -> dict[str, Any]:
    """Returns the record's `test`, `transfer` and `pgr`; the gap is measured in `metric`."""
    truth = answers.test_truth
    floor, student = decided(answers.floors[0]), answers.student.astype(np.float64)
    ceiling = answers.ceiling.astype(np.float64)
    sides = {"floor": floor, "student": student, "ceiling": ceiling}
    measured = {side: measure(p, truth, metrics) for side, p in sides.items()}
    right = right_of(answers)
    classes = student.shape[1]
    predicted = student.argmax(axis=1)
    agrees = predicted == floor.argmax(axis=1)
    code = right["floor"] * 4 + right["student"] * 2 + right["ceiling"]
    joint = np.bincount(code, minlength=8)
    measured["student"]["predicted_rates"] = (np.bincount(predicted, minlength=classes) / len(truth)).tolist()
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
        each = [float((decided(votes).argmax(axis=1) == truth).mean()) for votes in answers.floors]
        test["supervisors"] = {"mean": float(np.mean(each)), "best": max(each)}
    transfer = {
        "n": len(answers.transfer_truth),
        "label_accuracy": _mean(decided(answers.labels).argmax(axis=1) == answers.transfer_truth),
        "student_accuracy": _mean(answers.student_on_transfer.argmax(axis=1) == answers.transfer_truth),
    }
    pgr = recovered(*(measured[side][metric] for side in ("floor", "student", "ceiling")))
    return {"test": test, "transfer": transfer, "pgr": pgr}


def right_of(answers: Answers) -> dict[str, np.ndarray]:
    """Returns for floor, student and ceiling which test examples [N] each got right, as 0 and 1."""
    sides = {"floor": decided(answers.floors[0]), "student": answers.student, "ceiling": answers.ceiling}
    return {side: (p.argmax(axis=1) == answers.test_truth).astype(np.int64) for side, p in sides.items()}


def measure(probabilities: np.ndarray, truth: np.ndarray, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Returns each metric's value, None where it is not defined here."""
    out: dict[str, Any] = {}
    for name, metric in metrics.items():
        value = float(metric(probabilities, truth))
        out[name] = value if math.isfinite(value) else None
    return out


def recovered(floor: float | None, student: float | None, ceiling: float | None) -> float | None:
    """Returns (student - floor) / (ceiling - floor); None without a gap. Whether a gap is one is for the board."""
    if floor is None or student is None or ceiling is None or ceiling == floor:
        return None
    return (student - floor) / (ceiling - floor)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
