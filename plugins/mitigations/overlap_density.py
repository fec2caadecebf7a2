"""Training on examples in which patterns that the supervisor knows meet patterns that it does not."""

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.neighbours import rows_of


class OverlapDensity:
    """Weight 1 for examples that the supervisor is sure of and that resemble those that it is not sure of.

    Source: Shin et al. 2024, arXiv 2412.03881, algorithm 1. Formula: a change point in the sorted confidences max_c
    w_c parts the hard examples from the rest; of the rest, the score is the largest inner product of features with a
    hard example's, and a change point in the sorted scores parts the overlap from what is easy alone. A change point
    is the cut with the least squared error of two constants. Features are centred and of length 1, fixed before any
    run. Where nobody is left, all are kept. Cost: 1 and the features.
    """

    source = "Shin et al. 2024, arXiv 2412.03881"
    needs = frozenset({"features"})

    @hookimpl
    def weigh_examples(self, labels, pool):
        """Returns 1 for the overlap."""
        import torch

        confidence = labels.amax(-1)
        hard = confidence < change_point(confidence)
        if bool(hard.all()) or not bool(hard.any()):
            return labels.new_ones(len(labels))
        rows = rows_of(pool.features)
        rows = torch.nn.functional.normalize(rows - rows.mean(0), dim=-1)
        rest = (~hard).nonzero()[:, 0]
        score = (rows[rest] @ rows[hard].T).amax(-1)
        weights = labels.new_zeros(len(labels))
        weights[rest[score >= change_point(score)]] = 1.0
        return weights


def change_point(values):
    """Returns the first value above the cut of sorted values [N] at which two constants fit best."""
    import torch

    ordered = values.double().sort().values
    size = len(ordered)
    if size < 2:
        return ordered[0]
    count = torch.arange(1, size, dtype=torch.float64)
    below = ordered.cumsum(0)[:-1]
    above = ordered.sum() - below
    gain = below**2 / count + above**2 / (size - count)  # the larger, the smaller the squared error
    return ordered[int(gain.argmax()) + 1].to(values.dtype)


@hookimpl
def register_mitigations(register):
    register("overlap_density", OverlapDensity)
