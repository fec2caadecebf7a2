"""Runs cells of a store again, from nothing, and compares what comes out with what the records say."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.cells import Run, label
from w2s_bench.compose import commands as rerun
from w2s_bench.compose import runs as compose
from w2s_bench.compose.axes import CHOICES
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.referee.plan import PlannedCell, plan_cells
from w2s_bench.registry import PLUGIN_KINDS, Registry
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.packing import rounded
from w2s_bench.store.paths import strip_local_paths
from w2s_bench.store.records import Record, read_record

if TYPE_CHECKING:
    from w2s_bench.referee.engines import Engine

CHANGED = 0.05
"""Share of test answers that may differ between machines or versions."""
ACCURACY = 0.01
"""By how much floor, student and ceiling accuracy may differ between machines or versions."""
SIDES = ("floor", "student", "ceiling")


@dataclass
class Rerun:
    """One cell that was drawn, and what became of it."""

    digest: str
    cell: str
    """One line for people."""
    state: str = "not rerun"
    """`equal`: every published bit of the predictions; `within` the tolerance; `out` of it; `not rerun`."""
    reason: str | None = None
    changed: float | None = None
    """Share of test answers that differ."""
    accuracy: dict[str, list[float]] = field(default_factory=dict)
    """Of floor, student and ceiling: as recorded, as rerun."""
    differs: dict[str, list[Any]] = field(default_factory=dict)
    """What of the provenance is not the same: as recorded, as rerun."""


@dataclass
class RerunReport:
    """A draw of cells, run again."""

    seed: int
    of: int
    """How many cells could have been drawn."""
    cells: list[Rerun] = field(default_factory=list)
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        return not self.interrupted and all(c.state in ("equal", "within") for c in self.cells)


def rerun_cells(
    path: Path, k: int, seed: int, registry: Registry, overrides: Sequence[str] = (), *, engine: Engine | None = None
) -> RerunReport:
    """Returns what became of `k` cells drawn from a store's results, run in a store and a cache of their own.

    `overrides` are for what a record does not tell (paths, the secret) and for `hardware`, `engine` and `trainer`; an
    `engine` stays up for the next call. UsageError where the store has no result.
    """
    from w2s_bench.referee.sweep import run_cells

    files = StoreFiles(path)
    read = [r for name in files.names("records", ".json") for r in read_record(files, name, [])]
    able = sorted((r for r in read if r.ok and not r.raw.get("imported")), key=lambda r: r.digest)
    if not able:
        raise UsageError(f"{path} has no result that could be run again")
    drawn = random.Random(seed).sample(able, min(k, len(able)))
    done = RerunReport(seed, len(able), [Rerun(r.digest, label(r.cell)) for r in drawn])
    with tempfile.TemporaryDirectory(prefix="w2s-rerun-") as folder:
        planned: dict[str, PlannedCell] = {}
        run: Run | None = None
        for record, row in zip(drawn, done.cells, strict=True):
            try:
                one = _composed(record, registry, overrides, folder)
                planned[record.digest] = plan_cells(one.cells, registry).cells[0]
                row.differs = _new_options(record, planned[record.digest])
            except W2SError as error:
                planned.pop(record.digest, None)
                row.reason = str(error)
                continue
            run = replace(run, cells=[*run.cells, *one.cells], commands=[*run.commands, *one.commands]) if run else one
        if run is not None:
            done.interrupted = run_cells(run, registry, engine=engine).interrupted
        ours = StoreFiles(Path(folder))
        for record, row in zip(drawn, done.cells, strict=True):
            if record.digest in planned:
                made = read_record(ours, f"records/{planned[record.digest].digest}.json", [])
                _compare(record, made, ours, row)
    return done


def _composed(record: Record, registry: Registry, overrides: Sequence[str], folder: str) -> Run:
    """Returns the run of one record's cell; nothing of a record decides where anything is written."""
    recorded = rerun.overrides(record.raw)
    keys = {o.partition("=")[0] for o in recorded}
    fitting = [o for o in overrides if o.partition("=")[0] in keys or _shared(o)]
    run = compose.cells([*recorded, *fitting], False, registry)
    drawn_with, (cell,) = record.drawn_with, run.cells
    if drawn_with is None:
        run = replace(run, cells=[replace(cell, secret=None)])
    elif cell.secret is None:
        raise UsageError(f"its splits were drawn with the secret {drawn_with}: --set secret=FILE, with that one's file")
    elif cell.secret.fingerprint != drawn_with:
        raise UsageError(f"its splits were drawn with the secret {drawn_with}, and {cell.secret.fingerprint} came")
    return replace(run, store=folder, cache=str(Path(folder) / "cache"), suite=None)


