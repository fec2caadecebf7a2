"""The prepare stage, in a process of its own: a task plugin's splits, checked and written, truth apart from inputs.

    prepare.json             what to do: {"task", "options", "seed", "key", "plugins", "installed", "cwd"}
    out/inputs/<split>.parquet, out/truth/<split>.npy, out/info.json

What a task must see to itself, because no check can: neither the order of a split nor the ids may derive from the
truth. Both reach every worker.
"""

from __future__ import annotations

import math
import os
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import SPLITS, Inputs, Split
from w2s_bench.jobs import run_in
from w2s_bench.referee.plan import Stage, sizes_of
from w2s_bench.seeds import keyed
from w2s_bench.store.escape import plain
from w2s_bench.store.paths import strip_local_paths

TARGET = "w2s_bench.referee.prepare:run"


def write_order(folder: Path, stage: Stage, plugins: list[str], installed: list[str]) -> None:
    """Writes what `run` needs into a new folder."""
    order = {"task": stage.task.name, "options": stage.task.options, "seed": stage.seed, "key": stage.key}
    order |= {"plugins": plugins, "installed": installed, "cwd": os.getcwd()}
    exchange.write_json(folder / "prepare.json", order)


def run(folder: str) -> None:
    """Prepares the task that a folder's prepare.json names, see `jobs.run_in`."""
    run_in(folder, prepare)


def prepare(folder: Path) -> None:
    """Loads the task and writes its splits."""
    from w2s_bench.registry import load

    order = exchange.read_json(folder / "prepare.json")
    os.chdir(order["cwd"])  # paths among the options are as the user typed them
    name = order["task"]
    registration = load(order["plugins"], order["installed"]).get("task", name)
    try:
        task = registration.build(order["options"])
        sizes, n_unlabelled = sizes_of(order["options"]), order["options"].get("n_unlabelled", 0)
        with keyed(bytes.fromhex(order["key"])):
            class_names, splits = task.load(order["seed"], replace(sizes, n_transfer=sizes.n_transfer + n_unlabelled))
        info = {
            "fingerprint": strip_local_paths(str(task.fingerprint())),
            "kind": task.kind,
            "same_for_all_seeds": bool(getattr(task, "same_test_for_all_seeds", False)),
            "sealed": bool(getattr(task, "sealed", False)),
            "notes": getattr(task, "notes", ()),
        }
    except W2SError:
        raise
    except Exception as error:
        traceback.print_exc()
        wide = "; with a secret, seeds have 63 bits: numpy.random.default_rng(seed) takes them" if order["key"] else ""
        raise W2SError(f"task {name!r}: load raised {type(error).__name__}: {error}{wide}") from error
    share = sizes.n_transfer / (sizes.n_transfer + n_unlabelled)
    write_splits(folder / "out", name, class_names, splits, info, share)


def write_splits(out: Path, name: str, class_names: Any, splits: Any, info: dict[str, Any], share: float = 1.0) -> None:
    """Writes checked splits: inputs, truth and what is known of the task.

    A `share` of the transfer split is the transfer split; of the rest, inputs alone are kept, as unlabelled texts.
    """
    names = check_splits(name, class_names, splits, info["kind"])
    notes = info["notes"]
    if not isinstance(notes, list | tuple) or not all(isinstance(note, str) for note in notes):
        _Complaints(name)(f"has the notes {notes!r:.200}", "give a list of sentences")
    info["notes"] = [plain(note, 500) for note in notes]
    form: type = np.str_ if info["kind"] == "generation" else np.int64
    for folder in ("inputs", "truth"):
        (out / folder).mkdir(parents=True)
    if share < 1:
        transfer, unlabelled = part(splits["transfer"], share)
        splits = {**splits, "transfer": transfer}
        exchange.write_inputs(out / "inputs" / "unlabelled.parquet", unlabelled)
    for split in SPLITS:
        exchange.write_inputs(out / "inputs" / f"{split}.parquet", splits[split].inputs)
        np.save(out / "truth" / f"{split}.npy", np.asarray(splits[split].truth).astype(form), allow_pickle=False)
    exchange.write_json(out / "info.json", {**info, "n_classes": len(names), "class_names": names})


def part(split: Split, share: float) -> tuple[Split, Inputs]:
    """Returns the first `share` of a split, and the inputs of the rest without those of a group in both."""
    n = max(1, round(share * len(split.inputs)))
    groups = split.group and set(split.group[:n])
    rest = [i for i in range(n, len(split.inputs)) if not groups or split.group[i] not in groups]  # type: ignore[index]
    kept = Split(split.inputs.take(range(n)), np.asarray(split.truth)[:n], split.group and split.group[:n])
    return kept, split.inputs.take(rest)


