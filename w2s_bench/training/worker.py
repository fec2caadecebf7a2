"""What a worker process runs: one job folder in, one job folder out."""

from __future__ import annotations

import functools
import gc
import os
import random
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_bench import exchange
from w2s_bench.cells import Entry, digest, entry_recipe
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, FitContext, Inputs, Recipe
from w2s_bench.jobs import Job, run_in
from w2s_bench.registry import Registry, load
from w2s_bench.seeds import derive
from w2s_bench.training.answers import with_candidates
from w2s_bench.training.crossfit import CrossFit, code
from w2s_bench.training.finetune import fit_on_labels, hard_labels
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import FrozenSupervisor, Pool
from w2s_bench.training.resume import Saves
from w2s_bench.training.stack import Stack
from w2s_bench.training.student import StudentModel

ANSWERED = ("test", "transfer", "validation")
"""The splits that a student answers; a ceiling has no validation split."""


def run(folder: str) -> None:
    """Does the job in a folder, see `jobs.run_in`."""
    run_in(folder, work)


def work(folder: Path) -> None:
    """Does the job in a folder."""
    job = Job.read(folder)
    job = replace(job, hardware={"accelerator": "cpu", **job.hardware})
    _prepare_torch(job)
    registry = load(job.plugins, job.installed)
    (folder / "out").mkdir(exist_ok=True)
    cache = (str(folder / "cache"), *job.cache) if job.cache else ()
    saves = Saves(folder / "saved", job.save_every_s, functools.cache(lambda: _identity(job, registry, folder)))
    stage = StageContext(
        job.task, job.seed, Meter(), {}, cache, job.hardware, job.trainer, keys=job.students, saves=saves
    )
    inputs = {p.stem: exchange.read_inputs(p) for p in sorted((folder / "in").glob("*.parquet"))}
    if job.stage == "supervise":
        supervise(job, registry, stage, inputs, folder)
    elif job.stage == "ceiling":
        ceiling(job, registry, stage, inputs, folder)
    else:
        train(job, registry, stage, inputs, folder)
    replace(stage.meter.cost(job.hardware["accelerator"]), resumed=saves.resumed).write(folder / "out")
    exchange.write_json(folder / "out" / "identity.json", stage.identities)


def _identity(job: Job, registry: Registry, folder: Path) -> str:
    """Returns a digest of all that the job's fits derive from: what others have saved is none of its own."""
    what = {k: v for k, v in asdict(job).items() if k not in ("cache", "plugins", "installed", "save_every_s")}
    kind = "supervisor" if job.stage == "supervise" else "student"
    used = [(kind, job.entry.name), *(("student", e.name) for e in job.intermediate.values())]
    used += [*(("mitigation", m.name) for m in job.mitigations), *(("supervisor", s.name) for s in job.supervisors)]
    sources = [registry.get(kind, name).source_sha256 for kind, name in used]
    files = sorted(path for path in (folder / "in").rglob("*") if path.is_file())
    return digest([code(), what, sources, [[str(p.relative_to(folder)), exchange.file_sha256(p)] for p in files]])


def supervise(job: Job, registry: Registry, stage: StageContext, inputs: dict[str, Inputs], folder: Path) -> None:
    """Fits a supervisor on the supervision split and writes its votes on the others."""
    name = job.entry.name
    supervisor = registry.get("supervisor", name).build(job.entry.options)
    truth = np.load(folder / "in" / "truth.npy", allow_pickle=False)
    context = FitContext(job.task, job.seed, job.recipe, stage, _truths(inputs, folder))
    _blaming(name, "fit", supervisor.fit, inputs["supervision"], truth, context)
    splits = [split for split in ("transfer", "validation", "test") if split in inputs]
    method, dtype = ("answer", np.str_) if job.task.kind == "generation" else ("label", np.float32)
    vote = getattr(supervisor, method)
    votes = {split: np.asarray(_blaming(name, method, vote, inputs[split])).astype(dtype) for split in splits}
    exchange.write_arrays(folder / "out" / "votes.npz", **votes)
    if hasattr(supervisor, "save"):
        (folder / "out" / "supervisor").mkdir()
        _blaming(name, "save", supervisor.save, folder / "out" / "supervisor")


def _truths(inputs: dict[str, Inputs], folder: Path) -> dict[str, int] | None:
    """Returns the true class of every example by its id, for a control that is given them."""
    if not (folder / "in" / "truths.npz").is_file():
        return None
    with np.load(folder / "in" / "truths.npz", allow_pickle=False) as truths:
        return {i: int(c) for split in truths.files for i, c in zip(inputs[split].ids, truths[split], strict=True)}


def ceiling(job: Job, registry: Registry, stage: StageContext, inputs: dict[str, Inputs], folder: Path) -> None:
    """Finetunes the student on the ground truth of the transfer split: its examples, its recipe, its seed."""
    truth = np.load(folder / "in" / "truth.npy", allow_pickle=False)
    stage.backbones = {"strong": _model(registry, job.entry, job.recipe)}
    _write_predictions(fit_on_labels(stage, *hard_labels(job.task, inputs["transfer"], truth)), inputs, folder)


