"""The toy task, supervisor and student of each kind of task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from w2s_bench.conformance.toy import ToyPairs, ToyStudent, ToySupervisor, ToyTask
from w2s_bench.conformance.toy_answers import ToyAnswers, ToyAnswerSupervisor, ToyWriter


@dataclass(frozen=True)
class Toys:
    """The toy task, supervisor and student of one kind of task."""

    task: Any
    supervisor: Any
    student: Any


def toys_of(kind: str) -> Toys:
    """Returns the toys of a kind of task."""
    return {
        "classification": Toys(ToyTask, ToySupervisor, ToyStudent),
        "preference": Toys(ToyPairs, ToySupervisor, ToyStudent),
        "generation": Toys(ToyAnswers, ToyAnswerSupervisor, ToyWriter),
    }[kind]