def check_splits(name: str, class_names: Any, splits: Any, kind: str = "classification") -> list[str]:
    """Returns the class names as strings, or raises a W2SError that says what is wrong with the task's splits."""
    wrong = _Complaints(name)
    names = [str(c) for c in class_names]
    if kind == "generation":
        if names:
            wrong(f"is a generation task and gives the class names {names}", "its answers are texts; give []")
    elif len(names) < 2 or len(set(names)) != len(names):
        wrong(f"needs at least two classes with different names, but has {names}", "check the label column")
    if not isinstance(splits, dict) or set(splits) != set(SPLITS):
        came = sorted(splits) if isinstance(splits, dict) else type(splits).__name__
        wrong(f"must give the splits {', '.join(SPLITS)}, but gave {came}", "return a dict with these four")
    seen: dict[str, str] = {}
    groups: dict[str, str] = {}
    for split in SPLITS:
        one: Split = splits[split]
        _check_inputs(wrong, split, one.inputs)
        (_check_texts if kind == "generation" else _check_truth)(wrong, split, one, names)
        for i in one.inputs.ids:
            if i in seen:
                where = f"twice in {split}" if seen[i] == split else f"in {seen[i]} and in {split}"
                wrong(f"has the id {i!r} {where}", "ids must be unique in the whole task")
            seen[i] = split
        if one.group is not None:
            if len(one.group) != len(one.inputs):
                wrong(f"gives {len(one.group)} groups for {len(one.inputs)} examples in {split}", "give one for each")
            for g in set(one.group):
                if groups.setdefault(g, split) != split:
                    wrong(f"has the group {g!r} in {groups[g]} and in {split}", "keep a group in one split")
    return names


class _Complaints:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, what: str, remedy: str) -> None:
        raise W2SError(f"task {self.name!r} {what}; {remedy}")


def _check_inputs(wrong: _Complaints, split: str, inputs: Inputs) -> None:
    n = len(inputs)
    if n == 0:
        wrong(f"has an empty split {split}", f"give it more data or a smaller n_{split}, which must be at least 1")
    columns = {"ids": inputs.ids, "text": inputs.text, "other": inputs.other}
    for column, values in columns.items():
        if values is None:
            continue
        if len(values) != n:
            wrong(f"gives {len(values)} {column} for {n} ids in {split}", "all columns of a split are equally long")
        odd = next((k for k, v in enumerate(values) if not isinstance(v, str)), None)
        if odd is not None:
            kind = type(values[odd]).__name__
            wrong(f"has {values[odd]!r} ({kind}) among the {column} of {split}, row {odd}", "texts and ids are str")
    if inputs.difficulty is not None:
        difficulty = np.asarray(inputs.difficulty, dtype=np.float64)
        if difficulty.shape != (n,):
            wrong(f"gives difficulty of shape {difficulty.shape} for {n} examples in {split}", "give one for each")
        if not np.isfinite(difficulty).all():
            row = int(np.flatnonzero(~np.isfinite(difficulty))[0])
            wrong(
                f"has difficulty {difficulty[row]} in {split}, row {row} (id {inputs.ids[row]!r})",
                "difficulty is a finite number for every example, or None for all",
            )


def _check_texts(wrong: _Complaints, split: str, one: Split, _: list[str]) -> None:
    truth = np.asarray(one.truth)
    if truth.shape != (len(one.inputs),):
        wrong(f"gives truth of shape {truth.shape} for {len(one.inputs)} examples in {split}", "give one text each")
    odd = next((t for t in truth.tolist() if not isinstance(t, str) or not t), None)
    if odd is not None or truth.dtype.kind not in "UO":
        wrong(f"has the answer {odd!r} in {split}", "answers of a generation task are texts, none of them empty")


def _check_truth(wrong: _Complaints, split: str, one: Split, names: list[str]) -> None:
    truth = np.asarray(one.truth)
    if truth.shape != (len(one.inputs),):
        wrong(f"gives truth of shape {truth.shape} for {len(one.inputs)} examples in {split}", "give one class each")
    numbers = truth.dtype.kind in "iub" or (truth.dtype.kind == "f" and np.isfinite(truth).all())
    if not numbers or not (truth == np.floor(truth)).all() or truth.min() < 0 or truth.max() >= len(names):
        valid = set(range(len(names)))
        odd = next((v for v in truth.tolist() if not (_is_whole(v) and int(v) in valid)), None)
        wrong(f"has the label {odd!r} in {split}", f"labels are class numbers from 0 to {len(names) - 1}")
    if len(np.unique(truth)) < 2 and split != "validation":
        only = names[int(truth[0])]
        wrong(f"has only the class {only!r} in {split} ({len(truth)} examples)", "give data of at least two classes")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value == int(value)
