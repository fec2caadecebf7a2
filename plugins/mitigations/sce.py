"""Symmetric cross-entropy: cross-entropy, and the reverse of it, which noisy labels move less."""

import math
from dataclasses import dataclass

from w2s_bench import hookimpl


class SymmetricCrossEntropy:
    """Cross-entropy of the student under the labels, plus that of the labels under the student.

    Source: Wang et al. 2019, arXiv 1908.06112. Formula: a (-sum_c w_c log p_c) + b (-sum_c p_c log w_c), where log w_c
    is at least `log_zero`. Defaults: a = 0.1 and b = 1, as there for CIFAR-10, and ln 1e-4, as in the authors' code.
    Cost: 1.
    """

    source = "Wang et al. 2019, arXiv 1908.06112"
    search = {"alpha": [0.1, 0.5, 1.0, 3.0], "beta": [0.1, 1.0]}

    @dataclass
    class Options:
        alpha: float = 0.1
        """Weight of cross-entropy."""
        beta: float = 1.0
        """Weight of reverse cross-entropy."""
        log_zero: float = math.log(1e-4)
        """What the logarithm of a label of 0 is taken to be."""

        def __post_init__(self):
            if not self.log_zero < 0:
                raise ValueError(f"log_zero must be below 0, not {self.log_zero}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def training_loss(self, logits, targets):
        """Returns the loss of each example."""
        log_p = logits.log_softmax(-1)
        log_labels = targets.clamp(min=math.exp(self.options.log_zero)).log()
        forward, reverse = -(targets * log_p).sum(-1), -(log_p.exp() * log_labels).sum(-1)
        return self.options.alpha * forward + self.options.beta * reverse


@hookimpl
def register_mitigations(register):
    register("sce", SymmetricCrossEntropy)
