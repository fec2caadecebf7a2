"""Engines run the stages: on this machine (`local`, `inline`) or on others (`ray`, `slurm`). Each is one file."""

from __future__ import annotations

import importlib.util

from w2s_bench.cells import Run
from w2s_bench.errors import UsageError
from w2s_bench.referee.engines.contract import Ended, Engine, Submission
from w2s_bench.referee.engines.inline import InlineEngine
from w2s_bench.referee.engines.local import LIGHT, OUTPUT, PRELOAD, LocalEngine, cores

__all__ = [
    "LIGHT",
    "OUTPUT",
    "PRELOAD",
    "Ended",
    "Engine",
    "InlineEngine",
    "LocalEngine",
    "Submission",
    "cores",
    "make_engine",
]

PACKAGES = {"ray": "ray", "slurm": "submitit"}
"""What an engine needs beside w2s_bench; the extra is called as the engine."""


def make_engine(run: Run, preload: tuple[str, ...]) -> Engine:
    """Returns the engine that a run's `engine` and `hardware` settings ask for; nothing is started yet."""
    name = run.engine.get("name", "local")
    threads = max(1, int(run.hardware.get("threads", 1)))
    if name == "inline":
        return InlineEngine()
    if name == "local":
        on_gpu = run.hardware.get("accelerator") == "gpu"
        workers = int(run.engine.get("workers", 0)) or (1 if on_gpu else cores() // threads)
        return LocalEngine(max(1, workers), float(run.engine.get("timeout_s", 3600.0)), threads, preload)
    if name not in PACKAGES:
        raise UsageError(f"engine {name!r} is not one of local, inline, {', '.join(PACKAGES)}")
    if importlib.util.find_spec(PACKAGES[name]) is None:
        package = PACKAGES[name]
        raise UsageError(f"engine={name} needs the package {package}: pip install 'w2s_bench[{name}]' brings it")
    if name == "ray":
        from w2s_bench.referee.engines.ray import RayEngine

        return RayEngine.of(run, preload)
    from w2s_bench.referee.engines.slurm import SlurmEngine

    return SlurmEngine.of(run, preload)
