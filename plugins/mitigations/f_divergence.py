"""Divergences between the student's and the supervisor's distributions, in place of cross-entropy."""

from dataclasses import dataclass

from w2s_bench import hookimpl

FLOOR = 1e-4
"""Least probability of either distribution, as in `reverse_kl`."""


def jensen_shannon(p, w):
    middle = ((p + w) / 2).log()
    return (p * (p.log() - middle) + w * (w.log() - middle)).sum(-1) / 2


DIVERGENCES = {
    "js": jensen_shannon,
    "jeffreys": lambda p, w: ((p - w) * (p.log() - w.log())).sum(-1),
    "hellinger": lambda p, w: (p.sqrt() - w.sqrt()).square().sum(-1),
    "pearson": lambda p, w: ((p - w).square() / w).sum(-1),
    "tv": lambda p, w: (p - w).abs().sum(-1) / 2,
}


class FDivergence:
    """A divergence of the student's distribution p and the target w, other than Kullback and Leibler's.

    Source: Yao et al. 2025, arXiv 2506.03109. Formula: `js` mean of KL(p | m) and KL(w | m) for m = (p + w) / 2;
    `jeffreys` KL(p | w) + KL(w | p); `hellinger` sum (sqrt p - sqrt w)^2; `pearson` sum (p - w)^2 / w; `tv`
    sum |p - w| / 2. Both are kept at 1e-4 or above and normalised. Default: `js`, bounded and symmetric. Cost: 1.
    """

    source = "Yao et al. 2025, arXiv 2506.03109"
    search = {"divergence": ["js", "jeffreys", "hellinger", "pearson", "tv"]}

    @dataclass
    class Options:
        divergence: str = "js"
        """`js`, `jeffreys`, `hellinger`, `pearson` or `tv`."""

        def __post_init__(self):
            if self.divergence not in DIVERGENCES:
                raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}, not {self.divergence}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def training_loss(self, logits, targets):
        """Returns losses [B]."""
        return DIVERGENCES[self.options.divergence](floored(logits.softmax(-1)), floored(targets))


def floored(p):
    """Returns probabilities [B, C] at FLOOR or above."""
    p = p.clamp(min=FLOOR)
    return p / p.sum(-1, keepdim=True)


@hookimpl
def register_mitigations(register):
    register("f_divergence", FDivergence)
