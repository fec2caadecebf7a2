"""A weak reward model picks among the student's own answers."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round


class BestOfN:
    """The student's best answer out of n, as a weak reward model sees it, learnt in a second round.

    Source: Stiennon et al. 2020, arXiv 2009.01325 (best of n); trained on as in Dong et al. 2023, arXiv 2304.06767
    (RAFT). Formula: after `first` of the steps on the weak answers, the student draws n answers to every example from
    its own probabilities; the one with the highest reward is the label for the rest of the steps. Defaults: n = 4 and
    half of the steps, fixed before any run. Needs a generation task and a supervisor that rewards. Cost: 1, n answers
    written and n critic calls an example.
    """

    source = "Stiennon et al. 2020, arXiv 2009.01325; Dong et al. 2023, arXiv 2304.06767"
    search = {"n": [2, 4, 8], "first": [0.25, 0.5, 0.75]}
    needs = frozenset({"reward"})
    kinds = frozenset({"generation"})

    @dataclass
    class Options:
        n: int = 4
        """Answers drawn for each example."""
        first: float = 0.5
        """Share of the steps on the weak answers, before the draw."""
        critic: int = 0
        """Which supervisor is asked, counted from the reference."""

        def __post_init__(self):
            if self.n < 1:
                raise ValueError(f"n must be at least 1, not {self.n}")
            if not 0 < self.first < 1:
                raise ValueError(f"first must lie between 0 and 1, not {self.first}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def plan_rounds(self):
        """Returns two rounds of one student."""
        first = self.options.first
        return [Round(share=first), Round(share=1 - first, fresh=False)]

    @hookimpl
    def revise_labels(self, labels, pool, round_plan):
        """Returns, in the second round, the best of the student's answers as labels, where it wrote any."""
        if round_plan.previous is None:
            return None
        import torch

        critic = pool.supervisors[self.options.critic]
        drawn = [round_plan.previous.answer(pool.inputs, pool.rng) for _ in range(self.options.n)]
        best = torch.stack([critic.reward(pool.inputs, answers) for answers in drawn]).argmax(0)
        chosen = pool.labels_for([drawn[k][i] for i, k in enumerate(best.tolist())]).to(labels.dtype)
        return torch.where(chosen.isnan().any(-1, keepdim=True), labels, chosen)


@hookimpl
def register_mitigations(register):
    register("best_of_n", BestOfN)
