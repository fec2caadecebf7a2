"""A task with perfect ground truth, made of nothing but a seed."""

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.interfaces import SPLITS, Inputs, Split


class NewPlugin:
    """Is the sum of six digits above 27? `9 0 3 8 8 1` -> above."""

    kind = "classification"

    def fingerprint(self):
        """Returns what to raise when the examples of a seed change."""
        return "new_plugin-1"

    def load(self, seed, sizes):
        """Returns the class names, and the four splits that the seed draws; no number is drawn twice."""
        counts = [getattr(sizes, f"n_{split}") for split in SPLITS]
        drawn = np.random.default_rng(seed).choice(10**6, sum(counts), replace=False)
        splits = {}
        for split, numbers in zip(SPLITS, np.split(drawn, np.cumsum(counts)[:-1]), strict=True):
            texts = [" ".join(f"{number:06d}") for number in numbers]
            truth = np.array([sum(map(int, text.split())) > 27 for text in texts], dtype=int)
            splits[split] = Split(Inputs([f"new_plugin-{number}" for number in numbers], texts), truth)
        return ["below", "above"], splits


@hookimpl
def register_tasks(register):
    register("new_plugin", NewPlugin)
