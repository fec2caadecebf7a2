"""Students out of the ladder: tiny language models pretrained on the world of the tasks facts, sums and reviews."""

from __future__ import annotations

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.estimate.shape import Shape
from w2s_bench.interfaces import TASK_KINDS, Backbone
from w2s_bench.plugins.ladder import rungs


@hookimpl
def register_students(register) -> None:
    register("ladder", LadderStudent)
    for size in rungs.SIZES:
        register(f"ladder_{size}", LadderStudent, size=size)
    register("ladder_m_sal0", LadderStudent, size="m", saliency=0.0)
    register("ladder_m_sal1", LadderStudent, size="m", saliency=0.1)


class LadderStudent:
    """A rung of the ladder, finetuned whole: 8 thousand to 630 thousand parameters, seconds on one core."""

    kinds = frozenset(TASK_KINDS)
    pretrained = True

    @dataclass
    class Options:
        size: str = "m"
        """Rung: `xxs`, `xs`, `s`, `sm`, `m` or `l`."""
        checkpoint: int = 0
        """Pretraining seed."""
        saliency: float = 0.3
        """How often its pretraining text named the class of a digit or value: 0.3, for `m` also 0 and 0.1."""
        path: str | None = None
        """Folder of a rung of your own (`w2s pretrain`) in place of a shipped one."""
        body_lr: float = 5e-5
        """Peak learning rate of the pretrained weights."""
        head_lr: float = 3e-3
        """Peak learning rate of the new head."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def folder(self):
        """Folder of the rung."""
        o = self.options
        return rungs.rung_folder(o.size, o.checkpoint, o.saliency, o.path)

    def fingerprint(self) -> str:
        """Returns a digest of the pretrained weights."""
        return rungs.digest(self.folder)

    def shape(self) -> Shape:
        """Returns the size of the rung."""
        return rungs.shape_of(self.folder)

    def backbone(self, seed: int) -> Backbone:
        """Returns a fresh copy of the rung; `seed` plays no part, for no weight is drawn."""
        return rungs.load_backbone(self.folder)
