"""Labels that a linear probe on the student's features gives to the examples that it did not learn from."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.neighbours import rows_of


class LogregRelabel:
    """Labels predicted out of fold by logistic regression on the student's features.

    Source: EleutherAI/w2s (probe relabelling, logreg). Formula: features standardised; in each fold, the minimum of
    the mean cross-entropy against the other folds' soft labels + l2 / 2 |W|^2; labels are its predictions for the
    fold left out. Defaults: l2 = 1e-3, as there; 5 folds, fixed before any run (there the probe labels its own
    training examples). Cost: 1 and the features.
    """

    source = "EleutherAI/w2s"
    search = {"l2": [0.0001, 0.001, 0.01, 0.1], "folds": [2, 5]}
    needs = frozenset({"features"})

    @dataclass
    class Options:
        l2: float = 1e-3
        """Weight of the penalty."""
        folds: int = 5
        """How many parts the examples fall into."""

        def __post_init__(self):
            if self.folds < 2 or not self.l2 > 0:
                raise ValueError(f"folds must be 2 or more and l2 above 0, not {self.folds} and {self.l2}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns labels [N, C]."""
        import torch

        rows = standardised(rows_of(pool.features))
        folds = min(self.options.folds, len(labels))
        fold = torch.randperm(len(labels), generator=pool.rng) % folds
        revised = torch.empty_like(labels)
        for f in range(folds):
            weight, bias = logistic(rows[fold != f], labels[fold != f], self.options.l2)
            revised[fold == f] = (rows[fold == f] @ weight.T + bias).softmax(-1).to(labels.dtype)
        return revised


def standardised(rows):
    """Returns rows [N, H] in double precision, each column with mean 0 and deviation 1."""
    rows = rows.double()
    return (rows - rows.mean(0)) / rows.std(0).clamp(min=1e-6)


def logistic(rows, labels, l2, weights=None):
    """Returns weights [C, H] and biases [C] of the logistic regression of soft labels [N, C] on rows [N, H].

    `weights` [N] are the examples', all alike where they are left out.
    """
    import torch

    weight = rows.new_zeros(labels.shape[-1], rows.shape[-1], requires_grad=True)
    bias = rows.new_zeros(labels.shape[-1], requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )
    targets = labels.to(rows.dtype)
    counts = rows.new_ones(len(rows)) if weights is None else weights.to(rows.dtype)
    total = counts.sum().clamp(min=1e-8)

    def closure():
        optimizer.zero_grad()
        losses = -(targets * (rows @ weight.T + bias).log_softmax(-1)).sum(-1)
        loss = (counts * losses).sum() / total + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach(), bias.detach()


@hookimpl
def register_mitigations(register):
    register("logreg_relabel", LogregRelabel)
