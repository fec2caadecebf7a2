"""A supervisor that is itself a finetuned model: all but which model, and its recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from w2s_bench.interfaces import TASK_KINDS, Backbone, FitContext, Inputs


class FinetunedSupervisor(ABC):
    """A model finetuned on the supervision split; it labels, answers, rewards and corrects."""

    kinds = frozenset(TASK_KINDS)

    @abstractmethod
    def backbone(self) -> Backbone:
        """Returns the model as pretrained."""

    @abstractmethod
    def tuned(self, context: FitContext) -> FitContext:
        """Returns the context with the supervisor's own options in its recipe."""

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Finetunes the model on the supervision split."""
        from w2s_bench.training.finetune import finetune, hard_labels

        inputs, labels = hard_labels(context.task, inputs, truth)
        self.fitted = finetune(self.backbone(), inputs, labels, self.tuned(context))

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
        """Returns [N] the answer again to accept it, another where sure of that, -1 or "" to abstain."""
        from w2s_bench.training.critic import correct_by_answer, correct_by_label

        if self.fitted.generative:
            own_answers = self.answer(inputs)
            confidence = np.exp(self.fitted.log_likelihood(inputs, own_answers.tolist()))
            return correct_by_answer(own_answers, confidence, answers)
        return correct_by_label(self.label(inputs), answers)

    def save(self, folder: Path) -> None:
        """Writes the finetuned weights."""
        self.fitted.save(folder)

    def restore(self, folder: Path, context: FitContext) -> None:
        """Reads what `save` wrote."""
        from w2s_bench.training.finetune import restore

        self.fitted = restore(self.backbone(), folder, self.tuned(context))
