"""Ends running sweeps from another terminal, and the jobs of a cluster that go on without any."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from w2s_bench.compose.settings import cache_folder, store_folder
from w2s_bench.errors import W2SError
from w2s_bench.referee.engines import slurm
from w2s_bench.referee.store import RUNNING, running_sweeps
from w2s_bench.referee.submitted import Submitted

PATIENCE_S = 60.0
"""A sweep ends its workers and writes what has come in before it goes."""


def cancel_sweeps(store: str | None) -> Iterator[str]:
    """Yields a line for each sweep on a store that has ended, as an interrupt from the keyboard ends it; and for jobs.

    W2SError where none runs, where one runs on another machine, or does not end within a minute.
    """
    root = Path(store_folder(store))
    sweeps, submitted = running_sweeps(root / RUNNING), Submitted(Path(cache_folder()).absolute())
    if not sweeps and not submitted.of(root):
        raise W2SError(f"nothing is running on store {root}")
    here = platform.node()
    for sweep in (s for s in sweeps if s["host"] == here):
        os.kill(sweep["pid"], signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_S
        while any(s["pid"] == sweep["pid"] for s in running_sweeps(root / RUNNING)):
            if time.monotonic() > deadline:
                pid = sweep["pid"]
                raise W2SError(f"process {pid} has not ended within {PATIENCE_S:.0f} s; `kill -9 {pid}` ends it")
            time.sleep(0.1)
        cells = sweep["cells"]
        yield f"ended: {cells['done']} cells done, {cells['left']} left; the same command goes on from here"
    if elsewhere := sorted({s["host"] for s in sweeps} - {here}):
        raise W2SError(f"a sweep on store {root} runs on {', '.join(elsewhere)}; cancel it there")
    if notes := submitted.of(root):
        jobs = {job for note in notes if (job := note.job or submitted.begun_by(Path(note.folder)))}
        _end_jobs(jobs)
        for note in notes:
            submitted.discard(note)
        yield f"ended: {len(jobs)} jobs of SLURM with {len(notes)} stages"


def _end_jobs(jobs: set[str]) -> None:
    """Returns when SLURM has done with these jobs; W2SError where that takes longer than a minute."""
    deadline = time.monotonic() + PATIENCE_S
    if jobs:
        slurm.end_jobs(jobs)
    while left := jobs & (slurm.living_jobs() or set()):
        if time.monotonic() > deadline:
            raise W2SError(f"{len(left)} jobs of SLURM have not ended within {PATIENCE_S:.0f} s; ask `squeue` for them")
        time.sleep(1.0)
