"""Self-paced learning: the student begins with what it finds easy, and takes on more as it learns."""

from dataclasses import dataclass

from w2s_bench import hookimpl


class SelfPaced:
    """Only the smallest losses of each batch count; their share grows until all do.

    Source: Kumar et al. 2010, NeurIPS 23, with a share of each batch in place of a threshold on the loss. Formula: the
    share s(t) = s0 + (1 - s0) min(t / end, 1) with the smallest inner losses counts, by its mean. Defaults: s0 = 0.5
    and all by half of the training, fixed before any run. Cost: 1.
    """

    source = "Kumar et al. 2010, NeurIPS 23"
    search = {"start": [0.3, 0.5, 0.7], "end": [0.5, 0.75, 1.0]}

    @dataclass
    class Options:
        start: float = 0.5
        """Share of each batch that counts at the start, in (0, 1]."""
        end: float = 0.5
        """Share of the training after which everything counts."""

        def __post_init__(self):
            if not 0 < self.start <= 1:
                raise ValueError(f"start must lie above 0 and at most at 1, not {self.start}")

    def __init__(self, options):
        self.options = options

    @hookimpl(wrapper=True)
    def training_loss(self, progress):
        """Returns the easy examples' inner losses, raised so that the batch's mean is theirs, and 0 for the rest."""
        import torch

        losses = yield
        grown = min(1.0, progress / self.options.end if self.options.end else 1.0)
        count = max(1, round((self.options.start + (1 - self.options.start) * grown) * len(losses)))
        easy = losses.detach().argsort(stable=True)[:count]
        return losses * torch.zeros_like(losses).index_fill(0, easy, len(losses) / count)


@hookimpl
def register_mitigations(register):
    register("self_paced", SelfPaced)
