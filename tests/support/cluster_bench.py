"""Sweeps with engine=slurm where submitit's local executor takes the place of SLURM. As a script one, to be killed."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.fake_worker import lives
from support.referee_bench import Bench, cell
from w2s_bench.cells import Cell, Run
from w2s_bench.referee.engines import LIGHT, slurm
from w2s_bench.referee.engines.slurm import SlurmEngine
from w2s_bench.referee.sweep import Outcome

slurm.LOOK_S, slurm.ASK_S, slurm.GRACE_S = 0.1, 0.5, 1.0


def living_processes(jobs: Collection[str]) -> set[str]:
    """Returns which jobs of the local executor live: they are called by their processes."""
    return {job for job in jobs if lives(int(job))}


def run_of(bench: Bench, *cells: Cell, **engine: Any) -> Run:
    return bench.run_of(*cells, engine={"name": "slurm", "workers": 3, "bundle_s": 4.0, **engine}, suite="grid")


def engine_of(run: Run) -> SlurmEngine:
    """Returns the engine of a run, with processes of this machine for jobs."""
    return replace(SlurmEngine.of(run, LIGHT), cluster="local", living=living_processes)


def go(bench: Bench, *cells: Cell, **engine: Any) -> Outcome:
    run = run_of(bench, *cells, **engine)
    made = engine_of(run)
    try:
        return bench.with_engine(run, made)
    finally:
        made.close()


def naps() -> list[Cell]:
    """Returns the sweep whose referee is killed: 4 cells, the train stages of 1.5 s in one job or two."""
    return [cell((m, {"fault": "nap 1.5"}), seed=s) for m in ("trick", "trick_b") for s in range(2)]


if __name__ == "__main__":
    sys.exit(go(Bench(Path(sys.argv[1])), *naps()).failed)
