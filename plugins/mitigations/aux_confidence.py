"""The auxiliary confidence loss: as training goes on, the student trusts its own confident predictions."""

from dataclasses import dataclass

from w2s_bench import hookimpl


def harden(logits, prior):
    """Returns one-hot targets [B, C] from logits [B, C] so that each class gets its share of `prior` [C].

    Two classes: the threshold is the quantile of the logit margin (probabilities tie once float32 saturates). More
    classes: of all ways to deal out the shares, the one with the largest sum of chosen logits, which for two classes is
    the same thing.
    """
    import torch

    size, classes = logits.shape
    if classes == 2:
        margin = logits[:, 1] - logits[:, 0]
        chosen = torch.zeros(size, dtype=torch.long, device=logits.device)
        chosen[margin.argsort(descending=True)[: int(torch.round(prior[1] * size))]] = 1
    else:
        from scipy.optimize import linear_sum_assignment

        seats = prior.double() * size
        counts = seats.floor().long()
        counts[(seats - counts).argsort(descending=True, stable=True)[: size - int(counts.sum())]] += 1
        column = torch.arange(classes, device=logits.device).repeat_interleave(counts)
        _, seat = linear_sum_assignment(-logits[:, column].double().cpu().numpy())
        chosen = column[torch.as_tensor(seat, device=logits.device)]
    return torch.nn.functional.one_hot(chosen, classes).to(logits.dtype)


class AuxConfidence:
    """Targets bent towards the student's own hardened predictions.

    Source: Burns et al. 2023, arXiv 2312.09390, section 4.3 and appendix A.4. Formula: target = (1 - a) w + a 1[p > t],
    t such that the hardened share of each class in the batch equals the mean of w there; a rises linearly from 0 to
    `alpha_max` over the first 20 % of the steps. (The authors' released code ramps to 0.1 and then jumps to 1; this is
    the paper's form.) Defaults: 0.5, which the paper uses for all but its largest students (0.75). Cost: 1.
    """

    source = "Burns et al. 2023, arXiv 2312.09390"
    search = {"alpha_max": [0.25, 0.5, 0.75, 0.9], "ramp": [0.1, 0.2, 0.5]}

    @dataclass
    class Options:
        alpha_max: float = 0.5
        """Weight of the student's own hardened predictions after the ramp, in [0, 1]."""
        ramp: float = 0.2
        """Share of the training over which the weight rises from 0."""

        def __post_init__(self):
            if not 0 <= self.alpha_max <= 1:
                raise ValueError(f"alpha_max must lie in [0, 1], not {self.alpha_max}")

    def __init__(self, options):
        self.options = options

    @hookimpl(wrapper=True)
    def training_targets(self, batch, logits, progress):
        """Returns the inner targets, bent."""
        targets = yield
        alpha = self.options.alpha_max * min(1.0, progress / self.options.ramp if self.options.ramp else 1.0)
        return (1 - alpha) * targets + alpha * harden(logits.detach(), targets.mean(0))


@hookimpl
def register_mitigations(register):
    register("aux_confidence", AuxConfidence)
