"""Mixup at the last layer: the head learns from mixtures of two texts' features and of their labels."""

from dataclasses import dataclass, replace

from w2s_bench import hookimpl


def mixed(batch, alpha, least=0.0):
    """Returns the batch with each example mixed with a random other one's features and labels.

    Shares are drawn from Beta(alpha, alpha), one an example, and lie at `least` or above.
    """
    import torch

    partner = torch.randperm(len(batch.labels), generator=batch.rng)
    share = beta(alpha, len(batch.labels), batch.rng).clamp(min=least)
    labels = share[:, None] * batch.labels + (1 - share[:, None]) * batch.labels[partner]
    return replace(batch, labels=labels, mix=(partner, share))


def beta(alpha, size, rng):
    """Returns draws [size] from Beta(alpha, alpha), as two gamma variables' share; torch's own takes no generator."""
    import torch

    gamma = torch._standard_gamma(torch.full((2, size), float(alpha), dtype=torch.float64), generator=rng)
    return (gamma[0] / gamma.sum(0)).nan_to_num(0.5).float()


class Mixup:
    """Examples mixed with others of their batch, features and labels alike.

    Source: Zhang et al. 2018, arXiv 1710.09412, which mixes inputs; texts have none to mix, so that the pooled features
    are mixed, as manifold mixup does at its last layer (Verma et al. 2019, arXiv 1806.05236). Formula: with l from
    Beta(a, a), features l h_i + (1 - l) h_j and labels l w_i + (1 - l) w_j. There one l is drawn for a batch, here one
    an example. Default: a = 1, as in the former for CIFAR-10. Cost: 1.
    """

    source = "Zhang et al. 2018, arXiv 1710.09412; Verma et al. 2019, arXiv 1806.05236"
    search = {"alpha": [0.1, 0.2, 0.4, 1.0, 4.0]}

    @dataclass
    class Options:
        alpha: float = 1.0
        """a of the Beta distribution; 0 mixes nothing."""

        def __post_init__(self):
            if not self.alpha >= 0:
                raise ValueError(f"alpha must be 0 or above, not {self.alpha}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def training_batch(self, batch):
        """Returns the batch, mixed."""
        return mixed(batch, self.options.alpha) if self.options.alpha else None


@hookimpl
def register_mitigations(register):
    register("mixup", Mixup)
