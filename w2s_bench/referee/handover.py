"""What the referee puts into a worker's folder, and the checks on what comes back.

A worker gets label-free inputs, and beyond them exactly this: supervise the truth of the supervision split, ceiling
that of the transfer split, train the votes and what the supervisors saved of themselves, and, where a mitigation
declares that it needs it, the gold budget: some of the supervision split with its truth. A control may have
more: a supervisor the truth of all splits, a mitigation that of the transfer split.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.cells import Entry, Run
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import SPLITS, TaskInfo
from w2s_bench.jobs import Cost, Job, parse_identity
from w2s_bench.referee.artefacts import Artefact
from w2s_bench.referee.plan import Stage
from w2s_bench.store.escape import of_error
from w2s_bench.store.paths import is_local_path

INPUTS = {
    "supervise": ("supervision", "transfer", "validation", "test"),
    "ceiling": ("transfer", "test"),
    "train": ("transfer", "validation", "test"),
}
TRUTH = {"supervise": "supervision", "ceiling": "transfer"}
OUTPUTS = {
    "prepare": ("inputs", "truth", "info.json", "cost.json"),
    "supervise": ("votes.npz", "supervisor", "cost.json", "identity.json"),
    "ceiling": ("predictions.parquet", "cost.json", "identity.json"),
    "train": ("predictions.parquet", "cost.json", "identity.json"),
}
"""By kind of stage, what is kept; a supervisor need not save itself."""
VOTED = ("transfer", "validation", "test")
INFO = {
    "kind": str,
    "n_classes": int,
    "class_names": list,
    "fingerprint": str,
    "same_for_all_seeds": bool,
    "sealed": bool,
    "notes": list,
}
"""Of info.json, by key."""


@dataclass(frozen=True)
class Prepared:
    """A prepared task as the referee knows it, truth included."""

    artefact: Artefact
    info: dict[str, Any]
    ids: dict[str, list[str]]
    """By split, in its order."""

    @staticmethod
    def read(artefact: Artefact) -> Prepared:
        """Returns what a prepare stage left; Damaged where that cannot be read."""
        ids = {split: artefact.load(f"inputs/{split}.parquet", exchange.read_inputs).ids for split in SPLITS}
        return Prepared(artefact, artefact.load("info.json", parse_info), ids)

    def task(self, name: str) -> TaskInfo:
        """Returns what workers may know."""
        return TaskInfo(name, self.info["kind"], self.info["n_classes"], self.info["class_names"])

    def truth(self, split: str) -> np.ndarray:
        """Returns class numbers [N], in a generation task texts."""
        return self.artefact.load(f"truth/{split}.npy", parse_array)


def parse_info(content: bytes) -> dict[str, Any]:
    """Returns the content of info.json; ValueError where it is not what `prepare` writes."""
    info = exchange.parse_json(content)
    if not isinstance(info, dict) or {k: type(v) for k, v in info.items()} != INFO:
        raise ValueError(f"expected an object with {', '.join(INFO)}")
    return info


def parse_array(content: bytes) -> np.ndarray:
    """Returns the array of an npy file's content."""
    return np.load(io.BytesIO(content), allow_pickle=False)


def fill(
    folder: Path,
    stage: Stage,
    prepared: Prepared,
    artefacts: Mapping[str, Artefact],
    run: Run,
    plugins: list[str],
    installed: list[str],
    shelves: list[Path],
) -> None:
    """Writes job.json and in/ for a stage, out of the artefacts of its needs; Damaged where one of them is."""
    inputs = folder / "in"
    inputs.mkdir()
    for split in INPUTS[stage.kind]:
        content = prepared.artefact.load(f"inputs/{split}.parquet", bytes)
        (inputs / f"{split}.parquet").write_bytes(content)
    if stage.kind in TRUTH:
        np.save(inputs / "truth.npy", prepared.truth(TRUTH[stage.kind]), allow_pickle=False)
    if stage.kind == "train":
        _write_votes(inputs, [artefacts[d] for d in stage.needs[1:]])
    if stage.kind == "train" and stage.task.options.get("n_unlabelled"):
        content = prepared.artefact.load("inputs/unlabelled.parquet", bytes)
        (inputs / "unlabelled.parquet").write_bytes(content)
    gold_budget, sees_truth = stage.truth
    if sees_truth and stage.kind == "supervise":
        exchange.write_arrays(inputs / "truths.npz", **{split: prepared.truth(split) for split in SPLITS})
    elif sees_truth:
        np.save(inputs / "transfer_truth.npy", prepared.truth("transfer"), allow_pickle=False)
    if gold_budget:
        supervision = prepared.artefact.load("inputs/supervision.parquet", exchange.read_inputs)
        gold = supervision.take(range(min(gold_budget, len(supervision))))
        exchange.write_inputs(inputs / "gold.parquet", gold)
        np.save(inputs / "gold.npy", prepared.truth("supervision")[: len(gold)], allow_pickle=False)
    Job(
        stage=stage.kind,
        task=prepared.task(stage.task.name),
        entry=absolute(stage.entry),
        seed=stage.seed,
        recipe=stage.recipe,
        mitigations=tuple(absolute(e) for e in stage.mitigations),
        supervisors=tuple(absolute(e) for e in stage.supervisors),
        intermediate={k: absolute(e) for k, e in stage.intermediate.items()},
        supervision=stage.supervision,
        students=dict(stage.students),
        hardware=dict(run.hardware),
        trainer=dict(run.trainer),
        plugins=tuple(plugins),
        installed=tuple(installed),
        cache=tuple(map(str, shelves)),
        save_every_s=float(run.engine.get("save_every_s", Job.save_every_s)),
    ).write(folder)


