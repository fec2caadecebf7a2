"""Adaptive confidence: each example decides for itself how far the student trusts its own prediction."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class AdaptiveConfidence:
    """Targets bent towards the student's own class where it disagrees little with the label.

    Source: Guo et al. 2024, arXiv 2402.03749 (vision superalignment), and their code, `AdaptConf`. Formula: target =
    (1 - a) w + a 1[argmax p], a = e^(s/T) / (e^(s/T) + e^(l/T)), s and l the student's cross-entropy against its own
    class and against the label's; a is at most 1/2, which it is where both are the same class. Default: T = 0.5, fixed
    before any run. Cost: 1.
    """

    source = "Guo et al. 2024, arXiv 2402.03749"
    search = {"temperature": [0.1, 0.25, 0.5, 1.0, 2.0]}

    @dataclass
    class Options:
        temperature: float = 0.5
        """What both cross-entropies are divided by; a small one drops the student's class as soon as it disagrees."""

        def __post_init__(self):
            if not self.temperature > 0:
                raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def __init__(self, options):
        self.options = options

    @hookimpl(wrapper=True)
    def training_targets(self, logits):
        """Returns the inner targets, bent."""
        import torch

        targets = yield
        log_p = logits.detach().log_softmax(-1)
        chosen, labelled = log_p.argmax(-1, keepdim=True), targets.argmax(-1, keepdim=True)
        difference = log_p.gather(-1, labelled) - log_p.gather(-1, chosen)  # s - l, at most 0
        alpha = (difference / self.options.temperature).sigmoid()
        return (1 - alpha) * targets + alpha * torch.zeros_like(targets).scatter(-1, chosen, 1.0)


@hookimpl
def register_mitigations(register):
    register("adaptive_confidence", AdaptiveConfidence)
