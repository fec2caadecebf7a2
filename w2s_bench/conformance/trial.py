"""One student trained on a toy problem of some kind, by the real training path, under whatever stack is asked."""

from __future__ import annotations

import contextlib
import functools
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from w2s_bench.conformance.toy import ToyStudent
from w2s_bench.conformance.toy_kinds import toys_of
from w2s_bench.interfaces import FitContext, Inputs, Recipe, Sizes, Split, TaskInfo
from w2s_bench.seeds import derive
from w2s_bench.training.answers import with_candidates
from w2s_bench.training.crossfit import CrossFit
from w2s_bench.training.finetune import hard_labels
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import FrozenSupervisor, Pool
from w2s_bench.training.stack import Stack

SIZES = Sizes(n_supervision=160, n_transfer=96, n_validation=48, n_test=48)
RECIPE = Recipe(body_lr=1e-2, head_lr=1e-2, epochs=2, batch_size=16)
KNOWN = (40, 52)
"""How many of the words each toy supervisor knows."""
GOLD = 24
"""Examples with truth, for mitigations that need some."""
INTERMEDIATE = "toy_small"
SEED = 5


@dataclass
class Trial:
    """What one fit left behind."""

    predictions: np.ndarray
    """[N, C] on the test split, or [N] texts."""
    steps: int
    """Optimiser steps, of all rounds and twins."""
    touched: set[str] = field(default_factory=set)
    """What the pool was asked for: `features`, `label`, `reward`, `correct`."""


def trial(
    members: Sequence[tuple[str, Callable[[], Any]]],
    supervisors: int = 1,
    variant: str = "plain",
    ambient: int = 0,
    kind: str = "classification",
) -> Trial:
    """Returns what a student, trained under a stack of (name, factory), predicts.

    `variant`: `plain`; `abstaining` supervisors that leave every eighth example open; `three` classes.
    `ambient` seeds the global generators, which must not matter. `kind` is the kind of task.
    """
    task = toy_info(kind, 3 if variant == "three" else 2)
    voted = {split: _voted(kind, variant, supervisors, split) for split in ("transfer", "validation")}
    rngs = {name: torch.Generator().manual_seed(derive(SEED, "mitigation", name)) for name, _ in members}
    meter, touched = Meter(), set[str]()
    strong, small = (toys_of(kind).student(ToyStudent.Options(width=w)) for w in (32, 16))
    backbones = {"strong": (strong.backbone, RECIPE), INTERMEDIATE: (small.backbone, RECIPE)}
    stage = StageContext(task, SEED, meter, backbones)

    def features(inputs: Inputs) -> torch.Tensor:
        touched.add("features")
        with torch.random.fork_rng():
            return stage.student("strong", Stack([], {})).features(inputs)

    def gold() -> tuple[Inputs, torch.Tensor]:
        touched.add("ground_truth")
        split = _drawn(kind)["supervision"]
        return hard_labels(task, split.inputs.take(range(GOLD)), split.truth[:GOLD])

    def transfer_truth() -> torch.Tensor:
        touched.add("transfer_truth")
        return hard_labels(task, inputs, _drawn(kind)["transfer"].truth)[1]

    frozen = [
        FrozenSupervisor(f"toy_{k}", functools.partial(Watched, s, touched), meter)
        for k, s in enumerate(_fitted(kind, supervisors))
    ]
    inputs, votes = voted["transfer"]
    crossed = CrossFit(stage, inputs)
    pool = Pool(
        task, inputs, votes, *voted["validation"], frozen, rngs, gold, features, crossed,
        _transfer_truth=transfer_truth, unlabelled=voted["validation"][0],
    )  # fmt: skip
    test = _drawn(kind)["test"].inputs
    with streams(ambient):
        fitted = train_student(stage, Stack(members, rngs), pool)
        predictions = np.array(fitted.answer(test)) if kind == "generation" else fitted.predict(test).numpy()
        return Trial(predictions, meter.steps, touched)


def toy_info(kind: str, classes: int = 2) -> TaskInfo:
    """Returns what plugins get to know of the toy task of a kind."""
    return TaskInfo("toy", kind, *((0, []) if kind == "generation" else (classes, list("abc"[:classes]))))


class Watched:
    """A toy supervisor that notes what it is asked."""

    def __init__(self, supervisor: Any, touched: set[str]) -> None:
        for what in ("label", "reward", "correct"):
            if not hasattr(supervisor, what):
                continue
            setattr(self, what, self._noting(what, getattr(supervisor, what), touched))

    @staticmethod
    def _noting(what: str, method: Callable[..., Any], touched: set[str]) -> Callable[..., Any]:
        def asked(*arguments: Any) -> Any:
            touched.add(what)
            return method(*arguments)

        return asked


@contextlib.contextmanager
def streams(seed: int) -> Iterator[None]:
    """Seeds the global generators and takes one thread; afterwards all is as it was."""
    threads = torch.get_num_threads()
    held = random.getstate(), np.random.get_state(), torch.get_rng_state()
    torch.set_num_threads(1)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(held[0])
        np.random.set_state(held[1])
        torch.set_rng_state(held[2])
        torch.set_num_threads(threads)


@functools.cache
def _drawn(kind: str) -> dict[str, Split]:
    return toys_of(kind).task().load(0, SIZES)[1]


@functools.cache
def _fitted(kind: str, supervisors: int) -> list[Any]:
    split, cls = _drawn(kind)["supervision"], toys_of(kind).supervisor
    fitted = []
    for k, words in enumerate(KNOWN[:supervisors]):
        context = FitContext(toy_info(kind), k, RECIPE)
        supervisor, frozen = (cls(cls.Options(words=words)) for _ in range(2))
        supervisor.fit(split.inputs, split.truth, context)
        with tempfile.TemporaryDirectory() as folder:  # frozen, as a cell would have it
            supervisor.save(Path(folder))
            frozen.restore(Path(folder), context)
        fitted.append(frozen)
    return fitted


def _voted(kind: str, variant: str, supervisors: int, split: str) -> tuple[Inputs, torch.Tensor]:
    """Returns a split's inputs, and votes [S, N, C] for them; inputs are fresh, for candidates may be added to them."""
    inputs = _drawn(kind)[split].inputs
    if kind == "generation":
        answers = [s.answer(inputs).tolist() for s in _fitted(kind, supervisors)]
        if variant == "abstaining":
            for k, row in enumerate(answers):
                row[k::8] = [""] * len(row[k::8])
        return with_candidates(inputs, answers)
    votes = np.stack([s.label(inputs) for s in _fitted(kind, supervisors)])
    if variant == "three":
        share = np.random.default_rng(1).uniform(0.1, 0.9, votes.shape[:2])
        votes = np.stack([votes[..., 0], votes[..., 1] * share, votes[..., 1] * (1 - share)], -1)
    elif variant == "abstaining":
        for k in range(supervisors):
            votes[k, k::8] = np.nan
    return inputs, torch.from_numpy(votes).float()
