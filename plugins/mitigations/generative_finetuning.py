"""Language-model training on the task's texts first, then naive finetuning."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round


class GenerativeFinetuning:
    """A student that has read the task's texts, as a language model and without labels, before it sees a label.

    Source: Burns et al. 2023, arXiv 2312.09390, section 5.2.2 (generative supervision). Formula: a round on the
    transfer texts with the loss -log p(next token), then a round of cross-entropy on the weak labels that goes on with
    the same weights. Defaults: one pass at the protocol's rates, fixed before any run. Needs a student that is a
    language model, tuned in full or by adapters. Cost: 2.
    """

    source = "Burns et al. 2023, arXiv 2312.09390"
    search = {"share": [0.5, 1.0, 2.0], "lr_scale": [0.3, 1.0]}

    @dataclass
    class Options:
        share: float = 1.0
        """Steps on texts, as a share of the protocol's."""
        lr_scale: float = 1.0
        """Learning rate on texts, as a share of the protocol's."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def plan_rounds(self):
        """Returns a round on texts and one on labels."""
        return [
            Round(objective="text", share=self.options.share, lr_scale=self.options.lr_scale),
            Round(fresh=False),
        ]


@hookimpl
def register_mitigations(register):
    register("generative_finetuning", GenerativeFinetuning)
