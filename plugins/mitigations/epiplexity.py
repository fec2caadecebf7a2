"""Labels from which a student learns nothing about other examples are smoothed away."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class Epiplexity:
    """Uniform labels for the examples whose loss falls least when a student learns from the others.

    Source: Anthropic 2026, automated weak-to-strong research (`epiplexity`). Formula: with out-of-fold probabilities of
    two folds after `early` of the usual steps and after all of them, drop_n = CE(p_early, w_n) - CE(p_late, w_n); the
    share `smoothed` with the least drop gets the uniform label. Default: 40 %, as there; a tenth of the steps for the
    early loss, fixed before any run. Cost: about 2.1.
    """

    source = "Anthropic 2026, automated weak-to-strong research"
    search = {"smoothed": [0.2, 0.4, 0.6], "early": [0.1, 0.25]}

    @dataclass
    class Options:
        smoothed: float = 0.4
        """Share of the examples whose labels are smoothed."""
        early: float = 0.1
        """Steps before the first loss is taken, as a share of the usual ones."""

        def __post_init__(self):
            if not 0 <= self.smoothed < 1 or not 0 < self.early < 1:
                raise ValueError(
                    f"smoothed must lie in [0, 1) and early in (0, 1), not {self.smoothed} and {self.early}"
                )

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels, pool):
        """Returns labels [N, C], some of them uniform."""
        early, late = (cross_entropy(pool.cross_predict(labels, 2, s), labels) for s in (self.options.early, 1.0))
        least = (early - late).argsort(stable=True)[: round(self.options.smoothed * len(labels))]
        revised = labels.clone()
        revised[least] = 1.0 / labels.shape[-1]
        return revised


def cross_entropy(p, labels):
    """Returns the cross-entropy [N] of probabilities p [N, C] against labels [N, C]."""
    return -(labels * p.clamp(min=1e-8).log()).sum(-1)


@hookimpl
def register_mitigations(register):
    register("epiplexity", Epiplexity)
