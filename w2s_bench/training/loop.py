"""Training on weak labels, from the supervisors' votes to a fitted student.

    pool.votes       [S, N, C]  what each supervisor says; a row of NaN abstains
      combine_votes   -> labels [N, C]    one row of probabilities per example            train_student
      plan_rounds     -> list[Round]      which student learns from which labels          train_student
      revise_labels   -> labels [N, C]    for each round                                  fit_round
      weigh_examples  -> weights [N]      0 leaves an example out                         fit_round
      order_examples, training_batch -> batches of B examples                             Problem.batches
      student         -> logits [B, C]                                                    step.py: losses
      training_targets-> targets [B, C]   training_loss -> losses [B]                     step.py: losses
      weighted mean   -> loss []          then one step of AdamW                          step.py: step_loss

Each name on the left is a hook; `defaults.py` says what happens where no mitigation implements it. `fit_student`
replaces the loop over batches (`lightning_loop`) by a mitigation's own.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, Recipe, Round, TaskInfo
from w2s_bench.seeds import derive
from w2s_bench.training.batches import Batch, bucketed, consecutive
from w2s_bench.training.checks import settle
from w2s_bench.training.frozen import deferred
from w2s_bench.training.language import joined
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Pool
from w2s_bench.training.resume import Fit, Place, Saves
from w2s_bench.training.stack import Stack
from w2s_bench.training.step import TrainableStudent


@dataclass
class StageContext:
    """What all fits of one stage share."""

    task: TaskInfo
    seed: int
    meter: Meter
    backbones: Mapping[str, tuple[Callable[[int], Backbone], Recipe]]
    """By student name: how to load a fresh body, and how it is finetuned."""
    cache: tuple[str, ...] = ()
    """Folders that are read for features and the like; the first takes what is new. None: nothing is kept."""
    hardware: dict[str, Any] = field(default_factory=lambda: {"accelerator": "cpu"})
    trainer: dict[str, Any] = field(default_factory=dict)
    identities: dict[str, dict[str, str]] = field(default_factory=dict)
    """Filled while loading: names and revisions of the bodies used."""
    keys: dict[str, str] = field(default_factory=dict)
    """By student name: what the cache knows it by. Those whose weights are drawn by the seed have none."""
    saves: Saves = field(default_factory=Saves)

    def student(self, name: str, stack: Stack, twin: int = 0) -> TrainableStudent:
        """Returns a fresh student; its seed depends on the cell's, its name and which twin it is."""
        load, recipe = self.backbones[name]
        seed = derive(self.seed, "weights", name, twin)
        torch.manual_seed(seed)  # bodies that are drawn at random, adapters and dropout
        if recipe.tune == "probe" and self.task.kind != "generation" and self.cache and name in self.keys:
            backbone = deferred(functools.partial(load, seed), self.keys[name], self.cache)
        else:
            backbone = load(seed)
        self.identities[name] = backbone.identity
        accelerator = self.hardware["accelerator"]
        return TrainableStudent(stack, backbone, self.task, recipe, seed, self.meter, self.cache, accelerator)


def train_student(stage: StageContext, stack: Stack, pool: Pool) -> TrainableStudent:
    """Returns the strong student, trained on weak labels under a stack of mitigations."""
    pool = replace(pool, _combine=lambda view: stack.fresh().combine_votes(view.votes, view))
    combined = stack.combine_votes(pool.votes, pool)
    rounds = stack.plan_rounds(tuple(stage.backbones), pool)
    if rounds[-1].student != "strong" or rounds[-1].objective != "labels":
        raise W2SError(f"mitigation {stack.owner('plan_rounds')}: the last round must fit `strong` to labels")
    previous: TrainableStudent | None = None
    for number, planned in enumerate(rounds):
        plan = replace(planned, previous=previous, index=number)
        if previous is None and (plan.labels == "previous" or not plan.fresh):
            raise W2SError(f"mitigation {stack.owner('plan_rounds')}: the first round has no round before it")
        if number and not plan.fresh and plan.student != rounds[number - 1].student:
            raise W2SError(
                f"mitigation {stack.owner('plan_rounds')}: round {number + 1} continues `{plan.student}`, but the "
                f"round before it fits `{rounds[number - 1].student}`; name the same student, or fresh=True"
            )
        if number and plan.labels == "previous" and rounds[number - 1].objective == "text":
            raise W2SError(
                f"mitigation {stack.owner('plan_rounds')}: round {number + 1} asks for the labels of a student that "
                "learnt from texts alone; use labels='votes'"
            )
        labels = combined if plan.labels == "votes" or previous is None else previous.predict(pool.inputs)
        fit = fit_texts if plan.objective == "text" else fit_round
        previous = fit(stage, stack.fresh(), pool, plan, labels)
    assert previous is not None
    return previous


