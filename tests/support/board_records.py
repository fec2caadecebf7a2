"""Writes synthetic stores whose truth is known, in the shape that runs leave behind."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_bench import cells

SETTINGS = {"version": 1, "metric": "accuracy", "sizes": {"n_test": 400}, "training": {"batch_size": 32}}


def digest(value: Any) -> str:
    """Returns 32 hex digits for a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def write_parquet(path: Path, columns: dict[str, Any]) -> str:
    """Writes a table and returns its sha256."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def write_record(
    store: Path,
    right: np.ndarray | None,
    *,
    task: dict[str, Any] | str = "facts",
    supervisors: Sequence[dict[str, Any] | str] = ("ladder_xs_0",),
    student: dict[str, Any] | str = "ladder_m",
    mitigations: Sequence[dict[str, Any] | str] = ("naive",),
    seed: int = 0,
    status: str = "ok",
    same_test: bool = False,
    scores: bool = True,
    predictions: bool = False,
    settings: dict[str, Any] | None = None,
    examples: int = 2976,
    finished: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Writes one record (and its score file) from `right` [3, n] (floor, student, ceiling); returns the record."""
    entries = [{"name": m} if isinstance(m, str) else m for m in mitigations]
    cell = {
        "task": {"name": task} if isinstance(task, str) else task,
        "supervisors": [{"name": s} if isinstance(s, str) else s for s in supervisors],
        "student": {"name": student, "tune": "full", "replicate": 0} if isinstance(student, str) else student,
        "mitigations": entries,
        "seed": seed,
    }
    protocol = settings or SETTINGS
    name = digest([cell, protocol])
    record: dict[str, Any] = {
        "schema": 1,
        "digest": name,
        "protocol": cells.digest(protocol),
        "protocol_settings": protocol,
        "suite": extra.pop("suite", None),
        "cell": cell,
        "status": status,
        "reason": None if status == "ok" else f"{status}: worker left",
        "control": extra.pop("control", False),
        "track": extra.pop("track", "weak-labels-only"),
        "test": None,
        "transfer": None,
        "pgr": None,
        "cost": {"seconds": 1.5, "device": "cpu", "steps": 93, "examples": examples, "tokens": 12 * examples,
                 "peak_memory_bytes": 10**8, "flops": 10**10, "supervisor_calls": 0,
                 "stages": {"supervise": {"seconds": 2.0, "cached": True}}},
        "provenance": {"w2s_bench": "0.1.0", "git": {"commit": "0" * 40, "dirty": False}, "python": "3.11",
                       "torch": "2.13", "plugins": [], "task_fingerprint": "f", "backbones": {}, "host": {},
                       "finished": finished or f"2026-11-20T10:00:{seed % 60:02d}Z",
                       "command": f"w2s run task=facts seed={seed}"},
        "predictions": None,
        "scores": None,
    }  # fmt: skip
    if right is not None:
        right = np.asarray(right, dtype=int)
        n = right.shape[1]
        ids = [f"t{i}" if same_test else f"s{seed}-t{i}" for i in range(n)]
        counts = np.bincount(right[0] * 4 + right[1] * 2 + right[2], minlength=8)
        accuracy = right.mean(1)
        gap = accuracy[2] - accuracy[0]
        record["pgr"] = None if gap == 0 else float((accuracy[1] - accuracy[0]) / gap)
        record["test"] = {
            "n": n,
            "same_for_all_seeds": same_test,
            **{
                who: {"accuracy": float(a), "auroc": 0.8, "log_loss": 0.5, "ece": 0.03}
                for who, a in zip(("floor", "student", "ceiling"), accuracy, strict=True)
            },
            "agreement": {
                "all": float((right[0] == right[1]).mean()),
                "supervisor_right": 0.9,
                "supervisor_wrong": 0.5,
            },
            "joint": {f"{k:03b}": int(c) for k, c in enumerate(counts)},
        }
        record["test"]["student"]["predicted_rates"] = [0.25, 0.75]
        record["transfer"] = {"n": 3000, "label_accuracy": 0.7, "student_accuracy": 0.8}
        if predictions:
            p = np.where(right[1] == 1, 0.8, 0.3).astype(np.float32)
            columns = {"split": ["test"] * n, "id": ids, "p_student": [[float(1 - x), float(x)] for x in p]}
            sha = write_parquet(store / "predictions" / f"{name}.parquet", columns)
            record["predictions"] = {"path": f"predictions/{name}.parquet", "sha256": sha}
        if scores:
            columns = {"id": ids, **dict(zip(("floor", "student", "ceiling"), right.astype(np.int8), strict=True))}
            sha = write_parquet(store / "scores" / f"{name}.parquet", columns)
            record["scores"] = {"path": f"scores/{name}.parquet", "sha256": sha}
    record |= extra
    path = store / "records" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, sort_keys=True))
    return record


