"""A mitigation that notes each batch and may be stopped at one; copied to where its notes are to be."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from w2s_bench import hookimpl
from w2s_bench.conformance.toy import ToyStudent, ToySupervisor, ToyTask

MADE, STOP = (Path(__file__).with_name(name) for name in ("made", "stop"))
"""A letter for each batch of all processes; what to do (`kill`, `wait` or `raise`) and at which batch."""


SAVED = Path("../saved")
NOTHING_SAVED = SAVED.is_dir() and not any(SAVED.iterdir())
"""Where this is imported by a worker, which runs in a folder of its job: whether its job has nothing to go on from."""


class Stopped(BaseException):
    """What ends a fit in a test that has one process."""


class Watched:
    """Weights with a little noise, so that its generator counts; it remembers the last of them."""

    @dataclass
    class Options:
        noise: float = 0.2
        """How much noise."""

    def __init__(self, options):
        self.options = options
        self.last = [None, 0.0]
        self.average = None

    @hookimpl
    def training_batch(self, batch):
        with MADE.open("a") as file:
            file.write("x")
        if STOP.exists():
            what, at = STOP.read_text().split()
            if MADE.stat().st_size == int(at):
                STOP.unlink()
                if what == "raise":
                    raise Stopped
                if what == "wait":
                    time.sleep(1000)
                os.kill(os.getpid(), signal.SIGKILL)
        noise = torch.rand(len(batch.weights), generator=batch.rng)
        before = noise if self.average is None else self.average
        self.average = (before + noise) / 2
        self.last = [self.average, float(self.average.mean())]
        return replace(batch, weights=batch.weights * (1 - self.options.noise * self.average))


class Locked(Watched):
    """It has something that is not saved."""

    def __init__(self, options):
        super().__init__(options)
        self.lock = object()


class Once:
    """It kills its process at the ninth batch of a job that has nothing to go on from, and needs no notes for that."""

    def __init__(self):
        self.made = 0

    @hookimpl
    def training_batch(self, batch):
        self.made += 1
        if self.made == 9 and NOTHING_SAVED:
            os.kill(os.getpid(), signal.SIGKILL)


@hookimpl
def register_tasks(register):
    register("toy", ToyTask, n_supervision=200, n_transfer=192, n_validation=20, n_test=200)


@hookimpl
def register_supervisors(register):
    register("toy_weak", ToySupervisor, words=40)


@hookimpl
def register_students(register):
    register("toy", ToyStudent)
    register("toy_small", ToyStudent, width=16)


@hookimpl
def register_mitigations(register):
    register("watched", Watched)
    register("locked", Locked)
    register("once", Once)
