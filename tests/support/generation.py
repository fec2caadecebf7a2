"""Prompts of a generation task."""

from __future__ import annotations

from w2s_bench.interfaces import Inputs, TaskInfo

TASK = TaskInfo("sums_gen", "generation", 0, [])
PROMPTS = ["3 4 1 + 5 0 7 =", "9 9 9 + 0 0 1 =", "1 2 3 +", "3 4 1 + 5 0 7 = tens"]


def inputs_of(texts=PROMPTS) -> Inputs:
    return Inputs([str(i) for i in range(len(texts))], list(texts))
