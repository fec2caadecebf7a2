"""Supervisors out of the ladder: small rungs, finetuned on the supervision split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import TASK_KINDS, Backbone, FitContext, Inputs
from w2s_bench.plugins.ladder import rungs
from w2s_bench.plugins.students.ladder import LadderStudent

SIZES, CHECKPOINTS = ("xxs", "xs", "s", "sm"), (0, 1, 2)
"""The shipped supervisors; finetunes of one checkpoint make the same errors, those of several do not."""


@hookimpl
def register_supervisors(register) -> None:
    register("ladder", LadderSupervisor)
    for size in SIZES:
        for checkpoint in CHECKPOINTS:
            register(f"ladder_{size}_{checkpoint}", LadderSupervisor, size=size, checkpoint=checkpoint)
    register("truncated", TruncatedLadder)


class LadderSupervisor:
    """A small rung of the ladder, finetuned on the supervision split; it labels, answers, rewards and corrects."""

    kinds = frozenset(TASK_KINDS)

    @dataclass
    class Options(LadderStudent.Options):
        size: str = "xs"
        body_lr: float | None = None  # type: ignore[assignment]
        """Peak learning rate of the pretrained weights; the rung's own where none is given (xs: 2e-4)."""
        head_lr: float = 1e-2

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def folder(self) -> Path:
        """Folder of the rung."""
        o = self.options
        return rungs.rung_folder(o.size, o.checkpoint, o.saliency, o.path)

    def backbone(self) -> Backbone:
        """Returns the rung as pretrained."""
        return rungs.load_backbone(self.folder)

    def fingerprint(self) -> str:
        """Returns a digest of the pretrained weights."""
        return rungs.digest(self.folder)

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Finetunes the rung on the supervision split."""
        from w2s_bench.training.finetune import finetune, hard_labels

        inputs, labels = hard_labels(context.task, inputs, truth)
        self.fitted = finetune(self.backbone(), inputs, labels, self._tuned(context))

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns class probabilities [N, C]."""
        return self.fitted.predict(inputs).numpy()

    def answer(self, inputs: Inputs) -> np.ndarray:
        """Returns [N] texts, each word the likeliest after those before it."""
        return np.array(self.fitted.answer(inputs), dtype=str)

    def reward(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] the probability of each answer, a class number.

        Of a pair it is the candidate's score, a log-odds; of an answer in words its log-probability.
        """
        if self.fitted.generative:
            return self.fitted.log_likelihood(inputs, np.asarray(answers).tolist())
        return self.fitted.rewards(inputs)[np.arange(len(inputs)), np.asarray(answers)]

    def correct(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] the answer again to accept it, another where the rung is sure of that, -1 or "" to abstain."""
        from w2s_bench.training.critic import correct_by_answer, correct_by_label

        if self.fitted.generative:
            own_answers = self.answer(inputs)
            confidence = np.exp(self.fitted.log_likelihood(inputs, own_answers.tolist()))
            return correct_by_answer(own_answers, confidence, answers)
        return correct_by_label(self.label(inputs), answers)

    def save(self, folder: Path) -> None:
        """Writes the finetuned rung."""
        self.fitted.save(folder)

    def restore(self, folder: Path, context: FitContext) -> None:
        """Reads what `save` wrote."""
        from w2s_bench.training.finetune import restore

        self.fitted = restore(self.backbone(), folder, self._tuned(context))

    def _tuned(self, context: FitContext) -> FitContext:
        """Returns the context with this entry's own learning rates in its recipe."""
        body_lr = self.options.body_lr
        if body_lr is None:
            rung = rungs.SIZES.get(self.options.size)
            body_lr = rung.body_lr if rung and self.options.path is None else context.recipe.body_lr
        return replace(context, recipe=replace(context.recipe, body_lr=body_lr, head_lr=self.options.head_lr))


class TruncatedLadder(LadderSupervisor):
    """The first layers of a larger rung, finetuned on the supervision split: weak by depth, not by width."""

    @dataclass
    class Options(LadderSupervisor.Options):
        size: str = "m"
        layers: int = 1
        """How many of the rung's layers are kept, from the first."""

    options: Options

    def backbone(self) -> Backbone:
        """Returns the rung without its last layers."""
        whole = super().backbone()
        network: Any = whole.module
        if not 1 <= self.options.layers <= len(network.h):
            raise UsageError(
                f"supervisor.truncated.layers={self.options.layers}: rung {self.options.size} has {len(network.h)} "
                f"layers; keep 1 to {len(network.h)}"
            )
        network.h = network.h[: self.options.layers]
        return whole
