"""Early-learning regularisation: the student keeps to what it predicted before it began to memorise."""

from dataclasses import dataclass
from typing import Any

from w2s_bench import hookimpl


class EarlyLearning:
    """A loss that rises as the student leaves a moving average of its own predictions.

    Source: Liu et al. 2020, arXiv 2007.00151, and their code. Formula: inner loss + l log(1 - <t, p>), where
    t <- b t + (1 - b) p is an average for each example, from 0, p detached there. p is kept within [1e-4, 1 - 1e-4], as
    in the code. Defaults: b = 0.7 and l = 3, as there for CIFAR-10. Cost: 1.
    """

    source = "Liu et al. 2020, arXiv 2007.00151"
    search = {"beta": [0.5, 0.7, 0.9], "strength": [1.0, 3.0, 7.0]}

    @dataclass
    class Options:
        beta: float = 0.7
        """Share of the old average that is kept at each visit, in [0, 1)."""
        strength: float = 3.0
        """Weight l of the regulariser."""

        def __post_init__(self):
            if not 0 <= self.beta < 1:
                raise ValueError(f"beta must lie in [0, 1), not {self.beta}")

    def __init__(self, options):
        self.options = options
        self.average: Any = None

    @hookimpl
    def weigh_examples(self, labels):
        """Returns ones; here the averages begin."""
        self.average = labels.new_zeros(labels.shape)
        return labels.new_ones(len(labels))

    @hookimpl(wrapper=True)
    def training_loss(self, batch, logits):
        """Returns the inner loss and the regulariser, for each example."""
        loss = yield
        p = logits.softmax(-1).clamp(1e-4, 1 - 1e-4)
        self.average = self.average.to(logits.device)
        seen = p.detach() / p.detach().sum(-1, keepdim=True)
        target = self.options.beta * self.average[batch.index] + (1 - self.options.beta) * seen.to(self.average.dtype)
        self.average[batch.index] = target
        return loss + self.options.strength * (1 - (target * p).sum(-1)).log()


@hookimpl
def register_mitigations(register):
    register("elr", EarlyLearning)
