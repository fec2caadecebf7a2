"""Generalized cross-entropy, a loss between cross-entropy and mean absolute error."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class GeneralizedCrossEntropy:
    """Losses that grow more slowly than cross-entropy on labels the student finds unlikely.

    Source: Zhang & Sabuncu 2018, arXiv 1805.07836, eq. 6 and 7. Formula: sum_c t_c (1 - p_c^q) / q; truncated: an
    example whose p_c lies below k costs (1 - k^q) / q and teaches nothing. Defaults: q .7 and k .5, as there. Cost:
    1.
    """

    source = "Zhang & Sabuncu 2018, arXiv 1805.07836"

    @dataclass
    class Options:
        q: float = 0.7
        """0 tends to cross-entropy, 1 is mean absolute error."""
        truncated: bool = False
        """Leave out labels with a probability below k."""
        k: float = 0.5
        """Where the truncation begins."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def training_loss(self, logits, targets):
        """Returns the loss of each example."""
        p = logits.softmax(-1)
        if self.options.truncated:
            p = p.clamp(min=self.options.k)
        return (targets * (1 - p**self.options.q) / self.options.q).sum(-1)


@hookimpl
def register_mitigations(register):
    register("gce", GeneralizedCrossEntropy)