def fit_round(stage: StageContext, stack: Stack, pool: Pool, plan: Round, labels: Tensor) -> TrainableStudent:
    """Returns one round's fitted student, from labels [N, C] in which a row of NaN has no label."""
    abstained = labels.isnan().any(-1)
    uniform = torch.full_like(labels, 1.0 / labels.shape[-1])
    labels = torch.where(abstained[:, None], uniform, labels)  # mitigations never meet a NaN
    labels = stack.revise_labels(labels, pool, plan)
    weights = stack.weigh_examples(labels, pool, plan)
    unlabelled = abstained & ((labels - uniform).abs() < 1e-6).all(-1)
    weights = torch.where(unlabelled, torch.zeros_like(weights), weights)
    weights = weights * examples_of(plan, len(weights))
    if not bool((weights > 0).any()):
        raise W2SError(
            f"no example is left to train on in round {plan.index + 1}: "
            f"{'+'.join(n for n, _ in stack.members) or 'the supervisors'} gave every one weight 0; loosen the filter"
        )
    initial_stack = stack.twin() if stack.owner("fit_student") else None
    problem = Problem(stage, stack, pool, plan, labels.detach(), weights.detach(), initial_stack)
    student = stack.fit_student(problem) or lightning_loop(problem)
    settle()
    return student


def fit_texts(stage: StageContext, stack: Stack, pool: Pool, plan: Round, labels: Tensor) -> TrainableStudent:
    """Returns one round's student, trained on texts as a language model; the stack is not asked.

    The texts are those of the pool, unlabelled ones among them unless the plan names its examples.
    """
    if pool.unlabelled is not None and plan.examples is None:
        inputs = joined(pool.inputs, pool.unlabelled)
        pool = replace(pool, inputs=inputs, votes=pool.votes.new_zeros(len(pool.votes), len(inputs), labels.shape[-1]))
        labels = labels.new_zeros(len(inputs), labels.shape[-1])
    weights = examples_of(plan, len(labels))
    student = lightning_loop(Problem(stage, Stack([], {}), pool, plan, torch.zeros_like(labels), weights))
    settle()
    return student


def examples_of(plan: Round, size: int) -> Tensor:
    """Returns 1 for the examples that a round is planned on [N], 0 for the others."""
    if plan.examples is None:
        return torch.ones(size)
    weights = torch.zeros(size)
    weights[torch.as_tensor(np.asarray(plan.examples), dtype=torch.long)] = 1.0
    return weights


