"""Labels that several supervisors give together, by multiplying their probabilities or counting their votes."""

from w2s_bench import hookimpl
from w2s_bench.interfaces import TASK_KINDS


class ProductEnsemble:
    """The normalised geometric mean of all supervisors' probabilities; a supervisor that abstains is left out.

    Source: Hinton 2002 (product of experts), with the product's root taken so that more supervisors do not make labels
    surer. Formula: p_c proportional to exp(mean_k log w_kc), w at least 1e-6. Needs several supervisors. Cost: 1 and
    the other supervisors.
    """

    source = "Hinton 2002, Neural Computation 14(8)"
    needs = frozenset({"several_supervisors"})

    @hookimpl
    def combine_votes(self, votes):
        """Returns labels [N, C]; a row of NaN where all abstain."""
        return votes.clamp(min=1e-6).log().nanmean(0).softmax(-1)


class MajorityVote:
    """The share of supervisors that would answer each class; a supervisor that abstains is left out.

    Baseline. A supervisor whose likeliest classes tie gives each an equal part of its vote. Needs several supervisors.
    Cost: 1 and the other supervisors.
    """

    needs = frozenset({"several_supervisors"})
    kinds = frozenset(TASK_KINDS)

    @hookimpl
    def combine_votes(self, votes):
        """Returns labels [N, C]; a row of NaN where all abstain."""
        best = (votes == votes.amax(-1, keepdim=True)).to(votes.dtype)  # NaN equals nothing
        return (best / best.sum(-1, keepdim=True)).nanmean(0)


@hookimpl
def register_mitigations(register):
    register("product_ensemble", ProductEnsemble)
    register("majority_vote", MajorityVote)
