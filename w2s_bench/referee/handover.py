"""What the referee puts into a worker's folder, and the checks on what comes back.

A worker gets label-free inputs, and beyond them exactly this: supervise the truth of the supervision split, ceiling
that of the transfer split, train the votes and what the supervisors saved of themselves.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.cells import Entry, Run
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import TaskInfo
from w2s_bench.jobs import Job
from w2s_bench.referee.plan import Stage
from w2s_bench.store.paths import is_local_path

INPUTS = {
    "supervise": ("supervision", "transfer", "validation", "test"),
    "ceiling": ("transfer", "test"),
    "train": ("transfer", "validation", "test"),
}
TRUTH = {"supervise": "supervision", "ceiling": "transfer"}
OUTPUTS = {
    "supervise": ("votes.npz", "supervisor", "cost.json", "identity.json"),
    "ceiling": ("predictions.parquet", "cost.json", "identity.json"),
    "train": ("predictions.parquet", "cost.json", "identity.json"),
}
VOTED = ("transfer", "validation", "test")
LINK_FROM = 16 << 20
"""Bytes from which a file is linked and not copied; a worker that changed it would be found by the file's hash."""


@dataclass(frozen=True)
class Prepared:
    """A prepared task as the referee knows it, truth included."""

    folder: Path
    info: dict[str, Any]

    @staticmethod
    def read(folder: Path) -> Prepared:
        """Returns the artefact of a prepare stage."""
        return Prepared(folder, exchange.read_json(folder / "info.json"))

    def task(self, name: str) -> TaskInfo:
        """Returns what workers may know."""
        return TaskInfo(name, self.info["kind"], self.info["n_classes"], self.info["class_names"])

    def truth(self, split: str) -> np.ndarray:
        """Returns class numbers [N], in a generation task texts."""
        return np.load(self.folder / "truth" / f"{split}.npy", allow_pickle=False)

    def ids(self, split: str) -> list[str]:
        """Returns the ids in the split's order."""
        return exchange.read_inputs(self.folder / "inputs" / f"{split}.parquet").ids


def fill(folder: Path, stage: Stage, found: Mapping[str, Path], run: Run, plugins: list[str], workers: Path) -> None:
    """Writes job.json and in/ for a stage, out of the artefacts that were found for its needs."""
    prepared = Prepared.read(found[stage.needs[0]])
    given = folder / "in"
    given.mkdir()
    for split in INPUTS[stage.kind]:
        shutil.copyfile(prepared.folder / "inputs" / f"{split}.parquet", given / f"{split}.parquet")
    if stage.kind in TRUTH:
        np.save(given / "truth.npy", prepared.truth(TRUTH[stage.kind]), allow_pickle=False)
    if stage.kind == "train":
        _give_votes(given, [found[d] for d in stage.needs[1:]])
    Job(
        stage=stage.kind,
        task=prepared.task(stage.task.name),
        entry=_absolute(stage.entry),
        seed=stage.seed,
        recipe=stage.recipe,
        mitigations=tuple(_absolute(e) for e in stage.mitigations),
        supervisors=tuple(_absolute(e) for e in stage.supervisors),
        intermediate={k: _absolute(e) for k, e in stage.intermediate.items()},
        supervision=stage.supervision,
        students=dict(stage.students),
        hardware=dict(run.hardware),
        trainer=dict(run.trainer),
        plugins=tuple(plugins),
        cache=str(workers),
    ).write(folder)


def _give_votes(given: Path, supervised: list[Path]) -> None:
    votes = [exchange.read_arrays(folder / "votes.npz") for folder in supervised]
    hidden_from_training = ("test",)
    splits = [s for s in VOTED if s not in hidden_from_training]
    exchange.write_arrays(given / "votes.npz", **{s: np.stack([v[s] for v in votes]) for s in splits})
    for k, folder in enumerate(supervised):
        if (folder / "supervisor").is_dir():
            shutil.copytree(folder / "supervisor", given / "supervisors" / str(k), copy_function=_copy_or_link)


