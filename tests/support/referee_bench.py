"""Sweeps of the fake plugins, for tests of the referee. As a script it runs one sweep, to be killed."""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from w2s_bench import exchange
from w2s_bench.board.build import build_board
from w2s_bench.cells import Cell, Entry, Run
from w2s_bench.referee import leases
from w2s_bench.referee.engines import LIGHT, LocalEngine
from w2s_bench.referee.sweep import Outcome, run_cells
from w2s_bench.registry import Registry, load

PLUGIN = str(Path(__file__).with_name("referee_plugin.py"))
TIMES = ("as_of", "seconds", "seconds_over_naive", "peak_memory_bytes")
"""Of a board, what differs between two runs of the same cells."""
WORKER = "support.fake_worker:run"


@functools.cache
def registry() -> Registry:
    """Returns the built-ins and the fake plugins."""
    return load([PLUGIN])


@functools.cache
def engine() -> LocalEngine:
    """Returns the one engine of a test session, with its fork server."""
    made = LocalEngine(2, 60.0, 1, LIGHT)
    atexit.register(made.close)
    return made


def entry(kind: str, name: str, **options: Any) -> Entry:
    """Returns an entry with all its options."""
    return Entry(name, {**registry().get(kind, name).options, **options})


def cell(*mitigations: Any, task: Any = "digits", supervisors: Any = ("guess",), student: Any = "pupil", seed: int = 0):
    """Returns a cell; each name may be a (name, options) pair."""

    def made(kind: str, given: Any) -> Entry:
        name, options = (given, {}) if isinstance(given, str) else given
        return entry(kind, name, **options)

    return Cell(
        made("task", task),
        tuple(made("supervisor", s) for s in supervisors),
        made("student", student),
        tuple(made("mitigation", m) for m in mitigations or ("trick",)),
        seed,
    )


class Bench:
    """A store and a cache in a folder."""

    def __init__(self, folder: Path) -> None:
        self.store, self.cache = folder / "store", folder / "cache"
        self.output = ""

    def run_of(self, *cells: Cell, engine: dict[str, Any] | None = None, **settings: Any) -> Run:
        """Returns a run without walls: the referee has to cope with what the fake worker does beyond them."""
        return Run(list(cells), str(self.store), str(self.cache), {"confine": "off"} | (engine or {}), **settings)

    def go(self, *cells: Cell, timeout_s: float = 60.0, slots: int = 2, **settings: Any) -> Outcome:
        """Returns the outcome of a sweep in forked processes, `slots` at a time."""
        shared = engine()
        shared.timeout_s, shared.slots = timeout_s, slots
        return self.with_engine(self.run_of(*cells, **settings), shared)

    def with_engine(self, run: Run, shared: LocalEngine | None) -> Outcome:
        console = Console(file=io.StringIO(), width=300)
        try:
            return run_cells(run, registry(), console=console, worker=WORKER, engine=shared)
        finally:
            self.output = console.file.getvalue()

    def records(self) -> list[dict[str, Any]]:
        """Returns all records, by label and seed."""
        found = [json.loads(p.read_text()) for p in (self.store / "records").glob("*.json")]
        return sorted(found, key=lambda r: json.dumps(r["cell"], sort_keys=True))

    def record(self) -> dict[str, Any]:
        (one,) = self.records()
        return one

    def diary(self) -> list[dict[str, Any]]:
        """Returns what each worker wrote down, oldest first."""
        pages = sorted((self.cache / "workers" / "diary").glob("*.json"))
        return [json.loads(p.read_text()) for p in pages]

    def worked(self) -> dict[str, int]:
        """Returns how many workers ran, by stage."""
        stages = [page["stage"] for page in self.diary()]
        return {s: stages.count(s) for s in sorted(set(stages))}

    def results(self) -> list[dict[str, Any]]:
        """Returns all records without what may differ between two runs of the same cells."""
        return [{k: v for k, v in r.items() if k not in ("cost", "provenance")} for r in self.records()]

    def board(self) -> str:
        """Returns the board as JSON, without times and costs in seconds."""
        return json.dumps(without_times(build_board([self.store]).data), sort_keys=True)


def without_times(value: Any) -> Any:
    """Returns a board without what tells when it was made and how long that took."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def grid(seeds: int = 2, nap_s: float = 0.03) -> list[Cell]:
    """Returns the sweep that is killed: 6 cells and 12 stages for 2 seeds, each slow enough to be hit."""
    nap = {"fault": f"nap {nap_s}"}
    return [
        cell((m, nap), supervisors=(("guess", nap),), student=("pupil", {"strength": 0.9}), seed=seed)
        for m in ("trick", "trick_b", "control")
        for seed in range(seeds)
    ]


def run_grid(folder: str, machine: str = "", seeds: str = "2", nap_s: str = "0.03") -> Outcome:
    """Returns the outcome of a sweep over the grid; with a machine's name as if on another one than this."""
    if machine:
        platform.node = lambda: machine
        leases.RENEWED_S, leases.EXPIRES_S = 0.2, 5.0
    here = Bench(Path(folder))
    run = here.run_of(*grid(int(seeds), float(nap_s)), suite="grid")
    return here.with_engine(replace(run, engine={"workers": 2, "confine": "off"}), None)


def permute_truth(bench: Bench) -> None:
    """Permutes the cached truth of transfer and test, and makes the artefact whole again."""
    for place in (bench.cache / "referee" / "prepare").glob("*/*"):
        manifest = exchange.read_json(place / "manifest.json")
        for split in ("transfer", "test"):
            path = place / "truth" / f"{split}.npy"
            np.save(path, np.random.default_rng(1).permutation(np.load(path)))
            manifest[f"truth/{split}.npy"] = hashlib.sha256(path.read_bytes()).hexdigest()
        exchange.write_json(place / "manifest.json", manifest)


if __name__ == "__main__":
    sys.exit(run_grid(*sys.argv[1:]).failed)
