"""Example weights that are, at every step, what would have helped on a trusted set."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.meta_weight_net import consensus, gold, meta_loss


class LearningToReweight:
    """A student whose batches are weighted by how far each example's gradient points along the trusted set's.

    Source: Ren et al. 2018, arXiv 1803.09050, algorithm 1. Formula: a virtual step under weights e = 0; u = max(-d
    meta loss / d e, 0); weights u / sum u, all 0 where no u is positive; the real step. The meta set are the
    validation examples on which all supervisors agree: no ground truth. There the virtual step is SGD's; here it is
    AdamW's without its first moment, as in `meta_weight_net`. Default: meta batches of 100, as there. Needs several
    supervisors. Cost: about 4.
    """

    source = "Ren et al. 2018, arXiv 1803.09050"
    search = {"meta_batch": [32, 100, 300]}
    meta_set = staticmethod(consensus)
    needs = frozenset({"several_supervisors"})
    honours = frozenset({"order_examples", "training_batch", "training_targets", "training_loss"})

    @dataclass
    class Options:
        meta_batch: int = 100
        """Examples of the meta set in one step."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the student trained under the weights."""
        import torch

        student = problem.new_student()
        trusted = self.meta_set(problem.pool)
        for batch, progress in problem.batches():
            weights = student.trainable()
            losses = student.losses(batch, progress, params=weights)
            example_weights = batch.weights.to(losses.device)
            perturbation = torch.zeros_like(losses, requires_grad=True)
            grads = torch.autograd.grad(
                (perturbation * losses * example_weights).sum(), list(weights.values()), create_graph=True
            )
            stepped = student.look_ahead(dict(zip(weights, grads, strict=True)))
            loss = meta_loss(student, stepped, trusted, self.options.meta_batch, problem.pool.rng)
            (gradient,) = torch.autograd.grad(loss, perturbation)
            student.step(student.losses(batch, progress) * helpful(gradient), batch)
        return student


class LearningToReweightGold(LearningToReweight):
    """The same as `learning_to_reweight`, whose meta set is the gold budget: on the track of those that use truth.

    Source: Ren et al. 2018, arXiv 1803.09050, whose meta set has true labels. Default: meta batches of 100, as there.
    Needs task.n_gold. Cost: about 4 and the gold labels.
    """

    meta_set = staticmethod(gold)
    needs = frozenset({"ground_truth"})


def helpful(gradient):
    """Returns weights [B] with mean 1 out of the meta loss's gradient [B]; zeros where no example helps."""
    useful = (-gradient).clamp(min=0)
    total = useful.sum()
    return useful * len(useful) / total if float(total) > 0 else useful


@hookimpl
def register_mitigations(register):
    register("learning_to_reweight", LearningToReweight)
    register("learning_to_reweight_gold", LearningToReweightGold)
