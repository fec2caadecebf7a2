"""A weak critic who reads the student's answers, and a student who goes on from there."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import TASK_KINDS, Round


class CorrectiveFeedback:
    """Rounds in which the student answers fresh examples and a weak critic accepts, corrects or abstains.

    The examples are dealt into as many shards as rounds. The first shard is learnt from the supervisor's labels. On
    each later shard the student answers first; the critic is asked about its answers; accepted and corrected
    answers become labels, answers on which the critic abstains are left out; the student is trained on. Source:
    w2s_bench, after the critic setting of Saunders et al. 2022, arXiv 2206.05802. Default: 4 rounds, fixed before
    any run. Needs a supervisor that corrects. Cost: 1 and the critic's calls.
    """

    source = "w2s_bench; Saunders et al. 2022, arXiv 2206.05802"
    search = {"rounds": [2, 4, 8]}
    needs = frozenset({"correct"})
    kinds = frozenset(TASK_KINDS)

    @dataclass
    class Options:
        rounds: int = 4
        """Shards, and fits in a row."""
        critic: int = 0
        """Which supervisor is asked, counted from the reference."""

    def __init__(self, options):
        self.options = options
        self.left_out = None

    @hookimpl
    def plan_rounds(self, pool):
        """Returns one round for each shard, each going on from the last."""
        import torch

        shards = torch.randperm(len(pool), generator=pool.rng).chunk(self.options.rounds)
        return [Round(examples=s, fresh=k == 0, share=len(s) / len(pool)) for k, s in enumerate(shards)]

    @hookimpl
    def revise_labels(self, labels, pool, round_plan):
        """Returns the labels with the shard's answers in place, as far as the critic let them pass."""
        if round_plan.previous is None:
            return None
        shard = round_plan.examples
        asked = pool.inputs.take(shard)
        answers = round_plan.previous.answer(asked)
        verdicts = pool.labels_for(pool.supervisors[self.options.critic].correct(asked, answers), shard)
        judged = ~verdicts.isnan().any(-1)
        self.left_out = shard[~judged]
        if len(self.left_out) == len(shard):  # a critic with nothing to say leaves the supervisor's labels
            self.left_out = None
            return None
        revised = labels.clone()
        revised[shard[judged]] = verdicts[judged].to(labels.dtype)
        return revised

    @hookimpl
    def weigh_examples(self, labels):
        """Returns 0 where the critic abstained."""
        weights = labels.new_ones(len(labels))
        if self.left_out is not None:
            weights[self.left_out] = 0.0
        return weights


@hookimpl
def register_mitigations(register):
    register("corrective_feedback", CorrectiveFeedback)
