"""Weak labels made softer or harder, the same for all examples."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class LabelSmoothing:
    """Labels mixed with the uniform distribution.

    Source: Szegedy et al. 2016, arXiv 1512.00567, section 7. Formula: (1 - e) w + e / C. Default: e = 0.1, as there.
    Cost: 1.
    """

    source = "Szegedy et al. 2016, arXiv 1512.00567"
    search = {"epsilon": [0.05, 0.1, 0.2, 0.4]}

    @dataclass
    class Options:
        epsilon: float = 0.1
        """Share of the uniform distribution, in [0, 1]."""

        def __post_init__(self):
            if not 0 <= self.epsilon <= 1:
                raise ValueError(f"epsilon must lie in [0, 1], not {self.epsilon}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels):
        """Returns labels [N, C], smoothed."""
        return (1 - self.options.epsilon) * labels + self.options.epsilon / labels.shape[-1]


class Temperature:
    """Labels raised to a power and normalised: a temperature above 1 softens them, below 1 it sharpens them.

    Source: Hinton et al. 2015, arXiv 1503.02531 (softened); Berthelot et al. 2019, arXiv 1905.02249 (sharpened).
    Formula: w_c^(1/T) / sum_c w_c^(1/T). Defaults: T = 2 as `temperature`; 0.5 as `sharpen`, as in the latter. Hard
    labels stay as they are. Cost: 1.
    """

    source = "Hinton et al. 2015, arXiv 1503.02531; Berthelot et al. 2019, arXiv 1905.02249"
    search = {"temperature": [0.25, 0.5, 2.0, 4.0]}

    @dataclass
    class Options:
        temperature: float = 2.0
        """T."""

        def __post_init__(self):
            if not self.temperature > 0:
                raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels):
        """Returns labels [N, C], at another temperature; None, and so what they were to the bit, at 1."""
        if self.options.temperature == 1:
            return None
        return (labels.log() / self.options.temperature).softmax(-1)


@hookimpl
def register_mitigations(register):
    register("label_smoothing", LabelSmoothing)
    register("temperature", Temperature)
    register("sharpen", Temperature, temperature=0.5)
