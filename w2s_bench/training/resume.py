"""Fits that survive a kill: a job that runs again goes on from what was saved of them, bit for bit.

The job does all over, in the same order with the same random numbers, except its fits under Lightning's loop: one that
had ended gets its weights, the one that was under way goes on from the step at which it was saved. After either,
weights, random generators and counters are as they were then.

    saved/<fit>-<n>-<sha256>.safetensors     the n-th fit of that name: tensors, and a tree in JSON beside them
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from w2s_bench import exchange
from w2s_bench.cells import digest
from w2s_bench.training.batches import Batch
from w2s_bench.training.checks import settle
from w2s_bench.training.snapshot import Root, Unsaved, pack, unpack

if TYPE_CHECKING:
    from w2s_bench.training.step import TrainableStudent


class Saves:
    """What is saved of a stage's fits, in a folder; without one, nothing is."""

    def __init__(
        self, folder: Path | None = None, every_s: float = math.inf, identity: Callable[[], str] = str
    ) -> None:
        self.folder, self.every_s, self.identity = folder, every_s, identity
        """`identity` is a digest of all that the fits derive from; asked for where something is saved or was."""
        files = [*folder.iterdir()] if folder and folder.is_dir() else []
        self.found = sorted((path for path in files if path.suffix == ".safetensors"), key=_age)
        """What an earlier process left, the newest first."""
        for path in set(files) - set(self.found):
            path.unlink()  # it was being written
        self.due = time.monotonic() + every_s
        self.unsaved_s = 0.0
        """What fits took that have ended and were not saved: they will be fitted again."""
        self.resumed = 0
        """How many processes were killed over what is now done."""
        self._met: Counter[str] = Counter()

    def name(self, problem: Any) -> str:
        """Returns what the next fit of this problem is called; one that comes twice has two names."""
        plan, sha = problem.plan, hashlib.sha256()
        for values in (problem.labels, problem.weights):
            sha.update(values.cpu().numpy().tobytes())
        asked = [plan.index, plan.student, plan.labels, plan.fresh, plan.objective, plan.lr_scale, problem.steps]
        members = [name for name, _ in problem.stack.members]
        key = digest([problem.stage.seed, asked, members, sha.hexdigest()])
        self._met[key] += 1
        return f"{key}-{self._met[key]}"

    def read(self, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Returns the tree and the tensors saved under a name, None where there are none in good order."""
        for path in self.found:
            if path.name.startswith(f"{name}-"):
                try:
                    return self._read(path)
                except Exception as error:  # safetensors and JSON raise a dozen kinds
                    print(f"w2s: what was saved of a fit is ignored: {error or type(error).__name__}")
        return None

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if path.stem.rpartition("-")[2] != exchange.file_sha256(path):
            raise ValueError("it is damaged")
        with safe_open(path, "pt") as file:
            tree = exchange.parse_json(file.metadata()["tree"])
            if tree["identity"] != self.identity():
                raise ValueError("it is of another job or other code")
            return tree, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it is no dictionary

    def write(self, name: str, tree: dict[str, Any], tensors: dict[str, Tensor]) -> bool:
        """Returns whether a tree and tensors are now saved, in place of what was under this name."""
        assert self.folder is not None
        tree |= {"identity": self.identity(), "resumed": self.resumed}
        partial = self.folder / f"{name}.part"
        try:
            self.folder.mkdir(exist_ok=True)
            save_file(tensors, partial, {"tree": json.dumps(tree, allow_nan=False)})
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            path = self.folder / f"{name}-{exchange.file_sha256(partial)}.safetensors"
            partial.replace(path)
            for other in self.folder.glob(f"{name}-*.safetensors"):
                if other != path:
                    other.unlink()
        except (OSError, SafetensorError) as error:  # the disk is full: the job does without
            self.every_s = math.inf
            print(f"w2s: nothing more is saved of this job: {error}")
        self.due = time.monotonic() + self.every_s
        return math.isfinite(self.every_s)


@dataclass
class Place:
    """Where a round is in its passes."""

    made: int = 0
    """Batches of the round so far."""
    epoch: int = 0
    order: np.ndarray | None = None
    """[n] positions in the pool for the pass under way, None before it."""
    used: int = 0
    """Batches of this pass so far."""
    batch: Batch | None = None
    """The last one made: Lightning asks for it while it learns from the one before."""


class Fit:
    """One fit under Lightning's loop: an iterable of its batches, which is where it is saved and resumed."""

    def __init__(self, problem: Any, student: TrainableStudent) -> None:
        self.problem, self.student, self.saves = problem, student, problem.stage.saves
        self.place = Place()
        self.began = time.perf_counter()
        self.name = "" if self.saves.folder is None else self.saves.name(problem)
        self.ended = self.saved = self.unsavable = False
        self.taken = 0
        """Steps at which the fit was saved by a process that was killed."""
        self._seen = 0
        self._restore: Callable[[], None] | None = None
        state = self.saves.read(self.name) if self.saves.found else None
        if state is not None:
            self._prepare(*state)
        if not self.ended:
            student.after_step = self.after_step

    def __iter__(self) -> Iterator[tuple[Batch, float, Tensor]]:
        """Yields (micro-batch, progress, the weight that a micro-batch of this step has on average).

        These are the round's batches in the parts that Lightning accumulates.
        """
        if self._restore is not None:  # by now Lightning has made the optimiser
            self._restore()
        parts = self.problem.recipe.accumulate
        for batch, progress in self.problem.batches(self.place):
            weight = batch.weights.sum() / parts
            for part in batch.split(parts):
                yield part, progress, weight

    def after_step(self) -> None:
        """Saves the fit where that is due; asked after every micro-batch."""
        stepped, self._seen = self.student.taken > self._seen, self.student.taken
        if time.monotonic() >= self.saves.due and stepped and self._seen < self.problem.steps and not self.unsavable:
            self._save()

    def end(self) -> None:
        """Saves what came of the fit, unless it was short."""
        self.student.after_step = None
        seconds = time.perf_counter() - self.began
        if self.saved or self.saves.unsaved_s + seconds > self.saves.every_s:
            self.ended = True
            self._save()
        else:
            self.saves.unsaved_s += seconds

    # --- what is saved

    def _save(self) -> None:
        settle()  # a student that has diverged is not saved
        try:
            tree, tensors = pack(self._roots(), {**self._common(), **({} if self.ended else self._under_way())})
        except Unsaved as what:
            self.unsavable = True
            print(f"w2s: a fit is not saved, because {what}; killed, it would start again")
            return
        self.saved = self.saves.write(self.name, {**tree, "ended": self.ended}, tensors)

    def _roots(self) -> dict[str, Root]:
        """Returns what is there in every process by now, and is filled in place."""
        model, problem = self.student.classifier, self.problem
        roots: dict[str, Root] = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        roots |= {f"buffer {n}": b.detach() for n, b in model.named_buffers()}
        roots |= {"labels": problem.labels, "weights": problem.weights}
        roots |= {"votes": problem.pool.votes, "validation votes": problem.pool.validation_votes}
        return roots | {f"generator of {name}": rng for name, rng in problem.pool.rngs.items()}

    def _common(self) -> dict[str, Any]:
        meter, pool = self.student.meter, self.problem.pool
        counts = {name: value for name, value in vars(meter).items() if name not in ("started", "born")}
        return {
            "taken": self.student.taken,
            "counts": counts,
            "seconds": meter.elapsed(),
            "candidates": [pool.inputs.candidates, pool.validation.candidates],
            "random": [random.getstate(), np.random.get_state(), *_torch_states()],
        }

    def _under_way(self) -> dict[str, Any]:
        assert self.student._optimizer is not None
        place, batch = self.place, self.place.batch
        held = None if batch is None else {k: v for k, v in vars(batch).items() if k != "rng"}
        if held is not None and (type(batch) is not Batch or len(held) + 1 != len(fields(Batch))):
            raise Unsaved("a batch has more than a Batch has")
        return {
            "place": {**vars(place), "batch": held, "order": np.array(place.order)},  # the batch has a part of it
            "optimizer": self.student._optimizer.state_dict(),
            "plugins": {n: _values(o) for n, o in self.problem.stack.objects.items()},
        }

    # --- and restored

    def _prepare(self, tree: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        try:
            state, fill = unpack(tree, tensors, self._roots())
        except ValueError as error:
            print(f"w2s: what was saved of a fit is ignored: {error}")
            return
        self.ended, self.saved, self.taken = tree["ended"], True, state["taken"]
        self.saves.resumed = max(self.saves.resumed, tree["resumed"] + 1)
        print(f"w2s: a fit goes on from step {self.taken} of {self.problem.steps}, where a process was killed")

        def restore() -> None:
            fill()
            self._apply(state)

        if self.ended:
            restore()
        else:
            self._restore = restore

    def _apply(self, state: dict[str, Any]) -> None:
        student, pool = self.student, self.problem.pool
        student.taken = student.taken_before = self._seen = state["taken"]
        vars(student.meter).update(state["counts"], started=student.meter.born - state["seconds"])
        for inputs, candidates in zip((pool.inputs, pool.validation), state["candidates"], strict=True):
            for column, texts in zip(inputs.candidates or [], candidates or [], strict=True):
                column[:] = texts
        if not self.ended:
            assert student._optimizer is not None
            student._optimizer.load_state_dict(state["optimizer"])
            batch = state["place"].pop("batch")
            vars(self.place).update(state["place"], batch=None if batch is None else Batch(**batch))
            for name, values in state["plugins"].items():
                _set_values(self.problem.stack.objects[name], values)
        python, numpy, *of_torch = state["random"]
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(of_torch[0])
        if of_torch[1:]:
            torch.cuda.set_rng_state(of_torch[1])


def _torch_states() -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else states


def _values(plugin: Any) -> dict[str, Any]:
    """Returns a mitigation's attributes, those of its options apart."""
    if not hasattr(plugin, "__dict__"):
        raise Unsaved(f"{type(plugin).__name__} keeps its attributes in slots")
    options = _options(plugin)
    values = {name: value for name, value in vars(plugin).items() if name not in options}
    return {"values": values, "options": {name: dict(vars(held)) for name, held in options.items()}}


def _set_values(plugin: Any, values: dict[str, Any]) -> None:
    options = _options(plugin)
    vars(plugin).clear()
    vars(plugin).update(values["values"], **options)
    for name, held in values["options"].items():
        vars(options[name]).update(held)


def _options(plugin: Any) -> dict[str, Any]:
    kind = getattr(type(plugin), "Options", None)
    return {k: v for k, v in vars(plugin).items() if type(v) is kind and hasattr(v, "__dict__")}


def _age(path: Path) -> float:
    return -path.stat().st_mtime
