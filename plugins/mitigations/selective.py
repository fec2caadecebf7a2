"""The student's own labels where it knows, the supervisor's, smoothed, where it does not."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round
from w2s_bench.plugins.mitigations.logreg_relabel import logistic
from w2s_bench.plugins.mitigations.neighbours import nearest, rows_of


class Selective:
    """Two rounds, the second on the first student's labels where a classifier says that it knows the answer.

    Source: Lang et al. 2025, arXiv 2511.14166. Formula: P(IK) is a logistic regression, on features of the validation
    texts, of whether the first student's answer is the weak label's; where P(IK) >= `threshold` the label is the
    student's; elsewhere it is (1 - s) w + s mean of w over the k nearest neighbours. There P(IK) learns from questions
    with known answers; here no truth is used. Defaults: threshold .5, s = .5, k = 10 and l2 = 1e-2, fixed before any
    run. Cost: 2 and the features.
    """

    source = "Lang et al. 2025, arXiv 2511.14166"
    search = {"threshold": [0.3, 0.5, 0.7], "smoothing": [0.0, 0.5, 0.9], "k": [10, 50]}
    needs = frozenset({"features"})

    @dataclass
    class Options:
        threshold: float = 0.5
        """P(IK) from which on the student's own label is taken."""
        smoothing: float = 0.5
        """Share s of the neighbours in the other labels, in [0, 1]."""
        k: int = 10
        """How many neighbours."""
        l2: float = 1e-2
        """Penalty on the weights of P(IK)."""

        def __post_init__(self):
            if not 0 <= self.smoothing <= 1 or self.k < 1:
                raise ValueError(f"smoothing must lie in [0, 1] and k be 1 or more, not {self.smoothing} and {self.k}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def plan_rounds(self):
        """Returns two rounds with fresh students."""
        return [Round(), Round()]

    @hookimpl
    def revise_labels(self, labels, pool, round_plan):
        """Returns, in the second round, the selected labels [N, C]."""
        if round_plan.previous is None:
            return None
        import torch

        weak = pool.validation_labels
        judged = ~weak.isnan().any(-1)
        right = (round_plan.previous.predict(pool.validation).argmax(-1) == weak.argmax(-1))[judged]
        ours, theirs = (rows_of(f).double() for f in (pool.features, pool.features_of(pool.validation)))
        mean, deviation = ours.mean(0), ours.std(0).clamp(min=1e-6)
        weight, bias = logistic(
            ((theirs - mean) / deviation)[judged], torch.stack([~right, right], -1).double(), self.options.l2
        )
        knows = (((ours - mean) / deviation) @ weight.T + bias).softmax(-1)[:, 1] >= self.options.threshold
        around = labels[nearest(rows_of(pool.features), self.options.k)].mean(1)
        smoothed = (1 - self.options.smoothing) * labels + self.options.smoothing * around
        return torch.where(knows[:, None], round_plan.previous.predict(pool.inputs).to(labels.dtype), smoothed)


@hookimpl
def register_mitigations(register):
    register("selective", Selective)
