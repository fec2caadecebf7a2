"""Self-entropy: as training goes on, the student trusts its own probabilities."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class SelfEntropy:
    """Targets bent towards the student's own probabilities, which are not hardened.

    Source: EleutherAI/w2s, `log_confidence_loss(harden=False)`. Formula: target = (1 - a) w + a p, p detached; a rises
    linearly from 0 to `alpha_max`. Defaults: 0.5, as there; the ramp, 100 steps there, is a share of the training
    here, the 20 % of the auxiliary confidence loss. Cost: 1.
    """

    source = "EleutherAI/w2s, loss.py"
    search = {"alpha_max": [0.25, 0.5, 0.75, 0.9], "ramp": [0.1, 0.2, 0.5]}

    @dataclass
    class Options:
        alpha_max: float = 0.5
        """Weight of the student's own probabilities after the ramp, in [0, 1]."""
        ramp: float = 0.2
        """Share of the training over which the weight rises from 0."""

        def __post_init__(self):
            if not 0 <= self.alpha_max <= 1:
                raise ValueError(f"alpha_max must lie in [0, 1], not {self.alpha_max}")

    def __init__(self, options):
        self.options = options

    @hookimpl(wrapper=True)
    def training_targets(self, logits, progress):
        """Returns the inner targets, bent."""
        targets = yield
        alpha = self.options.alpha_max * min(1.0, progress / self.options.ramp if self.options.ramp else 1.0)
        return (1 - alpha) * targets + alpha * logits.detach().softmax(-1)


@hookimpl
def register_mitigations(register):
    register("self_entropy", SelfEntropy)