def _shared(override: str) -> bool:
    return override.partition("=")[0].partition(".")[0] in (*CHOICES, "secret", "trainer")


def _new_options(record: Record, planned: PlannedCell) -> dict[str, list[Any]]:
    """Returns options that plugins have got since the record was written; they are at their defaults.

    W2SError where what was composed is otherwise not what the record describes.
    """
    new: dict[str, list[Any]] = {}
    recorded = rerun.flat(record.cell, record.raw.get("protocol_settings") or {})
    made = rerun.flat(strip_local_paths(planned.cell.describe()), planned.settings)
    for key in sorted(recorded | made):
        if key not in recorded and key.partition(".")[0] in PLUGIN_KINDS:
            new[f"option {key}"] = ["no such option", made[key]]
        elif recorded.get(key) != made.get(key):
            raise W2SError(f"{key} would be {made.get(key)!r}, in the record it is {recorded.get(key)!r}")
    if planned.protocol != record.protocol:
        raise W2SError(f"its cell follows protocol {planned.protocol[:12]}, the record names {record.protocol[:12]}")
    return new


def _compare(record: Record, made: list[Record], files: StoreFiles, row: Rerun) -> None:
    """Fills in what the rerun shows."""
    row.state = "out"
    if not made or not made[0].ok:
        row.reason = f"the rerun ended without a result: {made[0].raw['reason'] if made else 'it was interrupted'}"
        return
    new = made[0]
    row.accuracy = {side: [r.test[side]["accuracy"] for r in (record, new)] for side in SIDES}
    before, after = _provenance(record), _provenance(new)
    row.differs |= {k: [before.get(k), after[k]] for k in after if before.get(k) != after[k]}
    if not row.differs and record.digest != new.digest:
        row.differs["source of the training"] = [record.digest, new.digest]
    named = record.raw["predictions"]
    try:
        ids, before_answers = exchange.read_predictions(record.files.read(named["path"]))["test"]
        new_ids, new_answers = exchange.read_predictions(files.read(new.raw["predictions"]["path"]))["test"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        row.reason = f"its predictions cannot be read ({type(error).__name__}: {error})"
        return
    if "data of the task" in row.differs or ids != new_ids or before_answers.shape != new_answers.shape:
        row.reason = "its data is another"
        return
    if "run_sha256" in named and new_answers.ndim == 2:
        new_answers = rounded(new_answers)
    row.changed = float((_chosen(before_answers) != _chosen(new_answers)).mean())
    off = {side: abs(a - b) for side, (a, b) in row.accuracy.items()}
    if not any(off.values()) and (before_answers == new_answers).all():
        row.state = "equal"
    elif row.changed <= CHANGED and max(off.values()) <= ACCURACY:
        row.state = "within"


def _chosen(answers: np.ndarray) -> np.ndarray:
    """Returns the answers [N]: the likeliest class of probabilities [N, C], texts as they are."""
    return answers.argmax(1) if answers.ndim == 2 else answers


def _provenance(record: Record) -> dict[str, Any]:
    """Returns what may make a rerun differ, by what people call it."""
    provenance = record.raw.get("provenance") or {}
    plugins = {
        f"source of {p.get('kind')} {p.get('name')}": p.get("source_sha256")
        for p in provenance.get("plugins") or []
        if p
    }
    named = {
        "w2s_bench": "w2s_bench",
        "torch": "torch",
        "lightning": "lightning",
        "task_fingerprint": "data of the task",
    }
    return {
        **{name: provenance.get(key) for key, name in named.items()},
        "processor": (provenance.get("host") or {}).get("cpu"),
        "device": (record.raw.get("cost") or {}).get("device"),
        **plugins,
    }
