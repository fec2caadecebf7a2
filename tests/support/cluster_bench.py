"""Sweeps with engine=slurm where submitit's local executor takes the place of SLURM. As a script one, to be killed."""

from __future__ import annotations

import sys
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


def living_processes() -> set[str]:
    """Returns the processes that live: jobs of the local executor are called by theirs."""
    return {p.name for p in Path("/proc").iterdir() if p.name.isdecimal() and lives(int(p.name))}


def run_of(bench: Bench, *cells: Cell, **engine: Any) -> Run:
    return bench.run_of(*cells, engine={"name": "slurm", "workers": 3, "bundle_s": 4.0, **engine}, suite="grid")


def engine_of(run: Run, cluster: str = "local") -> SlurmEngine:
    """Returns the engine of a run, by default with processes of this machine for jobs."""
    if cluster == "slurm":
        return SlurmEngine.of(run, LIGHT)
    return replace(SlurmEngine.of(run, LIGHT), cluster="local", living=living_processes)


def go(bench: Bench, *cells: Cell, cluster: str = "local", **engine: Any) -> Outcome:
    run = run_of(bench, *cells, **engine)
    made = engine_of(run, cluster)
    try:
        return bench.with_engine(run, made)
    finally:
        made.close()


def naps() -> list[Cell]:
    """Returns the sweep whose referee is killed: 4 cells, the train stages of 1.5 s in one job or two."""
    return [cell((m, {"fault": "nap 1.5"}), seed=s) for m in ("trick", "trick_b") for s in range(2)]


if __name__ == "__main__":
    sys.exit(go(Bench(Path(sys.argv[1])), *naps(), cluster=(sys.argv[2:] or ["local"])[0]).failed)