def _write_votes(inputs: Path, supervised: list[Artefact]) -> None:
    votes = [artefact.load("votes.npz", exchange.read_arrays) for artefact in supervised]
    hidden_from_training = ("test",)
    splits = [s for s in VOTED if s not in hidden_from_training]
    exchange.write_arrays(inputs / "votes.npz", **{s: np.stack([v[s] for v in votes]) for s in splits})
    for k, artefact in enumerate(supervised):
        artefact.copy_to(inputs / "supervisors" / str(k), "supervisor")


def absolute(entry: Entry) -> Entry:
    """Returns the entry with paths that are right in a worker's folder too."""
    options = {
        k: os.path.abspath(os.path.expanduser(v))
        if (is_local_path(v) and not v.startswith("file://"))
        or (k in ("path", "model") and isinstance(v, str) and v and os.path.exists(v))
        else v
        for k, v in entry.options.items()
    }
    return Entry(entry.name, options)


def check_results(folder: Path, stage: Stage, prepared: Prepared) -> None:
    """Raises a W2SError that names plugin and fault where a worker's out/ lacks what the stage owes."""
    out, classes, generation = folder / "out", prepared.info["n_classes"], prepared.info["kind"] == "generation"
    who = f"supervisor {stage.entry.name!r}" if stage.kind == "supervise" else f"student {stage.entry.name!r}"
    if stage.mitigations:
        who += " under " + "+".join(m.name for m in stage.mitigations)
    main = OUTPUTS[stage.kind][0]
    for name in (main, "cost.json", "identity.json"):
        if not (out / name).is_file():
            raise W2SError(f"{who} ended without leaving {name}; something in it may have ended the process early")
    _read_output(who, out, "cost.json", Cost.parse)
    _read_output(who, out, "identity.json", parse_identity)
    if stage.kind == "supervise":
        votes = _read_output(who, out, main, exchange.read_arrays)
        for split in VOTED:
            if split not in votes:
                raise W2SError(f"{who} gave no votes for {split}")
            what, n = f"{who}: votes for {split}", len(prepared.ids[split])
            if generation:
                _check_texts(what, votes[split], n)
            else:
                _check_rows(what, votes[split], (n, classes), abstain=True)
        return
    predictions = _read_output(who, out, main, exchange.read_predictions)
    for split in INPUTS[stage.kind]:
        ids = prepared.ids[split]
        if split not in predictions:
            raise W2SError(f"{who} gave no predictions for {split}")
        came, answers = predictions[split]
        if came != ids:
            at = next((i for i, (a, b) in enumerate(zip(came, ids, strict=False)) if a != b), min(len(came), len(ids)))
            raise W2SError(
                f"{who}: predictions for {split} are not for the examples that were asked: {len(came)} ids came, "
                f"{len(ids)} were asked, the first difference is in row {at}"
            )
        what = f"{who}: predictions for {split}"
        if generation:
            _check_texts(what, answers, len(ids))
        else:
            _check_rows(what, answers, (len(ids), classes), abstain=False)


def check_prepared(out: Path, stage: Stage) -> dict[str, Any]:
    """Returns the info of a task whose splits are all in out/; else raises a W2SError that names the file."""
    who = f"task {stage.task.name!r}"
    files: dict[str, Callable[[bytes], Any]] = {"info.json": parse_info}
    files |= {f"inputs/{split}.parquet": exchange.read_inputs for split in SPLITS}
    files |= {f"truth/{split}.npy": parse_array for split in SPLITS}
    if stage.task.options.get("n_unlabelled"):
        files["inputs/unlabelled.parquet"] = exchange.read_inputs
    for name in files:
        if not (out / name).is_file():
            raise W2SError(f"{who} ended without leaving {name}; something in it may have ended the process early")
    contents = {name: _read_output(who, out, name, parse) for name, parse in files.items()}
    for split in SPLITS:
        n, labels = len(contents[f"inputs/{split}.parquet"]), contents[f"truth/{split}.npy"]
        if labels.shape != (n,):
            raise W2SError(f"{who}: truth/{split}.npy has the shape {list(labels.shape)}, expected [{n}]")
    return contents["info.json"]


def _read_output(who: str, out: Path, name: str, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse((out / name).read_bytes())
    except Exception as error:
        raise W2SError(f"{who}: {name} cannot be read: {of_error(error)}") from error


def _check_texts(what: str, texts: np.ndarray, n: int) -> None:
    if texts.shape != (n,) or texts.dtype.kind != "U":
        raise W2SError(f"{what} came as {texts.dtype} {list(texts.shape)}, expected {n} texts")


def _check_rows(what: str, rows: np.ndarray, shape: tuple[int, int], abstain: bool) -> None:
    if rows.shape != shape or rows.dtype.kind != "f":
        raise W2SError(f"{what} came as {rows.dtype} {list(rows.shape)}, expected probabilities of shape {list(shape)}")
    bad = exchange.improbable_rows(rows)
    if abstain:
        bad &= ~np.isnan(rows).all(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        also = ", or a row all of NaN to abstain" if abstain else ""
        raise W2SError(
            f"{what} are not probabilities in {int(bad.sum())} of {len(rows)} rows, first in row {row}: "
            f"{[round(float(p), 6) for p in rows[row]]}; expected numbers >= 0 that sum to 1{also}"
        )
