"""Supervisors out of the ladder: small rungs, finetuned on the supervision split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError
from w2s_bench.estimate.shape import Shape
from w2s_bench.interfaces import Backbone, FitContext
from w2s_bench.plugins.ladder import rungs
from w2s_bench.plugins.pretrained.supervisor import FinetunedSupervisor
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
    register("early_checkpoint", EarlyCheckpoint)


class LadderSupervisor(FinetunedSupervisor):
    """A small rung of the ladder, finetuned on the supervision split; it labels, answers, rewards and corrects."""

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

    def shape(self) -> Shape:
        """Returns the size of the rung."""
        return rungs.shape_of(self.folder)

    def fingerprint(self) -> str:
        """Returns a digest of the pretrained weights."""
        return rungs.digest(self.folder)

    def tuned(self, context: FitContext) -> FitContext:
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

    def shape(self) -> Shape:
        """Returns the size of what is kept of the rung."""
        return rungs.shape_of(self.folder, self.options.layers)

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


class EarlyCheckpoint(LadderSupervisor):
    """A larger rung whose pretraining ended early, finetuned on the supervision split: weak by training, not size."""

    @dataclass
    class Options(LadderSupervisor.Options):
        size: str = "m"
        steps: int = 600
        """Optimiser steps of pretraining, with a schedule of their own; other rungs take 6,000."""

    options: Options

    @property
    def folder(self) -> Path:
        """Folder of the rung."""
        o = self.options
        return rungs.rung_folder(o.size, o.checkpoint, o.saliency, o.path, o.steps)
