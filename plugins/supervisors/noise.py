"""The truth with errors put in: set to err in a known way, for calibrating boards and methods."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import FitContext, Inputs


@hookimpl
def register_supervisors(register) -> None:
    """Registers the supervisor."""
    register("noise", Noise)


class Noise:
    """True labels with a share of them wrong, at random, in one class, or where examples are hardest. Control.

    Formula: an example is wrong with probability r (`random`), C r if it is of the first class and else 0 (`class`; r
    in all where classes are equal), or if its difficulty is among the highest share r of the supervision split's
    (`difficulty`). A wrong label is another class drawn evenly. The label named has probability 1 - r, the others
    share r. Draws go by example and seed: asked again, it says the same. It sees the truth of every split, so what is
    learnt from it shows how methods take errors of a kind, not what a weak model would give.
    """

    control = True
    needs = frozenset({"truth"})
    kinds = frozenset({"classification", "preference"})

    @dataclass
    class Options:
        rate: float = 0.3
        """Share of wrong labels, from 0 to below 1."""
        by: Literal["random", "class", "difficulty"] = "random"
        """Where they are."""

        def __post_init__(self) -> None:
            if not 0 <= self.rate < 1:
                raise UsageError(f"rate: expects a share from 0 to below 1, not {self.rate}")

    def __init__(self, options: Options) -> None:
        self.options = options

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Notes the truth, and from which difficulty on labels are wrong."""
        assert context.truth is not None
        self.truth, self.seed, self.n_classes = context.truth, context.seed, context.task.n_classes
        if self.options.by == "difficulty":
            if inputs.difficulty is None:
                raise W2SError(
                    f"supervisor noise: by=difficulty, but task {context.task.name} says nothing of difficulty; "
                    "use supervisor.noise.by=random, or a task that does"
                )
            self.hardest = float(np.quantile(inputs.difficulty, 1 - self.options.rate))

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns probabilities [N, C]."""
        truth = np.array([self.truth[i] for i in inputs.ids])
        drawn, other = np.array([self._draws(i) for i in inputs.ids]).T
        if self.options.by == "difficulty":
            wrong = np.asarray(inputs.difficulty) > self.hardest
        elif self.options.by == "class":
            wrong = (truth == 0) & (drawn < self.options.rate * self.n_classes)
        else:
            wrong = drawn < self.options.rate
        shift = 1 + (other * (self.n_classes - 1)).astype(int)
        named = np.where(wrong, (truth + shift) % self.n_classes, truth)
        labels = np.full((len(inputs), self.n_classes), self.options.rate / (self.n_classes - 1))
        labels[np.arange(len(inputs)), named] = 1 - self.options.rate
        return labels

    def _draws(self, example: str) -> tuple[float, float]:
        """Returns two numbers in [0, 1) that are this example's."""
        digest = hashlib.sha256(f"{self.seed} {example}".encode()).digest()
        return int.from_bytes(digest[:6]) / 2**48, int.from_bytes(digest[6:12]) / 2**48
