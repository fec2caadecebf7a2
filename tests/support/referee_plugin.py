"""Plugins for tests of the referee: a task, supervisors, a student and mitigations that `fake_worker` acts out.

They name what is to go wrong in their options, so that each fault can be put into any stage.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.interfaces import Inputs, Split


@dataclass
class TaskOptions:
    fault: str = ""
    """What is wrong with the data."""
    classes: int = 2
    """How many classes."""


class Digits:
    """Numbers whose class is their remainder."""

    kind: ClassVar[str] = "classification"
    Options = TaskOptions

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return "digits-1"

    @property
    def notes(self):
        fault = self.options.fault
        return {"notes": "no list", "noted": ["3 rows \x1b[31mwere left out"]}.get(fault, ())

    def load(self, seed, sizes):
        fault, classes = self.options.fault, self.options.classes
        rng = np.random.default_rng(seed)
        splits, start = {}, 0
        for name in ("supervision", "transfer", "validation", "test"):
            n = getattr(sizes, f"n_{name}")
            truth = rng.permutation(np.arange(n) % classes)
            ids = [f"{seed % 1000}-{start + i}" for i in range(n)]
            text = [f"number {rng.integers(10**6)} {i}" for i in ids]
            difficulty, group = np.arange(n, dtype=float), None
            if name == "transfer":
                if fault == "empty":
                    ids, text, truth, difficulty = [], [], truth[:0], difficulty[:0]
                elif fault == "one class":
                    truth = np.zeros_like(truth)
                elif fault == "labels":
                    truth[7] = 5
                elif fault == "nan labels":
                    truth = truth.astype(float)
                    truth[3] = np.nan
                elif fault == "words":
                    truth = np.array(["yes", "no"] * n)[:n]
                elif fault == "duplicate":
                    ids[4] = ids[2]
                elif fault == "duplicate between":
                    ids[4] = splits["supervision"].inputs.ids[0]
                elif fault == "truth shape":
                    truth = truth[:-1]
                elif fault == "text":
                    text[1] = 7
                elif fault == "difficulty":
                    difficulty[2] = np.nan
                elif fault == "raise":
                    raise ValueError("the file is torn")
                elif fault == "exit":
                    import os

                    os._exit(0)
            if fault == "group":
                group = ["g1"] * n
            splits[name] = Split(Inputs(ids, text, None, difficulty), truth, group)
            start += n
        names = [f"class {c}" for c in range(classes)]
        if fault == "missing split":
            del splits["validation"]
        if fault == "class names":
            names = ["same"] * classes
        return names, splits


class SealedDigits(Digits):
    """The same, whose truth stays where it is."""

    sealed = True
    same_test_for_all_seeds = True


@dataclass
class FaultOptions:
    fault: str = ""
    """What goes wrong in the worker."""
    strength: float = 0.6
    """How much it knows."""


class Guesser:
    """A supervisor."""

    Options = FaultOptions

    def __init__(self, options):
        self.options = options

    def fit(self, inputs, truth, context):
        raise AssertionError("the fake worker fits")

    def label(self, inputs):
        raise AssertionError("the fake worker labels")


class Pupil:
    """A student."""

    Options = FaultOptions

    def __init__(self, options):
        self.options = options

    def backbone(self, seed):
        raise AssertionError("the fake worker has no backbone")


class Trick:
    """A mitigation."""

    @dataclass
    class Options:
        fault: str = ""
        """What goes wrong in the worker."""
        words: list[str] = field(default_factory=list)
        """Nothing."""

    def __init__(self, options):
        self.options = options


class Control(Trick):
    """A control."""

    control = True


class Sighted(Trick):
    """A mitigation that sees the truth."""

    needs = frozenset({"ground_truth"})


@hookimpl
def register_tasks(register):
    register("digits", Digits, n_supervision=40, n_transfer=30, n_validation=6, n_test=50)
    register("sealed", SealedDigits, n_supervision=40, n_transfer=30, n_validation=6, n_test=50)


@hookimpl
def register_supervisors(register):
    register("guess", Guesser)
    register("guess_alias", Guesser)
    register("guess_b", Guesser, strength=0.7)


@hookimpl
def register_students(register):
    register("pupil", Pupil, strength=0.9)


@hookimpl
def register_mitigations(register):
    for name in ("trick", "trick_b", "trick_c", "trick_d"):
        register(name, Trick)
    register("control", Control)
    register("sighted", Sighted)


@hookimpl
def run_failed(event):
    raise RuntimeError("an observer that fails")
