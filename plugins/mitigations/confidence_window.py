"""A window of confidence: examples that the student is sure of teach it nothing more."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class ConfidenceWindow:
    """The loss counts only where the student is unsure.

    Source: EleutherAI/w2s, `confidence_window_loss`. Formula: inner loss where max_c p_c < 0.5 + r, else 0; the mean
    is over the whole batch. Defaults: r = 0.15, as there; `midweak` takes the median of max_c w_c - 0.5 over the
    labels in its place. Cost: 1.
    """

    source = "EleutherAI/w2s, loss.py"
    search = {"radius": [0.05, 0.1, 0.15, 0.25, 0.35], "midweak": [False, True]}

    @dataclass
    class Options:
        radius: float = 0.15
        """r; 0.5 leaves nothing out."""
        midweak: bool = False
        """Take the labels' median distance from 0.5 in place of r."""

        def __post_init__(self):
            if not 0 < self.radius <= 0.5:
                raise ValueError(f"radius must lie above 0 and at most at 0.5, not {self.radius}")

    def __init__(self, options):
        self.options = options
        self.radius = options.radius

    @hookimpl
    def weigh_examples(self, labels):
        """Returns ones; here the labels' median is taken."""
        if self.options.midweak:
            self.radius = float(labels.amax(-1).median()) - 0.5
        return labels.new_ones(len(labels))

    @hookimpl(wrapper=True)
    def training_loss(self, logits):
        """Returns the inner losses where the student is unsure, 0 elsewhere."""
        losses = yield
        unsure = logits.detach().softmax(-1).amax(-1) < 0.5 + self.radius
        return losses * unsure


@hookimpl
def register_mitigations(register):
    register("confidence_window", ConfidenceWindow)
