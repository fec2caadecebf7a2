"""Any Hugging Face sequence model as a supervisor, finetuned on the supervision split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from w2s_bench import hookimpl
from w2s_bench.interfaces import Backbone, FitContext
from w2s_bench.plugins.pretrained.supervisor import FinetunedSupervisor
from w2s_bench.plugins.students.hf import HfStudent, Pretrained


@hookimpl
def register_supervisors(register) -> None:
    """Registers the supervisor."""
    register("hf", HfSupervisor)


class HfSupervisor(Pretrained, FinetunedSupervisor):
    """A Hugging Face model, finetuned on the supervision split; it labels, answers, rewards and corrects."""

    role = "supervisor"

    @dataclass
    class Options(HfStudent.Options):
        tune: Literal["full", "probe", "lora"] = "full"
        """`full` trains every weight, `probe` a linear head on frozen features, `lora` adapters and the head."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def backbone(self) -> Backbone:
        """Returns the model as pretrained."""
        return self.load()

    def tuned(self, context: FitContext) -> FitContext:
        """Returns the context with this entry's own options in its recipe."""
        o = self.options
        recipe = replace(context.recipe, body_lr=o.body_lr, head_lr=o.head_lr, tune=o.tune, max_length=o.max_length)
        return replace(context, recipe=recipe)
