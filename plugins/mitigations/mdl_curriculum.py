"""A curriculum of two rounds: the confident half of the labels first, then all of them more gently."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round


class MDLCurriculum:
    """Half of the steps on the half of the labels that are surest, the rest on all at half the learning rate.

    Source: Anthropic 2026, automated weak-to-strong research (`mdl_curriculum`). Formula: round 1 weighs the share
    `first` with the largest max_c w_c by 1 and the others by 0; round 2 goes on with all at `lr_scale` of the learning
    rate. Defaults: one half each, as there. Cost: 1.
    """

    source = "Anthropic 2026, automated weak-to-strong research"
    search = {"first": [0.25, 0.5, 0.75], "lr_scale": [0.25, 0.5, 1.0]}

    @dataclass
    class Options:
        first: float = 0.5
        """Share of the examples in the first round, and of the steps that it takes."""
        lr_scale: float = 0.5
        """Learning rate of the second round, as a share of the first's."""

        def __post_init__(self):
            if not 0 < self.first < 1:
                raise ValueError(f"first must lie between 0 and 1, not {self.first}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def plan_rounds(self):
        """Returns two rounds of one student."""
        first = self.options.first
        return [Round(share=first), Round(share=1 - first, fresh=False, lr_scale=self.options.lr_scale)]

    @hookimpl
    def weigh_examples(self, labels, round_plan):
        """Returns 1 for the examples of the round."""
        weights = labels.new_ones(len(labels))
        if round_plan.index == 0:
            order = labels.amax(-1).argsort(descending=True, stable=True)
            weights[order[max(1, round(self.options.first * len(labels))) :]] = 0.0
        return weights


@hookimpl
def register_mitigations(register):
    register("mdl_curriculum", MDLCurriculum)
