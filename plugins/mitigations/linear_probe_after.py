"""A finetuned student whose head is fitted anew, to the end, on its own features."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.logreg_relabel import logistic, standardised
from w2s_bench.plugins.mitigations.neighbours import rows_of


class LinearProbeAfter:
    """Naive finetuning, and then a logistic regression of the weak labels on the finetuned features as its head.

    Source: Burns et al. 2023, arXiv 2312.09390 (linear probes on finetuned models). Formula: the minimum of the mean
    cross-entropy of W h + b against the labels + l2 / 2 |W|^2, h the student's features of the transfer texts,
    standardised, by examples of weight above 0. Default: l2 = 1e-3, fixed before any run. Cost: 1 and the features.
    """

    source = "Burns et al. 2023, arXiv 2312.09390"
    search = {"l2": [0.0001, 0.001, 0.01, 0.1]}
    honours = frozenset({"order_examples", "training_batch", "training_targets", "training_loss"})

    @dataclass
    class Options:
        l2: float = 1e-3
        """Weight of the penalty."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the student with its new head."""
        import torch

        student = problem.new_student()
        for batch, progress in problem.batches():
            student.step(student.losses(batch, progress), batch)
        kept, head = problem.weights > 0, student.classifier.head
        rows, labels = rows_of(student.features(problem.pool.inputs)).double()[kept], problem.labels[kept]
        pairs = len(head.weight) == 1
        if pairs:  # seen from both sides, so that none is preferred for its place
            rows, labels = torch.cat([rows, -rows]), torch.cat([labels, labels.flip(-1)])
        weight, bias = logistic(standardised(rows), labels, self.options.l2)
        weight = weight / rows.std(0).clamp(min=1e-6)
        bias = bias - weight @ rows.mean(0)
        if pairs:  # the logits are scores of the candidates, and their difference is what counts
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        head.weight.data.copy_(weight)
        head.bias.data.copy_(bias)
        return student


@hookimpl
def register_mitigations(register):
    register("linear_probe_after", LinearProbeAfter)
