"""One student trained on the toy problem, by the real training path, under whatever stack is asked."""

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

from w2s_bench.conformance.toy import ToyStudent, ToySupervisor, ToyTask
from w2s_bench.interfaces import FitContext, Inputs, Recipe, Sizes, Split, TaskInfo
from w2s_bench.seeds import derive
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import FrozenSupervisor, Pool
from w2s_bench.training.stack import Stack

SIZES = Sizes(n_supervision=160, n_transfer=96, n_validation=48, n_test=48)
RECIPE = Recipe(body_lr=1e-2, head_lr=1e-2, epochs=2, batch_size=16)
KNOWN = (40, 52)
"""How many of the words each toy supervisor knows."""
INTERMEDIATE = "toy_small"
SEED = 5


@dataclass
class Trial:
    """What one fit left behind."""

    predictions: np.ndarray
    """[N, C] on the test split."""
    steps: int
    """Optimiser steps, of all rounds and twins."""
    touched: set[str] = field(default_factory=set)
    """What the pool was asked for: `features`, `label`, `reward`, `correct`."""


def trial(
    members: Sequence[tuple[str, Callable[[], Any]]], supervisors: int = 1, variant: str = "plain", ambient: int = 0
) -> Trial:
    """Returns what a student, trained under a stack of (name, factory), predicts.

    `variant`: `plain`; `abstaining` supervisors that leave every eighth example open; `pairs`; `three` classes.
    `ambient` seeds the global generators, which must not matter.
    """
    splits, votes = _splits(variant), _votes(variant, supervisors)
    classes = votes["transfer"].shape[-1]
    task = TaskInfo("toy", "preference" if variant == "pairs" else "classification", classes, list("abc"[:classes]))
    rngs = {name: torch.Generator().manual_seed(derive(SEED, "mitigation", name)) for name, _ in members}
    meter, touched = Meter(), set[str]()
    strong, small = (ToyStudent(ToyStudent.Options(width=w)) for w in (32, 16))
    backbones = {"strong": (strong.backbone, RECIPE), INTERMEDIATE: (small.backbone, RECIPE)}
    stage = StageContext(task, SEED, meter, backbones)

    def features() -> torch.Tensor:
        touched.add("features")
        with torch.random.fork_rng():
            return stage.student("strong", Stack([], {})).features(splits["transfer"])

    frozen = [
        FrozenSupervisor(f"toy_{k}", functools.partial(Watched, s, touched), meter) for k, s in _fitted(supervisors)
    ]
    pool = Pool(
        task, splits["transfer"], votes["transfer"], splits["validation"], votes["validation"], frozen, rngs, features
    )
    with streams(ambient):
        fitted = train_student(stage, Stack(members, rngs), pool)
        return Trial(fitted.predict(splits["test"]).numpy(), meter.steps, touched)


class Watched:
    """A toy supervisor that notes what it is asked."""

    def __init__(self, supervisor: ToySupervisor, touched: set[str]) -> None:
        for what in ("label", "reward", "correct"):
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
def _drawn() -> dict[str, Split]:
    return ToyTask().load(0, SIZES)[1]


def _splits(variant: str) -> dict[str, Inputs]:
    inputs = {name: split.inputs for name, split in _drawn().items()}
    if variant != "pairs":
        return inputs
    return {n: Inputs(i.ids, i.text, i.text[1:] + i.text[:1], i.difficulty) for n, i in inputs.items()}


@functools.cache
def _fitted(supervisors: int) -> list[tuple[int, ToySupervisor]]:
    split, task = _drawn()["supervision"], TaskInfo("toy", "classification", 2, ["below", "above"])
    made = []
    for k, words in enumerate(KNOWN[:supervisors]):
        supervisor = ToySupervisor(ToySupervisor.Options(words=words))
        supervisor.fit(split.inputs, split.truth, FitContext(task, k, RECIPE))
        with tempfile.TemporaryDirectory() as folder:  # frozen, as a cell would have it
            supervisor.save(Path(folder))
            again = ToySupervisor(ToySupervisor.Options(words=words))
            again.restore(Path(folder), FitContext(task, k, RECIPE))
        made.append((k, again))
    return made


@functools.cache
def _votes(variant: str, supervisors: int) -> dict[str, torch.Tensor]:
    votes = {}
    for split in ("transfer", "validation"):
        inputs = _drawn()[split].inputs
        said = np.stack([s.label(inputs) for _, s in _fitted(supervisors)])
        if variant == "three":
            rng = np.random.default_rng(1)
            share = rng.uniform(0.1, 0.9, said.shape[:2])
            said = np.stack([said[..., 0], said[..., 1] * share, said[..., 1] * (1 - share)], -1)
        elif variant == "abstaining":
            for k in range(supervisors):
                said[k, k::8] = np.nan
        votes[split] = torch.from_numpy(said).float()
    return votes
