"""A weak reward model labels pairs."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class RewardLabels:
    """Labels of pairs from what a weak reward model thinks of each candidate.

    Source: Burns et al. 2023, arXiv 2312.09390, section 3 (reward modelling); Bradley & Terry 1952. Formula:
    P(second is better) = 1 / (1 + exp(-(r2 - r1) / T)), r the rewards of the two candidates; the student's own loss is
    Bradley-Terry already. Default: T = 1, the model's own scale. Where the supervisor's votes come from its rewards, as
    the ladder's do, T = 1 gives its votes again, and the row equals naive but for rounding: it is for supervisors that
    only reward, for another one's rewards (`critic`), and for other temperatures. Needs a preference task and a
    supervisor that rewards. Cost: 1 and two critic calls an example.
    """

    source = "Burns et al. 2023, arXiv 2312.09390"
    search = {"temperature": [0.5, 1.0, 2.0]}
    needs = frozenset({"reward"})
    kinds = frozenset({"preference"})

    @dataclass
    class Options:
        temperature: float = 1.0
        """What the difference of rewards is divided by; above 1 softens the labels."""
        critic: int = 0
        """Which supervisor is asked, counted from the reference."""

        def __post_init__(self):
            if not self.temperature > 0:
                raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns the reward model's labels."""
        import torch

        critic = pool.supervisors[self.options.critic]
        rewards = [critic.reward(pool.inputs, torch.full((len(pool),), answer)) for answer in (0, 1)]
        return (torch.stack(rewards, -1) / self.options.temperature).softmax(-1).to(labels.dtype)


@hookimpl
def register_mitigations(register):
    register("reward_labels", RewardLabels)