def write_store(
    store: Path,
    truths: dict[str, float],
    *,
    seeds: int = 5,
    n: int = 400,
    floor: float = 0.65,
    ceiling: float = 0.9,
    noise: float = 0.01,
    groups: Sequence[tuple[str, str, str]] = (("facts", "ladder_xs_0", "ladder_m"),),
    same_test: bool = False,
    start: int = 0,
    **extra: Any,
) -> None:
    """Writes a whole store: students of true PGR `truths`, by stack (`a+b`), in each (task, supervisor, student)."""
    for task, supervisor, student in groups:
        rng = _generator(start, task, supervisor, student)
        hard = rng.uniform(size=n)
        for seed in range(seeds):
            u = hard if same_test else rng.uniform(size=n)
            weak = u < rng.normal(floor, noise)
            strong = u < rng.normal(ceiling, noise)
            for stack, pgr in truths.items():
                own_rng = _generator(start, task, supervisor, student, stack, seed)
                level = floor + pgr * (ceiling - floor) + own_rng.normal(0, noise)
                own = (0.6 * u + 0.4 * own_rng.uniform(size=n)).argsort().argsort() / n < level
                write_record(
                    store,
                    np.stack([weak, own, strong]),
                    task=task,
                    supervisors=(supervisor,),
                    student=student,
                    mitigations=stack.split("+"),
                    seed=start + seed,
                    same_test=same_test,
                    **extra,
                )


def _generator(*key: Any) -> np.random.Generator:
    return np.random.default_rng(int(digest([str(k) for k in key]), 16))


TRUTHS = {"naive": 0.4, "aux_confidence": 0.7, "gce": 0.45, "gce+aux_confidence": 0.6}
PAIRS = [
    ("facts", "ladder_xs_0", "ladder_m"),
    ("facts", "ladder_s_0", "ladder_m"),
    ("facts", "ladder_xs_0", "ladder_l"),
]


def write_small_suite(path: Path) -> Path:
    """Returns a store of three pairs, with a stack, a control that behaves and a costly mitigation."""
    write_store(path, TRUTHS, groups=PAIRS, suite="quick", n=300)
    write_store(path, {"majority": -0.6}, groups=PAIRS, suite="quick", n=300, control=True)
    write_store(path, {"bootstrapping": 0.6}, groups=PAIRS, suite="quick", n=300, examples=9000)
    return path


def write_varied_suite(path: Path) -> Path:
    """A suite that varies an option of its student, with two students at each value."""
    for saliency in (0.0, 0.3):
        for checkpoint in (0, 1):
            student = {"name": "ladder", "saliency": saliency, "checkpoint": checkpoint}
            for seed in range(3):
                for k, stack in enumerate(("naive", "gce")):
                    right = [[0, 1, 0, 1] * 50, [1, 1, 0, k] * 50, [1, 1, 1, int(seed > 0)] * 50]
                    write_record(path, right, student=student, mitigations=[stack], seed=seed)
    (path / "suites").mkdir()
    cells = [p.stem for p in (path / "records").iterdir()]
    (path / "suites" / "saliency.json").write_text(json.dumps({"cells": cells, "varies": "student.saliency"}))
    return path
