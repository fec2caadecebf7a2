"""Weights over the supervisors that are learnt together with the student."""

from dataclasses import dataclass
from typing import Any

from w2s_bench import hookimpl


class Raven:
    """Targets that mix all supervisors' votes by weights on the simplex, learnt with the student.

    Source: Jeon et al. 2025, arXiv 2510.21332 (RAVEN). Formula: targets sum_k a_k w_k, a = softmax(theta); for the
    first `warmup` of the steps a is uniform and only examples on which all supervisors agree are learnt from
    (easy-sample guided start); then theta descends on the student's own loss, d CE / d a_k = -sum_c w_kc log p_c, by
    Adam. Defaults: a fifth, as there; lr 0.1, fixed before any run, for trainings of a few hundred steps. A
    supervisor that abstains from an example has no share in its target. Needs several supervisors. Cost: 1 and the
    other supervisors.
    """

    source = "Jeon et al. 2025, arXiv 2510.21332"
    search = {"warmup": [0.1, 0.2, 0.4], "lr": [0.01, 0.1, 1.0]}
    needs = frozenset({"several_supervisors"})

    @dataclass
    class Options:
        warmup: float = 0.2
        """Share of the steps with uniform weights, on examples that all agree on."""
        lr: float = 0.1
        """Learning rate of theta."""

    def __init__(self, options):
        self.options = options
        self.theta: Any = None
        self.optimizer: Any = None

    @hookimpl
    def training_targets(self, batch, logits, progress):
        """Returns targets [B, C]."""
        import torch

        votes = batch.votes.to(logits.dtype)
        if self.theta is None:
            self.theta = torch.zeros(len(votes), device=logits.device, requires_grad=True)
            self.optimizer = torch.optim.Adam([self.theta], lr=self.options.lr)
        if progress >= self.options.warmup:
            with torch.enable_grad():
                log_p = logits.detach().log_softmax(-1)
                known = ~batch.votes.isnan().any(-1).all(0)
                loss = -(mixed(votes, self.theta) * log_p).sum(-1)[known].sum() / len(log_p)
                self.theta.grad = torch.autograd.grad(loss, self.theta)[0]
            self.optimizer.step()
        targets = mixed(votes, self.theta.detach())
        return torch.where(targets.isnan(), batch.labels.to(targets.dtype), targets)

    @hookimpl(wrapper=True)
    def training_loss(self, batch, progress):
        """Returns the losses, at first of the examples on which all supervisors agree alone."""
        losses = yield
        if progress >= self.options.warmup:
            return losses
        return losses * unanimous(batch.votes).to(losses.dtype)


def mixed(votes, theta):
    """Returns the mean of votes [S, B, C] under softmax(theta [S]), over those that vote; NaN where none does."""
    abstains = votes.isnan().any(-1)
    weights = theta.softmax(-1)[:, None].expand(abstains.shape) * ~abstains
    weights = weights / weights.sum(0)
    return (weights[..., None] * votes.nan_to_num(0.0)).sum(0)


def unanimous(votes):
    """Returns the examples [B] on which all supervisors that vote name the same class."""
    import torch

    classes = votes.nan_to_num(-1.0).argmax(-1)
    abstains = votes.isnan().any(-1)
    highest = torch.where(abstains, -1, classes).amax(0)
    lowest = torch.where(abstains, votes.shape[-1], classes).amin(0)
    return highest == lowest


@hookimpl
def register_mitigations(register):
    register("raven", Raven)
