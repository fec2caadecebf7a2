"""A curriculum: easy examples first, then more and more of the rest."""

from dataclasses import dataclass

from w2s_bench import hookimpl

PACES = {
    "root": lambda start, t: (start**2 + (1 - start**2) * t) ** 0.5,
    "linear": lambda start, t: start + (1 - start) * t,
    "step": lambda start, t: start if t < 1 else 1.0,
}


class EasyToHard:
    """An order in which the easiest share of the examples grows with training.

    Source: Bengio et al. 2009; the root pace is Platanios et al. 2019, arXiv 1903.09848, eq. 7; under weak supervision
    Sun et al., arXiv 2403.09472, and Hase et al., arXiv 2401.06751. Formula: at progress t a pass covers the easiest
    share c(t), from `start` at 0 to 1 at `until`. Defaults: fixed before any run. Cost: 1, by
    loss about 2.
    """

    source = "Bengio et al. 2009; Sun et al. 2024, arXiv 2403.09472"
    search = {"pace": ["root", "linear", "step"], "start": [0.1, 0.25, 0.5], "until": [0.5, 0.75, 1.0]}

    @dataclass
    class Options:
        by: str = "confidence"
        """What is easy: `confidence` of the label, `difficulty` where the task gives it, or `loss` out of fold."""
        pace: str = "root"
        """How the share grows: `root`, `linear` or `step`."""
        start: float = 0.25
        """Share of the examples at the start."""
        until: float = 0.75
        """Progress at which all examples are in."""

        def __post_init__(self):
            if self.by not in ("confidence", "difficulty", "loss"):
                raise ValueError(f"by must be confidence, difficulty or loss, not {self.by}")
            if self.pace not in PACES:
                raise ValueError(f"pace must be one of {', '.join(PACES)}, not {self.pace}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def order_examples(self, labels, weights, pool, progress):
        """Returns the easiest examples of the moment, shuffled."""
        import torch

        if self.options.by == "confidence":
            hardness = -labels.max(-1).values
        elif self.options.by == "loss":  # of a student that learnt from the other half
            hardness = -(labels * pool.cross_predict(labels).clamp(min=1e-8).log()).sum(-1)
        elif pool.inputs.difficulty is None:
            raise ValueError(f"task {pool.task.name} gives no difficulty; use mitigation.easy_to_hard.by=confidence")
        else:
            hardness = torch.as_tensor(pool.inputs.difficulty)
        kept = (weights > 0).nonzero()[:, 0]
        easiest = kept[hardness[kept].argsort(stable=True)]
        share = PACES[self.options.pace](self.options.start, min(1.0, progress / self.options.until))
        current = easiest[: max(1, round(share * len(easiest)))]
        return current[torch.randperm(len(current), generator=pool.rng)]


@hookimpl
def register_mitigations(register):
    register("easy_to_hard", EasyToHard)