@dataclass
class Problem:
    """One round's training, as a mitigation with a loop of its own gets it."""

    stage: StageContext
    stack: Stack
    pool: Pool
    plan: Round
    labels: Tensor
    """[N, C], after all revisions."""
    weights: Tensor
    """[N]; 0 leaves an example out."""
    initial_stack: Stack | None = None
    """The stack after labels and weights and before any step: what a twin starts from."""
    students: list[TrainableStudent] = field(default_factory=list)

    def seen_by(self, mitigation: str) -> Problem:
        """Returns the problem with this mitigation's own generator in its pool."""
        return replace(self, pool=self.pool.seen_by(mitigation))

    @property
    def recipe(self) -> Recipe:
        """The recipe of this round's student."""
        return self.stage.backbones[self.plan.student][1]

    @property
    def steps(self) -> int:
        """Optimiser steps of this round; what a filter leaves out does not shorten it."""
        examples = self.recipe.epochs * len(self.labels) * self.plan.share
        return max(1, int(examples / self.recipe.batch_size + 1e-6))

    def new_student(self) -> TrainableStudent:
        """Returns a student to train, the last round's where the plan continues it; twins differ in their seed."""
        twin = len(self.students)
        stack = self.stack if twin == 0 else (self.initial_stack or self.stack).twin()
        student = self.stage.student(self.plan.student, stack, twin)
        if not self.plan.fresh:
            student.classifier.load_state_dict(self.plan.previous.classifier.state_dict())
        student.begin(self.steps, self.plan.lr_scale, self.plan.objective)
        torch.manual_seed(derive(self.stage.seed, "dropout", self.plan.index))
        self.students.append(student)
        return student

    def batches(self, place: Place | None = None) -> Iterator[tuple[Batch, float]]:
        """Yields (batch, progress in [0, 1)) for every step of the round; `place` is where to begin, and kept up."""
        student = self.students[0] if self.students else self.new_student()
        place, size = place or Place(), self.recipe.batch_size
        if place.batch is not None and place.made > student.taken:  # made before a kill, and not learnt from
            yield place.batch, (place.made - 1) / self.steps
        while place.made < self.steps:
            if place.order is None:
                place.order, place.used = self._order(place.epoch, place.made / self.steps, student, size), 0
            for index in itertools.islice(consecutive(place.order, size), place.used, None):
                progress = place.made / self.steps
                at = torch.from_numpy(index)
                batch = Batch(
                    index=at,
                    inputs=student.batch_inputs(self.pool.inputs, index),
                    labels=self.labels[at],
                    weights=self.weights[at],
                    votes=self.pool.votes[:, at],
                )
                place.batch = self.stack.training_batch(batch, progress)
                place.made, place.used = place.made + 1, place.used + 1
                yield place.batch, progress
                if place.made == self.steps:
                    return
            place.epoch, place.order = place.epoch + 1, None

    def _order(self, epoch: int, progress: float, student: TrainableStudent, size: int) -> np.ndarray:
        """Returns the positions of one pass, in its order."""
        kept = (self.weights > 0).numpy()

        def shuffle() -> Tensor:
            rng = np.random.default_rng(derive(self.stage.seed, "shuffle", self.plan.index, epoch))
            shuffled = rng.permutation(np.flatnonzero(kept))
            lengths = student.lengths(self.pool.inputs)
            return torch.from_numpy(np.concatenate(list(bucketed(shuffled, lengths, size, rng))))

        arguments = {"labels": self.labels, "weights": self.weights, "pool": self.pool}
        order = self.stack.order_examples(shuffle, **arguments, round_plan=self.plan, epoch=epoch, progress=progress)
        chosen = order.numpy()[kept[order.numpy()]]
        if len(chosen) == 0:
            owner = self.stack.owner("order_examples")
            raise W2SError(f"mitigation {owner}: order_examples named only examples that the others left out")
        return chosen


def lightning_loop(problem: Problem) -> TrainableStudent:
    """Returns the student after the round's steps under Lightning's Trainer."""
    stage, recipe = problem.stage, problem.recipe
    student = problem.new_student()
    fit = Fit(problem, student)
    if fit.ended:
        return student
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    arguments: dict[str, Any] = {
        "max_steps": problem.steps - fit.taken,
        "max_epochs": -1,
        "accelerator": stage.hardware["accelerator"],
        "devices": 1,
        "strategy": InPlace(student.target_device),
        "precision": recipe.precision,
        "gradient_clip_val": recipe.clip_norm or None,
        "accumulate_grad_batches": recipe.accumulate,
        **({**dict.fromkeys(off, False), **stage.trainer} if stage.trainer else {"barebones": True}),
    }
    with quiet():
        lightning.Trainer(**arguments).fit(student, train_dataloaders=fit)
    fit.end()
    return student.to(student.target_device)


class InPlace(SingleDeviceStrategy):
    """Leaves the student on its device: at the end Lightning's own sends weights and optimiser to the CPU."""

    def teardown(self) -> None:
        """Ends a fit; what it has trained stays where it is."""
        self.precision_plugin.teardown()
        self.checkpoint_io.teardown()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Lightning's notes about devices, tips and loaders off the terminal; its errors still show."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
