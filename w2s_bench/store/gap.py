"""The gap between floor and ceiling: without one there is no PGR, and a sentence says why and what to raise."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

FEW_STEPS = 50
"""With fewer steps the number of steps is what to raise first, with more the learning rate."""


def no_gap_in(record: dict[str, Any]) -> str | None:
    """Returns why a finished record has no PGR, in a sentence; None where its ceiling exceeds its floor."""
    metric = (record.get("protocol_settings") or {}).get("metric", "accuracy")
    floor, ceiling = ((record["test"].get(side) or {}).get(metric) for side in ("floor", "ceiling"))
    if not (_is_number(floor) and _is_number(ceiling)):
        return None
    return no_gap(floor, ceiling, ceiling_steps(record), None if "imported" in record else record["cell"]["student"])


def no_gap(floor: float, ceiling: float, steps: int | None, student: dict[str, Any] | None) -> str | None:
    """Returns that the ceiling is not above the floor, after how many steps, and what to raise; None where it is above.

    `student` is a record's, with its options, None for results of other tools; `steps` is None where nobody knows.
    """
    if ceiling > floor:
        return None
    relation = "is below" if ceiling < floor else "equals"
    after = "" if steps is None else f" after {steps} step{'s' * (steps != 1)} on the true labels"
    sentence = f"the ceiling ({ceiling:.3f}) {relation} the floor ({floor:.3f}){after}"
    if student is None:
        return sentence
    *others, last = _levers(steps, student)
    return f"{sentence}; raise {', '.join(others)} or {last}"


def _levers(steps: int | None, student: dict[str, Any]) -> list[str]:
    more = ["task.n_transfer (more examples)", "protocol.training.epochs"]
    rates = ["student.head_lr"] if student.get("tune") == "probe" else ["student.head_lr", "student.body_lr"]
    faster = [f"{r} (now {student[r[8:]]:g})" for r in rates if _is_number(student.get(r[8:]))]
    return [*more, *faster] if steps is not None and steps < FEW_STEPS else [*faster, *more]


def ceiling_steps(record: dict[str, Any]) -> int | None:
    """Returns how many optimiser steps the ceiling took; naive takes as many, which serves for records that lack it."""
    cost = record.get("cost") or {}
    steps = ((cost.get("stages") or {}).get("ceiling") or {}).get("steps")
    if steps is None and [m["name"] for m in record["cell"]["mitigations"]] == ["naive"]:
        steps = cost.get("steps")
    return int(steps) if _is_number(steps) else None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
