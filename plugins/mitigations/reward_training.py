"""The student's own answers, each learnt as far as a weak reward model likes it."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round


class RewardTraining:
    """Answers drawn from the student, learnt with weights that grow with their reward.

    Source: Burns et al. 2023, arXiv 2312.09390 (weak reward models); reward-weighted regression as in Peng et al. 2019,
    arXiv 1910.00177, eq. 3. Formula: after `first` of the steps on the weak answers, the student draws one answer to
    every example; it is the label for the rest of the steps, at weight exp(z / b), z the rewards standardised, kept at
    20 or below and with mean 1. Defaults: half of the steps, b = 1 and the bound, as in the latter. Needs a generation
    task and a supervisor that rewards. Cost: 1, an answer written and a critic call an example.
    """

    source = "Burns et al. 2023, arXiv 2312.09390; Peng et al. 2019, arXiv 1910.00177"
    search = {"first": [0.25, 0.5, 0.75], "temperature": [0.5, 1.0, 2.0]}
    needs = frozenset({"reward"})
    kinds = frozenset({"generation"})

    @dataclass
    class Options:
        first: float = 0.5
        """Share of the steps on the weak answers, before the draw."""
        temperature: float = 1.0
        """b: the smaller, the more the best answers count."""
        critic: int = 0
        """Which supervisor is asked, counted from the reference."""

        def __post_init__(self):
            if not 0 < self.first < 1 or not self.temperature > 0:
                raise ValueError(
                    f"first must lie in (0, 1) and temperature be above 0, not {self.first} and {self.temperature}"
                )

    def __init__(self, options):
        self.options = options
        self.weights = None

    @hookimpl
    def plan_rounds(self):
        """Returns two rounds of one student."""
        first = self.options.first
        return [Round(share=first), Round(share=1 - first, fresh=False)]

    @hookimpl
    def revise_labels(self, labels, pool, round_plan):
        """Returns, in the second round, the student's answers as labels, where it wrote any."""
        if round_plan.previous is None:
            return None
        import torch

        answers = round_plan.previous.answer(pool.inputs, pool.rng)
        rewards = pool.supervisors[self.options.critic].reward(pool.inputs, answers)
        self.weights = advantage_weights(rewards, self.options.temperature)
        drawn = pool.labels_for(answers).to(labels.dtype)
        return torch.where(drawn.isnan().any(-1, keepdim=True), labels, drawn)

    @hookimpl
    def weigh_examples(self, labels):
        """Returns weights [N]: ones at first, then by reward."""
        return labels.new_ones(len(labels)) if self.weights is None else self.weights.to(labels.dtype)


def advantage_weights(rewards, temperature):
    """Returns weights [N] with mean 1 that grow exponentially with rewards [N]."""
    z = (rewards - rewards.mean()) / rewards.std().clamp(min=1e-6)
    weights = (z / temperature).exp().clamp(max=20.0)
    return weights / weights.mean()


@hookimpl
def register_mitigations(register):
    register("reward_training", RewardTraining)
