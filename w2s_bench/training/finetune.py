"""Plain finetuning on labels: for supervisors that are themselves models, and for the ceiling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from w2s_bench.interfaces import Backbone, FitContext, Inputs, Round, TaskInfo
from w2s_bench.training.loop import StageContext, fit_round
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Pool
from w2s_bench.training.stack import Stack
from w2s_bench.training.student import StudentModel


def finetune(backbone: Backbone, inputs: Inputs, labels: Tensor, context: FitContext) -> StudentModel:
    """Returns a model finetuned on labels [N, C] by the context's recipe and seed.

    It has `predict`, `answer` and `save(folder)`.
    """
    return fit_on_labels(_stage(backbone, context), inputs, labels)


def restore(backbone: Backbone, folder: Path, context: FitContext) -> StudentModel:
    """Returns the model that `save` wrote to a folder."""
    stage = replace(_stage(backbone, context), seed=0, identities={})  # not one of the models of this stage
    model = stage.student("strong", Stack([], {}))
    model.restore(folder)
    return model


def hard_labels(task: TaskInfo, inputs: Inputs, truth: np.ndarray) -> tuple[Inputs, Tensor]:
    """Returns inputs, and one-hot labels [N, C] for their truth [N]; in a generation task C is 2."""
    if task.kind == "generation":
        return replace(inputs, candidates=[truth.tolist()]), torch.tensor([[1.0, 0.0]]).repeat(len(truth), 1)
    return inputs, torch.nn.functional.one_hot(torch.from_numpy(np.asarray(truth)).long(), task.n_classes).float()


def fit_on_labels(stage: StageContext, inputs: Inputs, labels: Tensor) -> StudentModel:
    """Returns the stage's strong student finetuned on labels [N, C], as `train_student` does it without mitigations."""
    votes = labels[None]
    pool = Pool(stage.task, inputs, votes, inputs.take([]), votes[:, :0], [], {})
    return fit_round(stage, Stack([], {}), pool, Round(), labels)


def _stage(backbone: Backbone, context: FitContext) -> StageContext:
    """Returns the stage that the context belongs to, with this backbone as its model; outside a worker, a new one."""
    stage = context.stage or StageContext(context.task, context.seed, Meter(), {})
    models = {"strong": (lambda _: backbone, context.recipe)}
    return replace(stage, task=context.task, seed=context.seed, backbones=models, keys={})  # keys are the students'
