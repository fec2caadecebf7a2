"""Supervision passed up through students of growing size."""

from dataclasses import dataclass, field

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round


class Bootstrapping:
    """Rounds that climb from the supervisor through intermediate students to the strong one.

    Source: Burns et al. 2023, arXiv 2312.09390, section 4.3.1. Formula: each student is finetuned on the labels
    that the one before gives. Needs intermediate students: entries named in `intermediate`, weakest first. Cost:
    one more fit for each of them.
    """

    source = "Burns et al. 2023, arXiv 2312.09390"
    needs = frozenset({"intermediate_students"})

    @dataclass
    class Options:
        intermediate: list[str] = field(default_factory=list)
        """Student entries between supervisor and student, weakest first, such as `[ladder_s]`."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def plan_rounds(self):
        """Returns a round for each intermediate student, and the strong one's."""
        ladder = [*self.options.intermediate, "strong"]
        return [Round(student=name, labels="previous" if k else "votes") for k, name in enumerate(ladder)]


@hookimpl
def register_mitigations(register):
    register("bootstrapping", Bootstrapping)
