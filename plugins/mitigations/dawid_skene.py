"""Labels from several supervisors, each with a confusion matrix of its own, by expectation maximisation."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class DawidSkene:
    """The posterior of each example's class, where every supervisor confuses classes in its own way.

    Source: Dawid & Skene 1979, Applied Statistics 28(1). Formula: from the share of votes, repeat: class shares
    p_c = mean_n q_nc and confusions pi_kcl = sum_n q_nc [vote_nk = l] / sum_n q_nc (over examples on which k votes),
    then q_nc proportional to p_c prod_k pi_k,c,vote_nk. A vote is the supervisor's likeliest class. Default: until the
    log-likelihood gains less than 1e-6 an example, 100 rounds at most. With two supervisors the model is not
    identified: it then follows where it starts. Needs several supervisors. Cost: 1 and the other supervisors.
    """

    source = "Dawid & Skene 1979, Applied Statistics 28(1)"
    needs = frozenset({"several_supervisors"})

    @dataclass
    class Options:
        rounds: int = 100
        """Rounds of expectation maximisation at most."""
        tolerance: float = 1e-6
        """Gain of the log-likelihood an example below which it stops."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def combine_votes(self, votes):
        """Returns labels [N, C]; a row of NaN where all abstain."""
        import torch

        cast = one_hot_votes(votes)
        somebody = cast.sum((0, 2)) > 0
        posterior = cast.sum(0)[somebody]
        cast = cast[:, somebody]
        posterior = posterior / posterior.sum(-1, keepdim=True)
        before = -torch.inf
        for _ in range(self.options.rounds):
            shares = posterior.mean(0)
            counts = torch.einsum("nc,knl->kcl", posterior, cast)
            confusion = counts / counts.sum(-1, keepdim=True).clamp(min=TINY)
            joint = shares.clamp(min=TINY).log() + torch.einsum("knl,kcl->nc", cast, confusion.clamp(min=TINY).log())
            posterior, likelihood = joint.softmax(-1), float(joint.logsumexp(-1).mean())
            if likelihood - before < self.options.tolerance:
                break
            before = likelihood
        labels = votes.new_full(votes.shape[1:], torch.nan)
        labels[somebody] = posterior.to(votes.dtype)
        return labels


TINY = 1e-12
"""Below this a probability counts as this in a logarithm."""


def one_hot_votes(votes):
    """Returns what each supervisor votes for [K, N, C] as doubles, zeros where it abstains; ties go to the first."""
    import torch

    abstains = votes.isnan().any(-1, keepdim=True)
    classes = votes.nan_to_num(0.0).argmax(-1)
    return torch.nn.functional.one_hot(classes, votes.shape[-1]).double() * ~abstains


@hookimpl
def register_mitigations(register):
    register("dawid_skene", DawidSkene)
