"""Trains toy students in this process and asks stacks of made-up mitigations, for tests of training alone."""

from __future__ import annotations

import functools
from dataclasses import astuple
from types import SimpleNamespace

import numpy as np
import torch

from w2s_bench import hookimpl
from w2s_bench.conformance.toy import ToyStudent, ToySupervisor, ToyTask
from w2s_bench.interfaces import FitContext, Inputs, Recipe, Round, Sizes, Split, TaskInfo
from w2s_bench.seeds import derive
from w2s_bench.training.batches import Batch
from w2s_bench.training.crossfit import CrossFit
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import FrozenSupervisor, Pool
from w2s_bench.training.stack import Stack

torch.set_num_threads(1)

TASK = TaskInfo("toy", "classification", 2, ["below", "above"])
SIZES = Sizes(n_supervision=400, n_transfer=480, n_validation=200, n_test=1000)
RECIPE = Recipe(body_lr=1e-2, head_lr=1e-2, epochs=2)


def supervisor(seed: int = 0, **options):
    """Returns a toy supervisor fitted on the supervision split."""
    made = ToySupervisor(ToySupervisor.Options(**options))
    split = data(seed)["supervision"]
    made.fit(split.inputs, split.truth, FitContext(TASK, 0, RECIPE))
    return made


@functools.cache
def data(seed: int = 0):
    """Returns the toy splits with equal classes: three in four toy texts lie below, and chance would not be .5."""
    drawn = ToyTask().load(seed, Sizes(*(3 * n for n in astuple(SIZES))))[1]
    splits = {}
    for name, size in zip(("supervision", "transfer", "validation", "test"), astuple(SIZES), strict=True):
        split = drawn[name]
        kept = np.sort(np.concatenate([np.flatnonzero(split.truth == c)[: size // 2] for c in (0, 1)]))
        splits[name] = Split(split.inputs.take(kept), split.truth[kept])
    assert [len(s.truth) for s in splits.values()] == list(astuple(SIZES))
    return splits


def student_of(
    members, supervisors, seed=0, recipe=RECIPE, width=128, meter=None, votes=None, gold=None, model=None, small=None,
    splits=None,
):  # fmt: skip
    """Returns the strong student trained under a stack; `members` are (name, object factory).

    `model` is another student than the toy one, `small` an intermediate student and its recipe, `splits` other texts.
    """
    splits = splits or data(seed)
    inputs = splits["transfer"].inputs
    rngs = {name: torch.Generator().manual_seed(derive(seed, name)) for name, _ in members}
    meter = meter or Meter()
    if votes is None:
        votes = torch.from_numpy(np.stack([s.label(inputs) for s in supervisors])).float()
    validation = splits["validation"].inputs
    own = torch.from_numpy(np.stack([s.label(validation) for s in supervisors])).float()
    asked = [FrozenSupervisor(f"toy_{k}", lambda s=s: s, meter) for k, s in enumerate(supervisors)]
    model = model or ToyStudent(ToyStudent.Options(width=width))
    between, its = small or (ToyStudent(ToyStudent.Options(width=16)), recipe)
    students = {"strong": (model.backbone, recipe), "toy_small": (between.backbone, its)}
    stage = StageContext(TASK, seed, meter, students)
    features = stage.student("strong", Stack([], {})).features
    pool = Pool(
        TASK, inputs, votes, validation, own, asked, rngs, gold and (lambda: gold), features, CrossFit(stage, inputs)
    )
    return train_student(stage, Stack(members, rngs), pool)


def accuracy(student, seed: int = 0) -> float:
    """Returns the accuracy on the toy test split."""
    test = data(seed)["test"]
    return float((student.predict(test.inputs).argmax(-1).numpy() == test.truth).mean())


# --- a pool of three examples, and stacks to ask about it

LABELS = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
VOTES = torch.stack([LABELS, 1 - LABELS])
LOGITS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])
TARGETS = LABELS
BATCH = Batch(torch.arange(3), {"features": torch.zeros(3, 4)}, LABELS, torch.ones(3), VOTES)
PASS = torch.tensor([2, 0, 1])


def mitigation(hook: str, function, wrapper: bool = False) -> type:
    """Returns a mitigation whose only hook is `function`."""
    return type("Made", (), {hook: hookimpl(wrapper=wrapper)(function)})


def stack_of(*classes, names: str = "abc") -> Stack:
    """Returns a stack whose members are called a, b, c."""
    rngs = {n: torch.Generator().manual_seed(k) for k, n in enumerate(names)}
    return Stack(list(zip(names, classes, strict=False)), rngs)


def pool_of(stack: Stack) -> Pool:
    inputs = Inputs(["x", "y", "z"], ["x", "y", "z"])
    return Pool(TASK, inputs, VOTES, inputs, VOTES, [], stack.rngs, None, lambda texts: torch.zeros(3, 4))


def ask(stack: Stack, hook: str):
    """Returns what a stack answers on a hook, under arguments that fit it."""
    pool = pool_of(stack)
    plan = Round()
    if hook == "combine_votes":
        return stack.combine_votes(VOTES, pool)
    if hook == "plan_rounds":
        return stack.plan_rounds(("strong", "small"), pool)
    if hook == "revise_labels":
        return stack.revise_labels(LABELS, pool, plan)
    if hook == "weigh_examples":
        return stack.weigh_examples(LABELS, pool, plan)
    if hook == "order_examples":
        asked = {"labels": LABELS, "weights": torch.ones(3), "pool": pool}
        return stack.order_examples(lambda: PASS, **asked, round_plan=plan, epoch=0, progress=0.0)
    if hook == "fit_student":
        return stack.fit_student(SimpleNamespace(seen_by=lambda name: name))
    if hook == "training_batch":
        return stack.training_batch(BATCH, 0.5)
    if hook == "training_targets":
        return stack.training_targets(BATCH, LOGITS, 0.5)
    return stack.training_loss(BATCH, LOGITS, TARGETS, 0.5)


def constant(value):
    """Returns a hook that always gives the same answer."""
    return lambda self: value


GOOD = {
    "combine_votes": LABELS,
    "plan_rounds": [Round()],
    "order_examples": torch.tensor([0, 1, 2]),
    "training_targets": LABELS,
    "training_loss": torch.ones(3),
}
"""A fitting answer for every hook that takes wrappers."""