def _copy_or_link(source: str, target: str) -> None:
    if os.path.getsize(source) >= LINK_FROM:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def _absolute(entry: Entry) -> Entry:
    """Returns the entry with paths that also hold in a worker's own folder."""
    options = {
        k: os.path.abspath(os.path.expanduser(v))
        if (is_local_path(v) and not v.startswith("file://"))
        or (k in ("path", "model") and isinstance(v, str) and v and os.path.exists(v))
        else v
        for k, v in entry.options.items()
    }
    return Entry(entry.name, options)


def check_results(folder: Path, stage: Stage, prepared: Prepared) -> None:
    """Returns where a worker's out/ holds what the stage owes; else raises a W2SError that names plugin and fault."""
    out, classes = folder / "out", prepared.info["n_classes"]
    who = f"supervisor {stage.entry.name!r}" if stage.kind == "supervise" else f"student {stage.entry.name!r}"
    if stage.mitigations:
        who += " under " + "+".join(m.name for m in stage.mitigations)
    owed = OUTPUTS[stage.kind][0]
    if not (out / owed).is_file():
        raise W2SError(f"{who} ended without leaving {owed}; something in it may have ended the process early")
    for name in ("cost.json", "identity.json"):
        if not (out / name).is_file():
            raise W2SError(f"{who} ended without leaving {name}; something in it may have ended the process early")
    try:
        if stage.kind == "supervise":
            votes = exchange.read_arrays(out / owed)
        else:
            predictions = exchange.read_predictions(out / owed)
    except Exception as error:
        raise W2SError(f"{who}: {owed} cannot be read: {error}") from error
    if stage.kind == "supervise":
        for split in VOTED:
            if split not in votes:
                raise W2SError(f"{who} gave no votes for {split}")
            what, n = f"{who}: votes for {split}", len(prepared.ids(split))
            if prepared.info["kind"] == "generation":
                _check_texts(what, votes[split], n)
            else:
                _check_rows(what, votes[split], (n, classes), abstain=True)
        return
    for split in ("test", "transfer"):
        ids = prepared.ids(split)
        if split not in predictions:
            raise W2SError(f"{who} gave no predictions for {split}")
        if predictions[split][0] != ids:
            came = predictions[split][0]
            at = next((i for i, (a, b) in enumerate(zip(came, ids, strict=False)) if a != b), min(len(came), len(ids)))
            raise W2SError(
                f"{who}: predictions for {split} are not for the examples that were asked: {len(came)} ids came, "
                f"{len(ids)} were asked, the first difference is in row {at}"
            )
        what, said = f"{who}: predictions for {split}", predictions[split][1]
        if prepared.info["kind"] == "generation":
            _check_texts(what, said, len(ids))
        else:
            _check_rows(what, said, (len(ids), classes), abstain=False)


def _check_texts(what: str, said: np.ndarray, n: int) -> None:
    if said.shape != (n,) or said.dtype.kind != "U":
        raise W2SError(f"{what} came as {said.dtype} {list(said.shape)}, expected {n} texts")


def _check_rows(what: str, rows: np.ndarray, shape: tuple[int, int], abstain: bool) -> None:
    if rows.shape != shape or rows.dtype.kind != "f":
        raise W2SError(f"{what} came as {rows.dtype} {list(rows.shape)}, expected probabilities of shape {list(shape)}")
    said = ~np.isnan(rows).all(axis=1) if abstain else np.ones(len(rows), dtype=bool)
    bad = said & ~(np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) < 1e-3))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        also = ", or a row all of NaN to abstain" if abstain else ""
        raise W2SError(
            f"{what} are not probabilities in {int(bad.sum())} of {len(rows)} rows, first in row {row}: "
            f"{[round(float(p), 6) for p in rows[row]]}; expected numbers >= 0 that sum to 1{also}"
        )
