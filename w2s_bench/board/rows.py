"""What a row tells beside accuracy: what the student learnt from whom, calibration, cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from w2s_bench.store.gap import ceiling_steps, no_gap
from w2s_bench.store.records import JOINT, JOINT_BITS, Record


def mean_of(values: Iterable[Any]) -> float | None:
    """Returns the mean of those that are numbers, None where none is."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and np.isfinite(v)]
    return float(np.mean(numbers)) if numbers else None


def imitation_of(records: list[Record]) -> dict[str, Any] | None:
    """Returns how far the student repeats its supervisor, beside the ceiling, which never saw it; means over seeds.

    `keeps` and `corrects`: accuracy where the reference supervisor is right and where it is wrong. `agreement`: share
    of equal answers. `ceiling_*`: the same for the ceiling. `wrong_labels`: accuracy on transfer examples whose weak
    label is wrong.
    """
    joints = [[r.test["joint"].get(k, 0) for k in JOINT] for r in records if r.test.get("joint")]
    shares: dict[str, float | None] = {}
    if joints:
        counts = np.array(joints, dtype=float)  # [R, 8]
        floor, student, ceiling = JOINT_BITS.T
        for name, who in (("", student), ("ceiling_", ceiling)):
            shares[f"{name}keeps"] = mean_of(_share(counts, who, floor == 1))
            shares[f"{name}corrects"] = mean_of(_share(counts, who, floor == 0))
    agreements = [r.test.get("agreement") or {} for r in records]
    agreement = {k: mean_of(t.get(k) for t in agreements) for k in ("all", "supervisor_right", "supervisor_wrong")}
    transfer = [r.raw.get("transfer") or {} for r in records]
    shares |= {
        "label_accuracy": mean_of(t.get("label_accuracy") for t in transfer),
        "transfer_accuracy": mean_of(t.get("student_accuracy") for t in transfer),
        "wrong_labels": mean_of(t.get("student_accuracy_label_wrong") for t in transfer),
    }
    imitation = {"agreement": agreement, **shares}
    return imitation if any(v is not None for v in [*agreement.values(), *shares.values()]) else None


def _share(counts: np.ndarray, right: np.ndarray, where: np.ndarray) -> np.ndarray:
    within = counts[:, where].sum(1)
    return (counts @ (right * where))[within > 0] / within[within > 0]


def disagreement_of(records: list[Record]) -> dict[str, Any] | None:
    """Returns how far the supervisors err together (`kappa`, `double_fault`, `effective`), means over seeds."""
    each = [r.test.get("supervisors") or {} for r in records]
    apart = {k: mean_of(s.get(k) for s in each) for k in ("kappa", "double_fault", "effective")}
    return apart if any(v is not None for v in apart.values()) else None


def quality_of(records: list[Record]) -> dict[str, Any] | None:
    """Returns AUROC, log-loss and calibration error of floor, student and ceiling, means over seeds."""
    out = {}
    for who in ("floor", "student", "ceiling"):
        qualities = [r.test.get(who) or {} for r in records]
        out[who] = {k: mean_of(g.get(k) for g in qualities) for k in ("auroc", "log_loss", "ece")}
    return out if any(v is not None for each in out.values() for v in each.values()) else None


def cost_of(records: list[Record], naive: list[Record]) -> dict[str, Any] | None:
    """Returns mean cost of a cell, and relative to naive's cells of the same seeds on the same device."""
    costs = [r.raw.get("cost") or {} for r in records]
    if not any(costs):
        return None
    devices = sorted({str(c["device"]) for c in costs if c.get("device")})
    out: dict[str, Any] = {"device": devices}
    for key in ("seconds", "steps", "examples", "tokens", "flops", "supervisor_calls", "peak_memory_bytes"):
        out[key] = mean_of(c.get(key) for c in costs)
    seeds = {r.seed for r in records}
    base = [r.raw.get("cost") or {} for r in naive if r.seed in seeds]
    alike = devices == sorted({str(c["device"]) for c in base if c.get("device")})
    for key in ("seconds", "examples"):
        mean, other = out[key], mean_of(c.get(key) for c in base)
        comparable = mean is not None and other and (alike or key != "seconds")
        out[f"{key}_over_naive"] = mean / other if comparable and mean is not None and other else None
    return out


def no_gap_of(row: dict[str, Any], records: list[Record]) -> dict[str, str]:
    """Returns `no_gap`, a sentence, for a row whose ceiling is not above its floor; nothing for others."""
    steps = next((s for r in records if (s := ceiling_steps(r.raw)) is not None), None)
    student = None if row["imported"] else records[0].cell["student"]
    sentence = no_gap(row["floor"]["mean"], row["ceiling"]["mean"], steps, student)
    return {"no_gap": sentence} if sentence else {}


def group_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Returns what a row's mitigation is compared within: task, supervisors, student, value of the varied setting."""
    return row["task"], tuple(row["supervisors"]), row["student"], tuple((row.get("varied") or {}).items())


def pareto(rows: list[dict[str, Any]]) -> None:
    """Marks in each group the whole rows that no other beats in accuracy at no more cost (`pareto`)."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((*group_of(row), row["track"]), []).append(row)
    for members in groups.values():
        known = [
            r for r in members if r["student_accuracy"] and r["cost"] and r["cost"]["examples"] is not None
            and r["status"] != "incomplete" and not r["control"]
        ]  # fmt: skip
        for row in members:
            row["pareto"] = row in known and not any(_beats(other, row) for other in known)


def _beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    gain = one["student_accuracy"]["mean"] - other["student_accuracy"]["mean"]
    saved = _price(other) - _price(one)
    return gain >= 0 and saved >= 0 and (gain > 0 or saved > 0)


def _price(row: dict[str, Any]) -> float:
    return float(row["cost"]["examples"])
