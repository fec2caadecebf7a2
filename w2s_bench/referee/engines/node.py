"""Runs one stage on a node of a cluster, as `local` runs it on one machine: walls, time limit, descendants, memory."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from w2s_bench import exchange
from w2s_bench.cells import Run
from w2s_bench.errors import W2SError
from w2s_bench.referee import walls
from w2s_bench.referee.engines.contract import Ended, Submission
from w2s_bench.referee.engines.local import LocalEngine
from w2s_bench.referee.plan import training_source
from w2s_bench.referee.provenance import host

POLL_S = 0.5
"""How soon a node notices that its stage is to end."""


@dataclass(frozen=True)
class Settings:
    """What all stages of a sweep have in common, for a node to run them by."""

    timeout_s: float
    threads: int
    confine: str
    accelerator: str
    preload: tuple[str, ...]
    path: tuple[str, ...]
    """Where the referee imports modules from."""
    source: str
    """Digest of the training code that the referee has."""

    @staticmethod
    def of(run: Run, preload: tuple[str, ...]) -> Settings:
        """Returns the settings of a run, as this process would import its modules."""
        return Settings(
            timeout_s=float(run.engine.get("timeout_s", 3600.0)),
            threads=max(1, int(run.hardware.get("threads", 1))),
            confine=str(run.engine.get("confine", "auto")),
            accelerator=str(run.hardware.get("accelerator", "cpu")),
            preload=preload,
            path=tuple(os.path.abspath(p) for p in sys.path),
            source=training_source(),
        )


_engines: dict[tuple[Settings, str | None], LocalEngine] = {}
"""At most one: its server, with the libraries that it has loaded, serves the next stage of this process too."""


def run(submission: Submission, settings: Settings) -> Ended:
    """Returns how a stage ended on this machine; W2SError where the machine cannot run any."""
    if training_source() != settings.source:
        raise W2SError("this node has another w2s_bench than the referee; install the same on all nodes")
    if changed := _changed(submission):
        return Ended(submission.key, "failed", changed)
    confined = walls.in_force(settings.confine, True)
    within = None
    if submission.walls is not None and walls.is_confined(confined):
        read = (*submission.walls.read, *walls.of_etc())
        within = replace(submission.walls, read=read, devices=walls.devices())
    engine = _engine(settings)
    try:
        engine.submit(replace(submission, walls=within))
        ended: list[Ended] = []
        while not ended:
            ended = engine.wait(POLL_S)
    except BaseException:
        close()
        raise
    if changed := _changed(submission):
        return Ended(submission.key, "failed", changed)
    return replace(ended[0], confined=confined, host=host(settings.accelerator))


def close() -> None:
    """Ends the server of this process, and with it the stage that it runs."""
    while _engines:
        _engines.popitem()[1].close()


def _engine(settings: Settings) -> LocalEngine:
    key = (settings, os.environ.get("CUDA_VISIBLE_DEVICES"))  # a server keeps the cards that it started with
    if key not in _engines:
        close()
        _engines[key] = LocalEngine(1, settings.timeout_s, settings.threads, settings.preload, settings.path)
    return _engines[key]


def _changed(submission: Submission) -> str:
    """Returns a sentence where a plugin's file is not here as the referee has it, else nothing."""
    for path, sha256 in submission.sources:
        with contextlib.suppress(OSError):
            if exchange.file_sha256(Path(path)) == sha256:
                continue
        return f"{path} is not on the node as it was when the sweep was planned; nodes need the same files, unchanged"
    return ""
