"""Relabelling with the student, and a fresh student on the new labels."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round


class SelfDistillation:
    """Rounds in which a fresh student learns from the labels of the one before.

    Source: EleutherAI/w2s; Furlanello et al. 2018, arXiv 1805.04770 (born-again networks). Default: 2 rounds.
    Cost: `rounds`.
    """

    source = "EleutherAI/w2s"
    search = {"rounds": [1, 2, 3, 4]}

    @dataclass
    class Options:
        rounds: int = 2
        """How many students are fitted in a row; 1 is naive."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def plan_rounds(self):
        """Returns one round on the votes, the others on what the last student predicts."""
        return [Round(), *(Round(labels="previous") for _ in range(self.options.rounds - 1))]


@hookimpl
def register_mitigations(register):
    register("self_distillation", SelfDistillation)
