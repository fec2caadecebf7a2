"""Two students who part the examples by their losses and learn the likely wrong ones without labels."""

from dataclasses import dataclass, replace

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.mixup import mixed


class DivideMix:
    """A student whose twin tells it which labels to believe; the others it guesses, and mixes all of them.

    Source: Li et al. 2020, arXiv 2002.07394, algorithm 1. Formula: after a warm-up, at `divisions` moments each twin
    fits a mixture of two Gaussians to its losses on all examples; c_n is the probability of the lower one, for the
    other twin. Labels of examples with c > .5 become c w + (1 - c) p, the rest the mean p of both twins, all sharpened
    at T = .5; batches are mixed with shares from Beta(a, a), at least 1/2 the example's. The loss is cross-entropy for
    the former, u times the mean squared error for the latter, and KL(uniform || the batch's mean prediction). There are
    no augmented copies of texts, of which the source takes two. Defaults: a = 4, T = .5, u = 25 after a linear ramp,
    as there for CIFAR-10; a warm-up of a tenth and 10 divisions, fixed before any run. The first twin is the result
    (there: the mean of both). Cost: about 4.
    """

    source = "Li et al. 2020, arXiv 2002.07394"
    search = {"warmup": [0.1, 0.3], "alpha": [0.5, 4.0], "temperature": [0.5, 1.0], "unlabelled": [0.0, 5.0, 25.0]}
    honours = frozenset({"order_examples", "training_batch"})

    @dataclass
    class Options:
        warmup: float = 0.1
        """Share of the steps on all labels, before the first division."""
        divisions: int = 10
        """How often the examples are parted."""
        alpha: float = 4.0
        """a of the Beta distribution of shares."""
        temperature: float = 0.5
        """T that guessed labels are sharpened at."""
        unlabelled: float = 25.0
        """Weight u of the squared error at the end of training."""

        def __post_init__(self):
            if not 0 < self.warmup < 1 or self.divisions < 1:
                raise ValueError(
                    f"warmup must lie in (0, 1) and divisions be 1 or more, not {self.warmup} and {self.divisions}"
                )

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the first of the twins."""
        import torch

        twins = [problem.new_student(), problem.new_student()]
        clean, at = [], -1
        for batch, progress in problem.batches():
            if progress < self.options.warmup:
                for twin in twins:
                    twin.step(cross_entropy(twin.logits_of(batch), batch.labels), batch)
                continue
            due = int((progress - self.options.warmup) / (1 - self.options.warmup) * self.options.divisions)
            if due > at:
                at = due
                clean = [division(twin.predict(problem.pool.inputs), problem) for twin in twins][::-1]
            batch = replace(batch, rng=problem.pool.rng)
            with torch.no_grad():
                guesses = [twin.logits_of(batch).softmax(-1).to(batch.labels) for twin in twins]
            for twin, believed, p in zip(twins, clean, guesses, strict=True):
                twin.step(self.losses(twin, batch, believed[batch.index], p, sum(guesses) / 2, progress), batch)
        return twins[0]

    def losses(self, twin, batch, believed, p, guess, progress):
        """Returns a twin's losses [B] of a mixed batch."""
        import torch

        refined = believed[:, None] * batch.labels + (1 - believed[:, None]) * p
        labelled = believed > 0.5
        labels = sharpened(torch.where(labelled[:, None], refined, guess), self.options.temperature)
        mixture = mixed(replace(batch, labels=labels), self.options.alpha, least=0.5)
        logits = twin.logits_of(mixture)
        targets, labelled = mixture.labels.to(logits), labelled.to(logits.device)
        ramp = (progress - self.options.warmup) / (1 - self.options.warmup)
        squared = (logits.softmax(-1) - targets).square().mean(-1)
        losses = torch.where(labelled, cross_entropy(logits, targets), self.options.unlabelled * ramp * squared)
        return losses + imbalance(logits)


def cross_entropy(logits, labels):
    """Returns losses [B] of logits against soft labels [B, C]."""
    return -(labels.to(logits) * logits.log_softmax(-1)).sum(-1)


def imbalance(logits):
    """Returns KL(uniform || mean prediction) of logits [B, C]: it keeps all from falling into one class."""
    mean = logits.softmax(-1).mean(0)
    return -(mean * logits.shape[-1]).log().mean()


def sharpened(p, temperature):
    """Returns probabilities [B, C] raised to 1 / temperature and normalised."""
    return (p.clamp(min=1e-8).log() / temperature).softmax(-1)


def division(p, problem):
    """Returns the probability [N] that each label is right, from the losses of probabilities p [N, C]."""
    import torch
    from sklearn.mixture import GaussianMixture

    losses = -(problem.labels * p.clamp(min=1e-8).log()).sum(-1)
    losses = (losses - losses.min()) / (losses.max() - losses.min()).clamp(min=1e-8)
    column = losses.double().numpy()[:, None]
    seed = int(torch.randint(2**31, (1,), generator=problem.pool.rng))
    mixture = GaussianMixture(2, max_iter=100, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(column)
    return torch.from_numpy(mixture.predict_proba(column)[:, mixture.means_.argmin()]).to(problem.labels.dtype)


@hookimpl
def register_mitigations(register):
    register("dividemix", DivideMix)
