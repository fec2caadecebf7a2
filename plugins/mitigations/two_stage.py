"""Training on the labels of which the supervisor is steady, then on all, the others relabelled by the student."""

import math
from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round
from w2s_bench.plugins.mitigations.reliability_weights import steadiness


class TwoStage:
    """Two fits: on the steadiest labels, and on those and what the first student says of the rest.

    Source: Shi et al. 2025, arXiv 2503.04249. Formula: steadiness as in `reliability_weights`; stage 1 keeps the share
    `keep` of each class that is steadiest, ties by confidence; stage 2 trains a fresh student on these labels and, for
    the examples that were dropped, on the first student's predictions. There the weak model's answers are sampled and
    the share is chosen by their agreement; the perturbation and the defaults (4 draws, .15, half) are fixed before any
    run. Asks the supervisor for labels during training. Cost: 2 and 2 `draws` supervisor calls an
    example.
    """

    source = "Shi et al. 2025, arXiv 2503.04249"
    search = {"keep": [0.3, 0.5, 0.7], "drop": [0.1, 0.15, 0.3]}
    needs = frozenset({"label"})

    @dataclass
    class Options:
        keep: float = 0.5
        """Share of each class that the first stage learns from."""
        draws: int = 4
        """Perturbed copies of each text."""
        drop: float = 0.15
        """Probability that a word is left out."""

        def __post_init__(self):
            if not 0 < self.keep <= 1:
                raise ValueError(f"keep must lie in (0, 1], not {self.keep}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def plan_rounds(self):
        """Returns two rounds with fresh students."""
        return [Round(), Round()]

    @hookimpl
    def weigh_examples(self, labels, pool, round_plan):
        """Returns, in the first stage, 1 for the steadiest examples; in the second, ones."""
        return labels.new_ones(len(labels)) if round_plan.previous else self.steadiest(labels, pool).to(labels.dtype)

    @hookimpl
    def revise_labels(self, labels, pool, round_plan):
        """Returns, in the second stage, the first student's predictions where the first stage had no label."""
        if round_plan.previous is None:
            return None
        import torch

        predicted = round_plan.previous.predict(pool.inputs).to(labels.dtype)
        return torch.where(self.steadiest(labels, pool)[:, None], labels, predicted)

    def steadiest(self, labels, pool):
        """Returns which examples [N] the first stage learns from, the same in both stages."""
        import torch

        confidence, classes = labels.max(-1)
        rng = torch.Generator().manual_seed(pool.rng.initial_seed())
        score = steadiness(classes, pool, self.options.draws, self.options.drop, rng) + confidence / 1e3
        kept = torch.zeros(len(labels), dtype=torch.bool)
        for c in range(labels.shape[-1]):
            members = (classes == c).nonzero()[:, 0]
            order = members[score[members].argsort(descending=True, stable=True)]
            kept[order[: math.ceil(self.options.keep * len(order))]] = True
        return kept


@hookimpl
def register_mitigations(register):
    register("two_stage", TwoStage)
