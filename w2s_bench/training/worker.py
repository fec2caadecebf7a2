"""What a worker process runs: one job folder in, one job folder out."""

from __future__ import annotations

import functools
import gc
import os
import random
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_bench import exchange
from w2s_bench.cells import Entry
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, FitContext, Inputs, Recipe, Tuning
from w2s_bench.jobs import Job
from w2s_bench.registry import Registry, load
from w2s_bench.seeds import derive
from w2s_bench.training.answers import with_candidates
from w2s_bench.training.finetune import SURROUNDINGS, certain, learn
from w2s_bench.training.life import Bench, raise_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Asked, Pool
from w2s_bench.training.stack import Stack
from w2s_bench.training.student import Student


def run(folder: str) -> None:
    """Does the job in a folder and leaves `out/` there, or `error.json`, and then ends the process with status 1."""
    place = Path(folder)
    try:
        work(place)
    except Exception as error:
        message = str(error) if isinstance(error, W2SError) else f"{type(error).__name__}: {error}"
        exchange.write_json(place / "error.json", {"message": message, "traceback": traceback.format_exc()})
        sys.exit(1)


def work(folder: Path) -> None:
    """Does the job in a folder."""
    job = Job.read(folder)
    job = replace(job, hardware={"accelerator": "cpu", **job.hardware})
    _prepare_torch(job)
    registry = load(job.plugins)
    (folder / "out").mkdir(exist_ok=True)
    bench = Bench(job.task, job.seed, Meter(), {}, job.cache, job.hardware, job.trainer)
    SURROUNDINGS.set(bench)
    inputs = {p.stem: exchange.read_inputs(p) for p in sorted((folder / "in").glob("*.parquet"))}
    if job.stage == "supervise":
        supervise(job, registry, inputs, folder)
    elif job.stage == "ceiling":
        ceiling(job, registry, bench, inputs, folder)
    else:
        train(job, registry, bench, inputs, folder)
    bench.meter.cost(job.hardware["accelerator"]).write(folder / "out")
    exchange.write_json(folder / "out" / "identity.json", bench.identities)


def supervise(job: Job, registry: Registry, inputs: dict[str, Inputs], folder: Path) -> None:
    """Fits a supervisor on the supervision split and writes what it says about the others."""
    name = job.entry.name
    supervisor = registry.get("supervisor", name).build(job.entry.options)
    truth = np.load(folder / "in" / "truth.npy", allow_pickle=False)
    _blaming(name, "fit", supervisor.fit, inputs["supervision"], truth, FitContext(job.task, job.seed, job.recipe))
    asked = [split for split in ("transfer", "validation", "test") if split in inputs]
    how, form = ("answer", np.str_) if job.task.kind == "generation" else ("label", np.float32)
    guide = getattr(supervisor, how)
    votes = {split: np.asarray(_blaming(name, how, guide, inputs[split])).astype(form) for split in asked}
    exchange.write_arrays(folder / "out" / "votes.npz", **votes)
    if hasattr(supervisor, "save"):
        (folder / "out" / "supervisor").mkdir()
        _blaming(name, "save", supervisor.save, folder / "out" / "supervisor")


def ceiling(job: Job, registry: Registry, bench: Bench, inputs: dict[str, Inputs], folder: Path) -> None:
    """Finetunes the student on the ground truth of the transfer split: its examples, its recipe, its seed."""
    truth = np.load(folder / "in" / "truth.npy", allow_pickle=False)
    bench.backbones = {"strong": _model(job, registry, job.entry)}
    _write_predictions(learn(bench, *certain(job.task, inputs["transfer"], truth)), inputs, folder)


