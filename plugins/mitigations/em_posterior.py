"""Labels corrected for a supervisor whose errors depend on the text."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.logreg_relabel import logistic, standardised
from w2s_bench.plugins.mitigations.neighbours import rows_of


class EMPosterior:
    """The posterior of the class, given the weak label and how the supervisor labels texts of each class.

    Source: Anthropic 2026, automated weak-to-strong research (`em_posterior`): a logistic channel of the supervisor's
    rates of true and false positives, Bayes' posterior, tempered, two rounds. How the parts fit together here was
    fixed before any run. Formula: the prior q(c | x) is a logistic regression of the labels on the student's
    features; channel c, P(w | c, x), one of the weak class on the features, each example weighted by q(c | x); then
    q(c | x) is proportional to prior(c | x) P(w | c, x)^`temper`, and the prior is fitted to q again. Defaults: 2
    rounds, as there; temper .5, l2 = 1e-2. Cost: 1 and the features.
    """

    source = "Anthropic 2026, automated weak-to-strong research"
    search = {"rounds": [1, 2, 4], "temper": [0.25, 0.5, 1.0]}
    needs = frozenset({"features"})

    @dataclass
    class Options:
        rounds: int = 2
        """Rounds of expectation maximisation; 0 leaves the labels alone."""
        temper: float = 0.5
        """Exponent of the channel, in [0, 1]."""
        l2: float = 1e-2
        """Penalty on the weights of all regressions."""

        def __post_init__(self):
            if not 0 <= self.temper <= 1:
                raise ValueError(f"temper must lie in [0, 1], not {self.temper}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns labels [N, C]."""
        import torch

        if not self.options.rounds:
            return None
        rows, l2 = standardised(rows_of(pool.features)), self.options.l2
        weak = torch.nn.functional.one_hot(labels.argmax(-1), labels.shape[-1]).double()
        prior = log_probabilities(rows, labels.double(), l2)
        posterior = prior.exp()  # the labels themselves would make channels that never err
        for _ in range(self.options.rounds):
            channels = torch.stack(
                [(log_probabilities(rows, weak, l2, posterior[:, c]) * weak).sum(-1) for c in range(labels.shape[-1])],
                -1,
            )
            posterior = (prior + self.options.temper * channels).softmax(-1)
            prior = log_probabilities(rows, posterior, l2)
        return posterior.to(labels.dtype)


def log_probabilities(rows, labels, l2, weights=None):
    """Returns log-probabilities [N, C] of the logistic regression of labels [N, C] on rows [N, H] that it fitted."""
    weight, bias = logistic(rows, labels, l2, weights)
    return (rows @ weight.T + bias).log_softmax(-1)


@hookimpl
def register_mitigations(register):
    register("em_posterior", EMPosterior)
