"""Leaving out the labels that are likely wrong, by predictions of students that did not learn from them."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class ConfidentLearning:
    """Weight 0 for as many labels of each kind of error as the joint distribution of weak and true labels implies.

    Source: Northcutt et al. 2021, arXiv 1911.00068 (prune by noise rate). Formula: with out-of-fold probabilities p and
    weak classes y, t_c = mean p_c over y = c; C_ij counts the examples of weak class i with p_j >= t_j, j the likeliest
    of those classes; rows are scaled to the number of weak i, then all to 1; of each off-diagonal (i, j), the
    N Q_ij examples of weak class i with the largest margin p_j - p_i are left out. Default: 2 folds, fixed before any
    run. Cost: about 2.
    """

    source = "Northcutt et al. 2021, arXiv 1911.00068"
    search = {"folds": [2, 5]}

    @dataclass
    class Options:
        folds: int = 2
        """Parts that the examples fall into, each predicted by a student of the others."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def weigh_examples(self, labels, pool):
        """Returns 0 for the labels that are likely wrong."""
        return (~label_errors(labels.argmax(-1), pool.cross_predict(labels, self.options.folds))).float()


def label_errors(weak, p):
    """Returns which weak classes [N] are pruned by noise rate, given probabilities [N, C] that did not see them."""
    import torch

    size, classes = p.shape
    p = p.double()
    present = [c for c in range(classes) if bool((weak == c).any())]
    threshold = torch.full((classes,), torch.inf, dtype=p.dtype)
    for c in present:
        threshold[c] = p[weak == c, c].mean()
    above = p >= threshold
    believed = torch.where(above, p, -1.0).argmax(-1)
    counts = torch.zeros(classes, classes, dtype=p.dtype)
    counts.index_put_((weak[above.any(-1)], believed[above.any(-1)]), torch.ones((), dtype=p.dtype), accumulate=True)
    for c in present:  # a class that nobody is sure of keeps its labels
        counts[c, c] += float(counts[c].sum() == 0)
    share = counts / counts.sum(-1, keepdim=True).clamp(min=1) * torch.bincount(weak, minlength=classes)[:, None]
    share = share / share.sum()
    errors = torch.zeros(size, dtype=torch.bool)
    for i in present:
        members = (weak == i).nonzero()[:, 0]
        for j in range(classes):
            if i != j:
                margin = p[members, j] - p[members, i]
                errors[members[margin.argsort(descending=True, stable=True)[: round(float(share[i, j]) * size)]]] = True
    return errors


@hookimpl
def register_mitigations(register):
    register("confident_learning", ConfidentLearning)