def train(job: Job, registry: Registry, stage: StageContext, inputs: dict[str, Inputs], folder: Path) -> None:
    """Trains the strong student on the votes, under the stack of mitigations."""
    stage.backbones = {"strong": _model(registry, job.entry, job.recipe)}
    for name, entry in job.intermediate.items():
        stage.backbones[name] = _model(registry, entry, entry_recipe(job.recipe, entry.options))
    rngs = {m.name: torch.Generator().manual_seed(derive(job.seed, "mitigation", m.name)) for m in job.mitigations}
    stack = Stack(
        [(m.name, functools.partial(registry.get("mitigation", m.name).build, m.options)) for m in job.mitigations],
        rngs,
    )
    votes = exchange.read_arrays(folder / "in" / "votes.npz")
    if job.task.kind == "generation":
        voted = {split: with_candidates(inputs[split], answers.tolist()) for split, answers in votes.items()}
    else:
        voted = {split: (inputs[split], torch.from_numpy(array)) for split, array in votes.items()}
    pool = Pool(
        task=job.task,
        inputs=voted["transfer"][0],
        votes=voted["transfer"][1],
        validation=voted["validation"][0],
        validation_votes=voted["validation"][1],
        supervisors=[_frozen(job, registry, k, entry, stage, folder) for k, entry in enumerate(job.supervisors)],
        rngs=rngs,
        unlabelled=inputs.get("unlabelled"),
        _gold=functools.partial(_gold, job, inputs["gold"], folder) if "gold" in inputs else None,
        _transfer_truth=functools.partial(_transfer_truth, job, voted["transfer"][0], folder),
        _features=_frozen_features(stage),
        _cross_predict=CrossFit(stage, voted["transfer"][0]),
    )
    _write_predictions(train_student(stage, stack, pool), inputs, folder)


def _gold(job: Job, inputs: Inputs, folder: Path) -> tuple[Inputs, Tensor]:
    return hard_labels(job.task, inputs, np.load(folder / "in" / "gold.npy", allow_pickle=False))


def _transfer_truth(job: Job, inputs: Inputs, folder: Path) -> Tensor:
    file = folder / "in" / "transfer_truth.npy"
    if not file.is_file():
        raise W2SError("pool.transfer_truth is for controls that declare needs = frozenset({'transfer_truth'})")
    return hard_labels(job.task, inputs, np.load(file, allow_pickle=False))[1]


def _model(registry: Registry, entry: Entry, recipe: Recipe) -> tuple[Callable[[int], Backbone], Recipe]:
    """Returns how a student is loaded, and its recipe."""
    student = registry.get("student", entry.name).build(entry.options)
    return functools.partial(_blaming, entry.name, "backbone", student.backbone), recipe


def _frozen(job: Job, registry: Registry, k: int, entry: Entry, stage: StageContext, folder: Path) -> FrozenSupervisor:
    """Returns supervisor k, which is restored when it is first queried."""

    def restore() -> Any:
        supervisor = registry.get("supervisor", entry.name).build(entry.options)
        saved = folder / "in" / "supervisors" / str(k)
        if not hasattr(supervisor, "restore") or not saved.is_dir():
            raise W2SError(f"supervisor {entry.name} cannot be asked during training: it offers no save and restore")
        context = FitContext(job.task, job.seed, job.supervision, stage)
        _blaming(entry.name, "restore", supervisor.restore, saved, context)
        return supervisor

    return FrozenSupervisor(entry.name, restore, stage.meter)


def _frozen_features(stage: StageContext) -> Callable[[Inputs], Tensor]:
    """Returns what reads texts by the strong student's body as pretrained, which is loaded when it is first asked."""

    @functools.cache
    def probe() -> StudentModel:
        load, recipe = stage.backbones["strong"]
        frozen = replace(stage, backbones={"strong": (load, replace(recipe, tune="probe"))})
        return frozen.student("strong", Stack([], {}))

    def features(inputs: Inputs) -> Tensor:
        with torch.random.fork_rng():  # asking for features must not move the streams of dropout
            return probe().features(inputs)

    return features


def _write_predictions(fitted: StudentModel, inputs: dict[str, Inputs], folder: Path) -> None:
    def predictions(split: Inputs) -> np.ndarray:
        return np.array(fitted.answer(split), dtype=str) if fitted.generative else fitted.predict(split).numpy()

    splits = {name: (inputs[name].ids, predictions(inputs[name])) for name in ANSWERED if name in inputs}
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
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every length of a batch, .1 s each on an H100
    random.seed(job.seed)  # for plugins that draw from the global streams
    np.random.seed(job.seed)
    torch.manual_seed(job.seed)
