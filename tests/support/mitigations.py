"""Stacks made from classes, and the rounds that they plan."""

from __future__ import annotations

from support.bench import student_of
from w2s_bench import hookimpl
from w2s_bench.interfaces import build


def member(name, cls, **options):
    return name, lambda: build(cls, options)


# --- rounds


class Rounds:
    """Sees every round's plan and labels."""

    def __init__(self, seen):
        self.seen = seen

    @hookimpl
    def revise_labels(self, labels, round_plan):
        self.seen.append((round_plan, labels.clone()))


def rounds_of(*stack, supervisors, **more):
    seen = []
    student = student_of([*stack, ("seen", lambda: Rounds(seen))], supervisors, **more)
    return student, seen
