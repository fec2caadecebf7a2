"""Runs cells: plans their stages once, has an engine do what is missing, scores, writes records."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from w2s_bench import events
from w2s_bench.cells import Run
from w2s_bench.referee.artefacts import Cache
from w2s_bench.referee.disk import explained
from w2s_bench.referee.engines import LIGHT, PRELOAD, Engine, make_engine
from w2s_bench.referee.loop import Loop
from w2s_bench.referee.plan import Plan, PlannedCell, plan_cells
from w2s_bench.referee.progress import Progress
from w2s_bench.referee.store import Store
from w2s_bench.referee.submitted import Submitted
from w2s_bench.store.escape import plain

WORKER = "w2s_bench.training.worker:run"


@dataclass(frozen=True)
class Outcome:
    """What became of the cells that were asked for; equal cells count once."""

    ok: int
    """Done now."""
    failed: int
    """Without a result, now or since an earlier run that was not to be retried."""
    skipped: int
    """Done before, or meanwhile by another sweep on the same store."""
    interrupted: bool
    store: Path
    digests: tuple[str, ...]
    """Of the records of all cells that were asked for, in their order."""


def run_cells(
    run: Run, registry: Any, *, console: Console | None = None, worker: str = WORKER, engine: Engine | None = None
) -> Outcome:
    """Returns what became of the run's cells.

    `worker` is what runs the stages, `module:function` on a job folder. An `engine` that is given stays up for the next
    call; else the one that `run.engine` names is made, used and closed.
    """
    store = Store(Path(run.store))
    plan = plan_cells(run.cells, registry, run.commands)
    digests = tuple(cell.digest for cell in plan.cells)
    if run.suite is not None:
        store.write_suite(run.suite, list(digests), run.varies)
    todo: list[PlannedCell] = []
    failed: list[PlannedCell] = []
    for cell in plan.cells:
        record = store.finished(cell.digest, run.retry_failed)
        if record is None:
            todo.append(cell)
        elif record["status"] != "ok":
            failed.append(cell)
    skipped = len(plan.cells) - len(todo) - len(failed)
    if not todo:
        _name_failed(console, store, failed)
        return Outcome(0, len(failed), skipped, False, store.root, digests)
    needed = {digest for cell in todo for digest in cell.stages}
    smaller = Plan({d: s for d, s in plan.stages.items() if d in needed}, todo)
    for name in {cell.cell.protocol.metric for cell in todo}:
        registry.metric(name)  # refused before anything is trained
    with contextlib.ExitStack() as stack:
        lent = engine is not None
        if engine is None:
            engine = make_engine(run, PRELOAD if worker == WORKER else LIGHT)
        progress = stack.enter_context(Progress(console, smaller.stages, len(todo), engine.room))
        with explained("cache", run.cache):
            cache = Cache(Path(run.cache).absolute(), progress.say)
            stack.callback(cache.close)
            cache.clean()
            Submitted(cache.root).clean()
        marker = store.mark_running()
        stack.callback(marker.close)
        for name, problem in store.damaged.items():
            progress.say(f"{store.root / name} is damaged ({problem}); its cell is computed again")
        stack.enter_context(_terminated_like_interrupted())
        loop = Loop(run, registry, smaller, store, cache, engine, progress, marker, worker)
        # what still runs must end before the cache's folders go
        stack.callback(lambda: engine.close() if not lent or loop.folders else None)
        interrupted = False
        try:
            loop.run()
        except KeyboardInterrupt:
            interrupted = True
            progress.say(f"interrupted: {loop.ok} of {len(todo)} cells are saved; the same command goes on from here")
            if engine.outlives and loop.folders:
                progress.say(f"jobs of {engine.name} go on; the same command collects them, `w2s cancel` ends them")
    _name_failed(console, store, failed)
    registry.observe(events.RunFinished(loop.ok, loop.failed, time.monotonic() - loop.began))
    return Outcome(loop.ok, loop.failed + len(failed), skipped + loop.elsewhere, interrupted, store.root, digests)


def _name_failed(console: Console | None, store: Store, failed: list[PlannedCell]) -> None:
    console = console or Console(stderr=True)
    for cell in failed:
        record = store.read(cell.digest) or {}
        line = f"{cell.cell.label()}  {record.get('status')} before: {record.get('reason')}"
        console.print(plain(line), markup=False, highlight=False, soft_wrap=True)
    if failed:
        console.print(
            f"{len(failed)} cells failed before and were not tried again; `--retry failed` does", markup=False
        )


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
