"""Generalized cross-entropy, a loss between cross-entropy and mean absolute error."""

import math
from dataclasses import dataclass

from w2s_bench import hookimpl


class GeneralizedCrossEntropy:
    """Losses that grow more slowly than cross-entropy on labels the student finds unlikely.

    Source: Zhang & Sabuncu 2018, arXiv 1805.07836, eq. 6 and 7. Formula: sum_c t_c (1 - p_c^q) / q; truncated: an
    example whose p_c is below k costs (1 - k^q) / q and teaches nothing. Defaults: q .7 and k .5, as there. Cost:
    1.
    """

    source = "Zhang & Sabuncu 2018, arXiv 1805.07836"
    search = {"q": [0.3, 0.5, 0.7, 0.9], "truncated": [False, True]}

    @dataclass
    class Options:
        q: float = 0.7
        """0 tends to cross-entropy, 1 is mean absolute error."""
        truncated: bool = False
        """Leave out labels with a probability below k."""
        k: float = 0.5
        """Where the truncation begins."""

        def __post_init__(self):
            if not 0 < self.q <= 1:
                raise ValueError(f"q must lie above 0 and at most at 1, not {self.q}")
            if not 0 < self.k < 1:
                raise ValueError(f"k must lie between 0 and 1, not {self.k}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def training_loss(self, logits, targets):
        """Returns the loss of each example."""
        log_p = logits.log_softmax(-1)  # the slope of p**q is infinite where p underflows
        if self.options.truncated:
            log_p = log_p.clamp(min=math.log(self.options.k))
        return (targets * -(self.options.q * log_p).expm1() / self.options.q).sum(-1)


@hookimpl
def register_mitigations(register):
    register("gce", GeneralizedCrossEntropy)
