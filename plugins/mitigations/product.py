"""Targets that student and supervisor agree on: a product of experts."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class Product:
    """Targets proportional to the product of the student's and the supervisor's probabilities.

    Source: `product_loss_fct` in openai/weak-to-strong. Formula: target proportional to p^b w^a, detached. Defaults:
    a = b = 1, as there. Cost: 1.
    """

    source = "openai/weak-to-strong, loss.py"
    search = {"alpha": [0.5, 1.0, 2.0], "beta": [0.5, 1.0, 2.0]}

    @dataclass
    class Options:
        alpha: float = 1.0
        """Power of the supervisor's probabilities."""
        beta: float = 1.0
        """Power of the student's probabilities."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def training_targets(self, batch, logits):
        """Returns the normalised product, computed in logarithms."""
        log_weak = batch.labels.clamp(min=1e-12).log()
        log_own = logits.detach().log_softmax(-1)
        return (self.options.alpha * log_weak + self.options.beta * log_own).softmax(-1)


@hookimpl
def register_mitigations(register):
    register("product", Product)
