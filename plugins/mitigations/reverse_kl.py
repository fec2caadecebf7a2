"""Reverse Kullback-Leibler divergence: the student keeps to where the supervisor is sure."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class ReverseKL:
    """The divergence of the student from the labels, in place of that of the labels from the student.

    Source: arXiv 2502.11107. Formula: KL(p || w) = sum_c p_c (log p_c - log w_c), w at least `floor`. It seeks the
    supervisor's mode and lets go of the rest. Default: a floor of 1e-4, which bounds the loss where labels are hard.
    Cost: 1.
    """

    source = "arXiv 2502.11107"
    search = {"floor": [1e-6, 0.0001, 0.01]}

    @dataclass
    class Options:
        floor: float = 1e-4
        """What labels are raised to before their logarithm is taken, in (0, 1)."""

        def __post_init__(self):
            if not 0 < self.floor < 1:
                raise ValueError(f"floor must lie between 0 and 1, not {self.floor}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def training_loss(self, logits, targets):
        """Returns the divergence of each example."""
        log_p = logits.log_softmax(-1)
        return (log_p.exp() * (log_p - targets.clamp(min=self.options.floor).log())).sum(-1)


@hookimpl
def register_mitigations(register):
    register("reverse_kl", ReverseKL)
