"""Several supervisors' votes as draws from a Dirichlet distribution that the student learns."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class BayesianEnsemble:
    """An evidential loss: the student gives a Dirichlet distribution, under which all supervisors' votes are likely.

    Source: Cui et al. 2024, arXiv 2406.03199, with the evidential loss of Sensoy et al. 2018, arXiv 1806.01768, eq. 3.
    Formula: a_c = 1 + exp(logit_c), A = sum a; loss = mean over the votes w_k of sum_c w_kc (log A - log a_c) + l t
    KL(Dir(w_k + (1 - w_k) a) || Dir(1)), t the progress of training. Where nobody votes, the label is the one vote.
    Defaults: l = 1 at the end, its ramp linear in t, after Sensoy et al. Other plugins meet the mean of the votes as
    labels. Needs several supervisors. Cost: 1 and the other supervisors.
    """

    source = "Cui et al. 2024, arXiv 2406.03199; Sensoy et al. 2018, arXiv 1806.01768"
    search = {"strength": [0.1, 0.3, 1.0, 3.0, 10.0]}
    needs = frozenset({"several_supervisors"})

    @dataclass
    class Options:
        strength: float = 1.0
        """Weight l of the regulariser at the end of training."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def combine_votes(self, votes):
        """Returns the mean over supervisors."""
        return votes.nanmean(0)

    @hookimpl
    def training_loss(self, batch, logits, progress):
        """Returns losses [B]."""
        import torch

        votes = batch.votes.to(logits.dtype)
        known = ~votes.isnan().any(-1)
        nobody = ~known.any(0)
        votes = torch.cat([votes.nan_to_num(0.0), batch.labels.to(logits.dtype)[None]])
        weights = torch.cat([known, nobody[None]]).to(logits.dtype)
        concentration = 1 + logits.clamp(max=15.0).exp()
        fit = (votes * (concentration.sum(-1, keepdim=True).log() - concentration.log())).sum(-1)
        left = votes + (1 - votes) * concentration
        losses = fit + self.options.strength * progress * divergence_from_uniform(left)
        return (weights * losses).sum(0) / weights.sum(0)


def divergence_from_uniform(concentration):
    """Returns KL(Dir(a) || Dir(1)) [...] of concentrations a [..., C]."""
    import torch

    total = concentration.sum(-1)
    classes = torch.tensor(float(concentration.shape[-1]), device=concentration.device, dtype=concentration.dtype)
    return (
        torch.lgamma(total)
        - torch.lgamma(classes)
        - torch.lgamma(concentration).sum(-1)
        + ((concentration - 1) * (torch.digamma(concentration) - torch.digamma(total)[..., None])).sum(-1)
    )


@hookimpl
def register_mitigations(register):
    register("bayesian_ensemble", BayesianEnsemble)
