"""Several specialised supervisors, of whom each example gets the one that the student finds most plausible."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round


class CoSupervised:
    """Rounds in which each example's label comes from the supervisor that the last student agrees with most.

    Source: Liu & Alahi 2024, arXiv 2402.15505. Formula: round 1 on the mean of all votes; then each example goes to the
    supervisor with the least KL(w_k || p), p the last student's, and the share `rejected` with the largest such
    divergence, where student and teacher contradict each other, is left out. There, supervisors are specialists of
    a hierarchy of domains, in which the local one must also agree with the global one; without a hierarchy that check
    is left out. Defaults: 3 rounds and 10 %, fixed before any run. Needs several supervisors. Cost: `rounds`, and the
    other supervisors.
    """

    source = "Liu & Alahi 2024, arXiv 2402.15505"
    search = {"rounds": [2, 3, 4], "rejected": [0.0, 0.1, 0.3]}
    needs = frozenset({"several_supervisors"})

    @dataclass
    class Options:
        rounds: int = 3
        """How many students are fitted in a row."""
        rejected: float = 0.1
        """Share of the examples that the later rounds leave out."""

        def __post_init__(self):
            if self.rounds < 2 or not 0 <= self.rejected < 1:
                raise ValueError(
                    f"rounds must be 2 or more and rejected in [0, 1), not {self.rounds} and {self.rejected}"
                )

    def __init__(self, options):
        self.options = options
        self.divergence = None

    @hookimpl
    def combine_votes(self, votes):
        """Returns the mean over supervisors."""
        return votes.nanmean(0)

    @hookimpl
    def plan_rounds(self):
        """Returns the rounds, each with a fresh student."""
        return [Round() for _ in range(self.options.rounds)]

    @hookimpl
    def revise_labels(self, labels, pool, round_plan):
        """Returns labels [N, C] of the supervisor of each example."""
        import torch

        if round_plan.previous is None:
            return labels
        p = round_plan.previous.predict(pool.inputs).clamp(min=1e-8)
        divergence = divergences(pool.votes, p)
        self.divergence, chosen = divergence.min(0)
        revised = pool.votes[chosen, torch.arange(len(labels))].to(labels.dtype)
        return torch.where(revised.isnan(), labels, revised)

    @hookimpl
    def weigh_examples(self, labels):
        """Returns 0 for the examples whose supervisor contradicts the student most."""
        weights = labels.new_ones(len(labels))
        if self.divergence is not None:
            order = self.divergence.argsort(descending=True, stable=True)
            order = order[self.divergence[order].isfinite()]
            weights[order[: round(self.options.rejected * len(order))]] = 0.0
        return weights


def divergences(votes, p):
    """Returns KL(w_k || p) [S, N] of votes [S, N, C] from p [N, C]; infinite where a supervisor abstains."""
    import torch

    log_w = votes.clamp(min=1e-8).log()
    kl = (votes * (log_w - p.log())).sum(-1)
    return torch.where(kl.isnan(), torch.inf, kl)


@hookimpl
def register_mitigations(register):
    register("co_supervised", CoSupervised)
