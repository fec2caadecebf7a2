"""Raises toy students in this process, for tests of training alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch

from w2s_bench.protocols import Lesson, Recipe, Sizes, TaskInfo
from w2s_bench.seeds import derive
from w2s_bench.training.life import Bench, raise_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Asked, Pool
from w2s_bench.training.stack import Stack

spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
assert spec and spec.loader
toy = sys.modules.setdefault("toy", importlib.util.module_from_spec(spec))
spec.loader.exec_module(toy)

TASK = TaskInfo("toy", "classification", 2, ["below", "above"])
SIZES = Sizes(n_supervision=400, n_transfer=480, n_validation=200, n_test=1000)
RECIPE = Recipe(body_lr=1e-2, head_lr=1e-2, epochs=2)


def supervisor(seed: int = 0, **options):
    """Returns a toy supervisor fitted on the supervision split."""
    made = toy.ToySupervisor(toy.ToySupervisor.Options(**options))
    split = data(seed)["supervision"]
    made.fit(split.inputs, split.truth, Lesson(TASK, 0, RECIPE))
    return made


def data(seed: int = 0):
    """Returns the toy splits."""
    return toy.ToyTask().load(seed, SIZES)[1]


def student_of(members, supervisors, seed=0, recipe=RECIPE, width=128, meter=None, votes=None):
    """Returns the strong student raised under a stack; `members` are (name, object factory)."""
    splits = data(seed)
    inputs = splits["transfer"].inputs
    rngs = {name: torch.Generator().manual_seed(derive(seed, name)) for name, _ in members}
    meter = meter or Meter()
    if votes is None:
        votes = torch.from_numpy(np.stack([s.label(inputs) for s in supervisors])).float()
    validation = splits["validation"].inputs
    own = torch.from_numpy(np.stack([s.label(validation) for s in supervisors])).float()
    asked = [Asked(f"toy_{k}", lambda s=s: s, meter) for k, s in enumerate(supervisors)]
    model = toy.ToyStudent(toy.ToyStudent.Options(width=width))
    small = toy.ToyStudent(toy.ToyStudent.Options(width=16))
    bench = Bench(TASK, seed, meter, {"strong": (model.backbone, recipe), "toy_small": (small.backbone, recipe)})
    pool = Pool(TASK, inputs, votes, validation, own, asked, rngs, lambda: torch.zeros(len(inputs), 4))
    return raise_student(bench, Stack(members, rngs), pool)


def accuracy(student, seed: int = 0) -> float:
    """Returns the accuracy on the toy test split."""
    test = data(seed)["test"]
    return float((student.predict(test.inputs).argmax(-1).numpy() == test.truth).mean())
