"""Weak labels taken with a grain of doubt: each is mixed with the uniform distribution."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class NewPlugin:
    """The student learns from labels (1 - e) w + e / C, so that a confident error costs it less.

    Source: Szegedy et al. 2016, arXiv 1512.00567, section 7 (label smoothing). Default: e .1, as there. Cost: 1.
    """

    source = "Szegedy et al. 2016, arXiv 1512.00567"
    search = {"doubt": [0.05, 0.1, 0.2, 0.4]}

    @dataclass
    class Options:
        doubt: float = 0.1
        """Share of each label that is spread over all classes, in [0, 1]."""

        def __post_init__(self):
            if not 0 <= self.doubt <= 1:
                raise ValueError(f"doubt must lie in [0, 1], not {self.doubt}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels):
        """Returns the labels [N, C], smoothed."""
        return (1 - self.options.doubt) * labels + self.options.doubt / labels.shape[-1]


@hookimpl
def register_mitigations(register):
    register("new_plugin", NewPlugin)