def train(job: Job, registry: Registry, bench: Bench, inputs: dict[str, Inputs], folder: Path) -> None:
    """Raises the strong student on the votes, under the stack of mitigations."""
    entries = {"strong": job.entry, **job.intermediate}
    bench.backbones = {name: _model(job, registry, entry) for name, entry in entries.items()}
    rngs = {m.name: torch.Generator().manual_seed(derive(job.seed, "mitigation", m.name)) for m in job.mitigations}
    stack = Stack(
        [(m.name, functools.partial(registry.get("mitigation", m.name).build, m.options)) for m in job.mitigations],
        rngs,
    )
    said = exchange.read_arrays(folder / "in" / "votes.npz")
    if job.task.kind == "generation":
        given = {k: with_candidates(inputs[k], answers.tolist()) for k, answers in said.items()}
    else:
        given = {k: (inputs[k], torch.from_numpy(votes)) for k, votes in said.items()}
    pool = Pool(
        task=job.task,
        inputs=given["transfer"][0],
        votes=given["transfer"][1],
        validation=given["validation"][0],
        validation_votes=given["validation"][1],
        supervisors=[_asked(job, registry, k, entry, bench.meter, folder) for k, entry in enumerate(job.supervisors)],
        rngs=rngs,
        _features=functools.partial(_frozen_features, bench, inputs["transfer"]),
    )
    _write_predictions(raise_student(bench, stack, pool), inputs, folder)


def _model(job: Job, registry: Registry, entry: Entry) -> tuple[Callable[[int], Backbone], Recipe]:
    """Returns how a student is loaded, and the protocol's recipe with what belongs to its entry put in."""
    student = registry.get("student", entry.name).build(entry.options)
    own = {k: entry.options[k] for k in Tuning.__dataclass_fields__ if k != "replicate" and k in entry.options}
    return functools.partial(_blaming, entry.name, "backbone", student.backbone), replace(job.recipe, **own)


def _asked(job: Job, registry: Registry, k: int, entry: Entry, meter: Meter, folder: Path) -> Asked:
    """Returns supervisor k, which is restored when it is asked for the first time."""

    def restore() -> Any:
        supervisor = registry.get("supervisor", entry.name).build(entry.options)
        saved = folder / "in" / "supervisors" / str(k)
        if not hasattr(supervisor, "restore") or not saved.is_dir():
            raise W2SError(f"supervisor {entry.name} cannot be asked during training: it offers no save and restore")
        _blaming(entry.name, "restore", supervisor.restore, saved, FitContext(job.task, job.seed, job.supervision))
        return supervisor

    return Asked(entry.name, restore, meter)


def _frozen_features(bench: Bench, inputs: Inputs) -> Tensor:
    load, recipe = bench.backbones["strong"]
    seed = derive(bench.seed, "weights", "strong", 0)
    probe = replace(recipe, tune="probe")
    accelerator = bench.hardware["accelerator"]
    with torch.random.fork_rng():  # asking for features must not move the streams of dropout
        torch.manual_seed(seed)
        frozen = Student(load(seed), bench.task, probe, seed, Stack([], {}), bench.meter, bench.cache, accelerator)
        return frozen.features(inputs)


def _write_predictions(fitted: Student, inputs: dict[str, Inputs], folder: Path) -> None:
    say = (lambda i: np.array(fitted.answer(i), dtype=str)) if fitted.writes else (lambda i: fitted.predict(i).numpy())
    splits = {s: (inputs[s].ids, say(inputs[s])) for s in ("test", "transfer")}
    exchange.write_predictions(folder / "out" / "predictions.parquet", splits)


def _blaming(name: str, what: str, method: Any, *arguments: Any) -> Any:
    try:
        return method(*arguments)
    except W2SError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise W2SError(f"{name}: {what} raised {type(error).__name__}: {error}") from error


def _prepare_torch(job: Job) -> None:
    """Makes runs repeat bit for bit on one machine, and fast."""
    gc.freeze()  # the libraries' half a million objects are there to stay: collections need not walk them
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(int(job.hardware.get("threads", 1)))
    torch.use_deterministic_algorithms(True, warn_only=True)
    random.seed(job.seed)  # for plugins that draw from the global streams
    np.random.seed(job.seed)
    torch.manual_seed(job.seed)
