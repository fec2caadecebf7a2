"""Any Hugging Face sequence model as a supervisor, finetuned on the supervision split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.interfaces import FitContext, Inputs
from w2s_bench.plugins.students.hf import HfStudent, Pretrained


@hookimpl
def register_supervisors(register) -> None:
    """Registers the supervisor."""
    register("hf", HfSupervisor)


class HfSupervisor(Pretrained):
    """A Hugging Face model, finetuned on the supervision split; it labels, rewards and corrects."""

    role = "supervisor"

    @dataclass
    class Options(HfStudent.Options):
        tune: Literal["full", "probe", "lora"] = "full"
        """`full` trains every weight, `probe` a linear head on frozen features, `lora` adapters and the head."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Finetunes the model on the supervision split."""
        import torch

        from w2s_bench.training.finetune import finetune

        labels = torch.nn.functional.one_hot(torch.from_numpy(np.asarray(truth)).long(), context.task.n_classes).float()
        self.fitted = finetune(self.load(), inputs, labels, self._tuned(context))

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns class probabilities [N, C]."""
        return self.fitted.predict(inputs).numpy()

    def reward(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] the probability of each answer, a class number; of a pair, the answer's score (a log-odds)."""
        return self.fitted.rewards(inputs)[np.arange(len(inputs)), np.asarray(answers)]

    def correct(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] class numbers: the answer to accept it, another where sure of that, -1 to abstain."""
        from w2s_bench.training.critic import correct_by_label

        return correct_by_label(self.label(inputs), answers)

    def save(self, folder: Path) -> None:
        """Writes the finetuned weights."""
        self.fitted.save(folder)

    def restore(self, folder: Path, context: FitContext) -> None:
        """Reads what `save` wrote."""
        from w2s_bench.training.finetune import restore

        self.fitted = restore(self.load(), folder, self._tuned(context))

    def _tuned(self, context: FitContext) -> FitContext:
        """Returns the context with this entry's own options in its recipe."""
        o = self.options
        recipe = replace(context.recipe, body_lr=o.body_lr, head_lr=o.head_lr, tune=o.tune, max_length=o.max_length)
        return replace(context, recipe=recipe)
