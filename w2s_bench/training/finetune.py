"""Plain finetuning on given labels, for supervisors that are themselves models, and for the ceiling."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from w2s_bench.interfaces import Backbone, Inputs, Recipe, Round, TaskInfo
from w2s_bench.training.life import Bench, fit_round
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Pool
from w2s_bench.training.stack import Stack
from w2s_bench.training.student import Student

SURROUNDINGS: ContextVar[Bench | None] = ContextVar("surroundings", default=None)
"""The bench of the stage that this process runs, for its meter, cache and hardware."""

Fitted = Student


def finetune(backbone: Backbone, task: TaskInfo, inputs: Inputs, labels: Tensor, recipe: Recipe, seed: int) -> Fitted:
    """Returns a model finetuned on labels [N, C] by the recipe; it has `predict`, `answer` and `save(folder)`."""
    return learn(_bench(backbone, task, recipe, seed), inputs, labels)


def certain(task: TaskInfo, inputs: Inputs, truth: np.ndarray) -> tuple[Inputs, Tensor]:
    """Returns inputs and labels [N, C] that say the truth [N] for certain; in a generation task C is 2."""
    if task.kind == "generation":
        return replace(inputs, candidates=[truth.tolist()]), torch.tensor([[1.0, 0.0]]).repeat(len(truth), 1)
    return inputs, torch.nn.functional.one_hot(torch.from_numpy(np.asarray(truth)).long(), task.n_classes).float()


def learn(bench: Bench, inputs: Inputs, labels: Tensor) -> Fitted:
    """Returns the bench's strong student finetuned on labels [N, C], as `raise_student` does it under no mitigation."""
    votes = labels[None]
    pool = Pool(bench.task, inputs, votes, inputs.take([]), votes[:, :0], [], {}, lambda: labels)
    return fit_round(bench, Stack([], {}), pool, Round(), labels)


def restore(backbone: Backbone, task: TaskInfo, folder: Path, recipe: Recipe) -> Fitted:
    """Returns the model that `Fitted.save` wrote to a folder."""
    bench = replace(_bench(backbone, task, recipe, seed=0), identities={})  # not one of the models of this stage
    fitted = bench.student("strong", Stack([], {}))
    fitted.restore(folder)
    return fitted


def _bench(backbone: Backbone, task: TaskInfo, recipe: Recipe, seed: int) -> Bench:
    around = SURROUNDINGS.get() or Bench(task, seed, Meter(), {})
    models = {"strong": (lambda _: backbone, recipe)}
    return Bench(task, seed, around.meter, models, around.cache, around.hardware, around.trainer, around.identities)
