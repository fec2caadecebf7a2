"""The pool: the transfer examples as a mitigation sees them. No ground truth is in reach from here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Inputs, TaskInfo
from w2s_bench.training.answers import labels_for, texts_of
from w2s_bench.training.meter import Meter


@dataclass
class FrozenSupervisor:
    """A fitted supervisor that mitigations may query during training; each example queried is counted."""

    name: str
    _restore: Callable[[], Any]
    _meter: Meter
    _supervisor: Any = None

    def label(self, inputs: Inputs) -> Tensor:
        """Returns probabilities [N, C]; a row of NaN abstains."""
        return torch.as_tensor(np.asarray(self._query("label", inputs), dtype=np.float32))

    def reward(self, inputs: Inputs, answers: Sequence[int] | Sequence[str] | Tensor) -> Tensor:
        """Returns how good these answers are, [N]."""
        return torch.as_tensor(np.asarray(self._query("reward", inputs, np.asarray(answers)), dtype=np.float32))

    def correct(self, inputs: Inputs, answers: Sequence[int] | Sequence[str] | Tensor) -> Any:
        """Returns class numbers [N], or texts for texts: the same to accept, another to fix, -1 or "" to abstain."""
        verdicts = np.asarray(self._query("correct", inputs, np.asarray(answers)))
        return verdicts.tolist() if verdicts.dtype.kind == "U" else torch.as_tensor(verdicts.astype(np.int64))

    def _query(self, what: str, inputs: Inputs, *answers: Any) -> np.ndarray:
        with torch.random.fork_rng():  # a query must not move the streams of dropout
            if self._supervisor is None:
                self._supervisor = self._restore()
            method = getattr(self._supervisor, what, None)
            if method is None:
                raise W2SError(f"supervisor {self.name} offers no `{what}`; use one that does (`w2s list supervisors`)")
            self._meter.supervisor_calls += len(inputs)
            try:
                return method(inputs, *answers)
            except W2SError:
                raise
            except Exception as error:
                raise W2SError(f"supervisor {self.name}: {what} raised {type(error).__name__}: {error}") from error


@dataclass
class Pool:
    """The transfer split: inputs, votes, features on demand, a generator per mitigation, supervisors to query."""

    task: TaskInfo
    inputs: Inputs
    votes: Tensor
    """[S, N, C]; a row of NaN abstains."""
    validation: Inputs
    validation_votes: Tensor
    """[S, M, C] of the validation split, weak labels too."""
    supervisors: list[FrozenSupervisor]
    rngs: dict[str, torch.Generator]
    _gold: Callable[[], tuple[Inputs, Tensor]] | None = None
    _features: Callable[[Inputs], Tensor] | None = None
    _cross_predict: Callable[[Tensor, int, float], Tensor] | None = None
    _combine: Callable[[Pool], Tensor] | None = None
    """How the stack combines votes; set by `train_student`."""
    _transfer_truth: Callable[[], Tensor] | None = None
    unlabelled: Inputs | None = None
    """Texts in no split that nobody labels, where the task has any (`task.n_unlabelled`)."""
    rng: torch.Generator | None = None
    """The asking mitigation's own generator."""

    def __len__(self) -> int:
        return len(self.inputs)

    def labels_for(self, answers: Any, at: Any = None) -> Tensor:
        """Returns one-hot labels [n, C] for these answers to the examples at positions `at` (None: all).

        Answers are class numbers, or in a generation task texts; a row of NaN where one is -1 or empty. A text that
        nobody gave before becomes its example's candidate, in place of the last one that came in this way.
        """
        if self.task.kind == "generation":
            return labels_for(self.inputs, answers, range(len(self)) if at is None else np.asarray(at).tolist())
        answers = torch.as_tensor(answers)
        labels = torch.nn.functional.one_hot(answers.clamp(min=0), self.votes.shape[-1]).float()
        return torch.where(answers[:, None] < 0, torch.nan, labels)

    def answers_of(self, labels: Tensor) -> Any:
        """Returns the likeliest answers [N] under labels [N, C]: class numbers, or in a generation task texts."""
        return texts_of(self.inputs, labels) if self.task.kind == "generation" else labels.argmax(-1)

    @property
    def features(self) -> Tensor:
        """Features [N, H] of the strong student's body as pretrained (preference: [2, N, H]); computed when asked."""
        return self.features_of(self.inputs)

    def features_of(self, inputs: Inputs) -> Tensor:
        """Returns the same features of these texts; each text is read once."""
        assert self._features is not None
        return self._features(inputs)

    def cross_predict(self, labels: Tensor, folds: int = 2, share: float = 1.0) -> Tensor:
        """Returns probabilities [N, C] by strong students that each learnt from the other folds' labels [N, C].

        Plain finetuning for `share` of the usual passes; a row of NaN is not learnt from. The fits have streams of
        their own, count as cost, and are kept: who asks for the same again gets the same.
        """
        assert self._cross_predict is not None
        return self._cross_predict(labels, folds, share)

    @property
    def gold(self) -> tuple[Inputs, Tensor]:
        """Examples of the supervision split with their true labels [G, C]: the budget `task.n_gold`.

        There for mitigations that declare the need `ground_truth` alone, whose rows have a track of their own.
        """
        if self._gold is None:
            raise W2SError("pool.gold is for mitigations that declare needs = frozenset({'ground_truth'})")
        return self._gold()

    @property
    def transfer_truth(self) -> Tensor:
        """True labels [N, C] of the transfer split, for controls that declare the need `transfer_truth` alone."""
        assert self._transfer_truth is not None
        return self._transfer_truth()

    @property
    def validation_labels(self) -> Tensor:
        """Labels [M, C] of the validation split as the stack combines its votes; a row of NaN has none."""
        assert self._combine is not None
        rngs = {name: rng.clone_state() for name, rng in self.rngs.items()}  # asking moves no stream
        return self._combine(replace(self, inputs=self.validation, votes=self.validation_votes, rngs=rngs))

    def seen_by(self, mitigation: str) -> Pool:
        """Returns the pool with this mitigation's own generator."""
        view = copy.copy(self)
        view.rng = self.rngs[mitigation]
        return view
