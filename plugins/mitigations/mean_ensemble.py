"""Labels that several supervisors give together."""

from w2s_bench import hookimpl
from w2s_bench.interfaces import TASK_KINDS


class MeanEnsemble:
    """The mean of all supervisors' probabilities; a supervisor that abstains is left out.

    Baseline. Needs several supervisors. Cost: 1 and the other supervisors.
    """

    needs = frozenset({"several_supervisors"})
    kinds = frozenset(TASK_KINDS)

    @hookimpl
    def combine_votes(self, votes):
        """Returns the mean over supervisors."""
        return votes.nanmean(0)


@hookimpl
def register_mitigations(register):
    register("mean_ensemble", MeanEnsemble)
