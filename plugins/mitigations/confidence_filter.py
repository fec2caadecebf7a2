"""Training on the labels that the supervisor is sure of, and the control beside it."""

from dataclasses import dataclass

from w2s_bench import hookimpl


def confident(labels, threshold, keep):
    """Returns which examples [N] are kept: the surest share `keep` of each class, or those surer than `threshold`."""
    import torch

    confidence, predicted = labels.max(-1)
    if not keep:
        return confidence >= threshold
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for c in range(labels.shape[-1]):
        members = (predicted == c).nonzero()[:, 0]
        order = confidence[members].argsort(descending=True, stable=True)
        chosen[members[order[: round(keep * len(members))]]] = True
    return chosen


@dataclass
class Keep:
    threshold: float = 0.75
    """Keep labels whose largest probability is at least this."""
    keep: float = 0.0
    """Keep this share of each class in place of a threshold; 0 uses the threshold."""


class ConfidenceFilter:
    """Weight 1 for the labels that the supervisor is sure of, 0 for the rest.

    Source: arXiv 2406.11431. Formula: keep max_c w_c >= threshold. Default: .75, as there. Training is not
    shortened: the kept examples are repeated up to the protocol's steps. Cost: 1.
    """

    source = "arXiv 2406.11431"
    search = {"keep": [0.0, 0.25, 0.5, 0.75]}
    Options = Keep

    def __init__(self, options):
        self.options = options

    @hookimpl
    def weigh_examples(self, labels):
        """Returns 1 for kept examples."""
        return confident(labels, self.options.threshold, self.options.keep).float()


class RandomFilter:
    """Weight 1 for as many examples of each predicted class as `confidence_filter` would keep, drawn at random.

    The control beside the filter, at the same keep rate and the same steps. Cost: 1.
    """

    control = True
    Options = Keep

    def __init__(self, options):
        self.options = options

    @hookimpl
    def weigh_examples(self, labels, pool):
        """Returns 1 for drawn examples."""
        import torch

        kept = confident(labels, self.options.threshold, self.options.keep)
        predicted = labels.argmax(-1)
        weights = torch.zeros(len(labels))
        for c in range(labels.shape[-1]):
            members = (predicted == c).nonzero()[:, 0]
            drawn = torch.randperm(len(members), generator=pool.rng)[: int(kept[members].sum())]
            weights[members[drawn]] = 1.0
        return weights


@hookimpl
def register_mitigations(register):
    register("confidence_filter", ConfidenceFilter)
    register("random_filter", RandomFilter)
