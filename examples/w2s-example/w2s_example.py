"""Weak labels at another temperature."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class LabelTemperature:
    """Labels w^(1/T), normalised: below 1 the temperature sharpens them, above 1 it flattens them.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2; Guo et al. 2017, arXiv 1706.04599, section 4.2. Formula:
    w_c^(1/T) / sum_k w_k^(1/T), the softmax of the supervisor's log-probabilities over T. Default: T .5, fixed before
    any run. Needs nothing. Cost: 1.
    """

    source = "Guo et al. 2017, arXiv 1706.04599"

    @dataclass
    class Options:
        temperature: float = 0.5
        """Below 1 sharpens, 1 changes nothing, above 1 flattens."""

        def __post_init__(self):
            if not self.temperature > 0:
                raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels):
        """Returns the labels at the temperature."""
        return (labels.clamp(min=1e-12).log() / self.options.temperature).softmax(-1)


@hookimpl
def register_mitigations(register):
    register("label_temperature", LabelTemperature)
