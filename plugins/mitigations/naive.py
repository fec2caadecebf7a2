"""The empty stack: cross-entropy on the reference supervisor's labels."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import TASK_KINDS


class Naive:
    """The student finetuned on the reference supervisor's labels, as they are.

    Source: Burns et al. 2023, arXiv 2312.09390, section 3. Formula: CE(p, w). Defaults: soft labels, as there.
    Needs nothing. Cost: 1.
    """

    source = "Burns et al. 2023, arXiv 2312.09390"
    kinds = frozenset(TASK_KINDS)

    @dataclass
    class Options:
        hard: bool = False
        """Train on the supervisor's most likely class in place of its probabilities."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels):
        """Returns one-hot labels where `hard` asks for them."""
        if not self.options.hard:
            return None
        import torch

        hard = torch.nn.functional.one_hot(labels.argmax(-1), labels.shape[-1]).to(labels.dtype)
        undecided = labels.amax(-1) == labels.amin(-1)  # a supervisor that abstained has no likeliest class
        return torch.where(undecided[:, None], labels, hard)


@hookimpl
def register_mitigations(register):
    register("naive", Naive)
