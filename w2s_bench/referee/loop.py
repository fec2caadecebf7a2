"""The loop of a sweep: starts stages as their needs are met, takes in what they left, has complete cells recorded."""

from __future__ import annotations

import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from w2s_bench import events, exchange
from w2s_bench.cells import Run
from w2s_bench.errors import W2SError
from w2s_bench.jobs import Cost
from w2s_bench.referee import handover, prepare
from w2s_bench.referee.artefacts import Cache
from w2s_bench.referee.engines import OUTPUT, Ended, Engine
from w2s_bench.referee.plan import Plan, PlannedCell, Stage
from w2s_bench.referee.progress import Progress
from w2s_bench.referee.provenance import without_machine
from w2s_bench.referee.records import Recorder
from w2s_bench.referee.schedule import Schedule
from w2s_bench.referee.sources import Changed, Sources
from w2s_bench.referee.store import Announcement, Store, explained
from w2s_bench.store.escape import plain

FULL = "No space left on device"


class Loop:
    """One sweep under way; single-threaded, driven by what the engine reports."""

    def __init__(
        self, run: Run, registry: Any, plan: Plan, store: Store, cache: Cache, engine: Engine, progress: Progress,
        announcement: Announcement, worker: str,
    ) -> None:  # fmt: skip
        self.settings, self.registry, self.stages = run, registry, plan.stages
        self.cache, self.engine, self.progress, self.announcement = cache, engine, progress, announcement
        self.worker = worker
        self.plugins = list(registry.extra) or list(run.plugins)
        self.recorder = Recorder(run, registry, store)
        self.sources = Sources(registry, plan)
        self.schedule = Schedule(plan)
        self.began = time.monotonic()
        self.ok = self.failed = 0
        self.computed: set[str] = set()
        """Stages that ran in this sweep and that no record has counted yet."""
        self.folders: dict[str, Path] = {}
        """Of running stages."""
        self._said = 0.0

    def run(self) -> None:
        """Returns when every cell has a record."""
        cached = {d: place for d, s in self.stages.items() if (place := self.cache.find(s)) is not None}
        self.registry.observe(events.RunStarted(len(self.schedule.cells), len(self.stages), len(cached)))
        for digest, place in cached.items():
            self.finished(digest, place, None)
        for digest in self.stages:
            self.schedule.offer(digest)
        while self.schedule.cells:
            self.start_ready()
            self.announce()
            if self.folders:
                for ended in self.engine.wait(0.2 if self.schedule.elsewhere else 1.0):
                    self.ended(ended)
            elif self.schedule.elsewhere:
                time.sleep(0.2)
            self.schedule.resume()

    def start_ready(self) -> None:
        while len(self.folders) < self.engine.slots:
            stage = self.schedule.next(self.folders)
            if stage is None:
                return
            if not self.cache.lock(stage):
                self.schedule.defer(stage.digest)
                continue
            place = self.cache.find(stage)  # somebody else may have been faster
            if place is not None:
                self.cache.unlock(stage)
                self.finished(stage.digest, place, None)
                continue
            self.start(stage)

    def start(self, stage: Stage) -> None:
        with explained("cache", self.cache.root):
            if stage.kind == "prepare":
                folder, target = self.cache.secret_folder(), prepare.TARGET
                prepare.write_order(folder, stage, self.plugins)
            else:
                folder, target = self.cache.job_folder(), self.worker
                artefacts = self.schedule.artefacts
                handover.fill(folder, stage, artefacts, self.settings, self.plugins, self.cache.workers)
        self.folders[stage.digest] = folder
        self.progress.started(stage)
        self.engine.submit(stage.digest, target, folder)

    def ended(self, ended: Ended) -> None:
        stage, folder = self.stages[ended.key], self.folders.pop(ended.key)
        self.sources.check(stage)
        status, reason, place = ended.status, ended.reason, None
        if status == "ok":
            try:
                self.check(stage, folder, ended)
                with explained("cache", self.cache.root):
                    place = self.cache.keep(stage, folder / "out", self.outputs(stage))
            except Changed:
                raise
            except (W2SError, ValueError) as error:
                status, reason = "failed", str(error)
        if place is None and FULL in reason + ended.details[-4000:]:
            raise W2SError(f"the disk is full ({stage.label}); free some space and run the same command again")
        note = None
        if place is None and ended.details:
            trace = ended.details.rpartition(OUTPUT)[0] or ended.details
            text = f"{stage.label}\n{status}: {reason}\n\n{trace}"
            note = self.cache.note_failure(stage, text, folder / "log.txt")
        shutil.rmtree(folder, ignore_errors=True)
        self.cache.unlock(stage)
        if place is not None:
            self.computed.add(stage.digest)
            self.finished(stage.digest, place, ended.seconds)
        elif status == "lost" and self.schedule.runs_again(stage.digest, ended.alone):
            self.progress.stopped(stage)
            self.progress.say(f"{stage.label}: {reason}; it runs again, with nothing beside it")
        else:
            if status == "lost":
                status, reason = "failed", f"{reason}; twice so while nothing else ran"
            reason = without_machine(reason, folder, self.cache.root, self.settings.store)
            self.give_up(stage, status, reason)
            if note:
                self.progress.say(f"    its traceback and output: {note}")

    def check(self, stage: Stage, folder: Path, ended: Ended) -> None:
        """Raises W2SError where a worker did not leave what it should; completes its costs."""
        cost = folder / "out" / "cost.json"
        if stage.kind == "prepare":
            Cost(seconds=ended.seconds, peak_memory_bytes=ended.memory).write(cost.parent)
            if exchange.read_json(folder / "out" / "info.json")["fingerprint"] != stage.fingerprint:
                raise Changed(f"the data of task {stage.task.name!r}")
            return
        handover.check_results(folder, stage, handover.Prepared.read(self.schedule.artefacts[stage.needs[0]]))
        spent = exchange.read_json(cost)
        if not spent.get("peak_memory_bytes"):
            exchange.write_json(cost, spent | {"peak_memory_bytes": ended.memory})

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        return prepare.OUTPUTS if stage.kind == "prepare" else handover.OUTPUTS[stage.kind]

    def finished(self, digest: str, place: Path, seconds: float | None) -> None:
        stage = self.stages[digest]
        self.progress.ended(stage, seconds)
        self.registry.observe(events.StageFinished(stage.kind, stage.label, seconds or 0.0, seconds is None))
        for cell in self.schedule.complete(digest, place):
            self.score(cell)

    def score(self, cell: PlannedCell) -> None:
        try:
            record = self.recorder.write_result(cell, self.schedule.artefacts, self.computed)
        except W2SError as error:
            note = self.cache.note_failure(self.stages[cell.train], f"{cell.cell.label()}\n{traceback.format_exc()}")
            self.fail(cell, "failed", str(error))
            self.progress.say(f"    its traceback: {note}")
            return
        self.ok += 1
        self.close(cell)
        self.progress.cell_done(cell, record)

    def give_up(self, stage: Stage, status: str, reason: str) -> None:
        """Records the cells that need a stage as without a result."""
        if stage.kind != "train":
            reason = f"{stage.label}: {reason}"
        cells = [self.schedule.cells[name] for name in sorted(self.schedule.users[stage.digest])]
        for cell in cells:
            self.fail(cell, status, reason)
        if not cells:
            self.progress.dropped(stage)

    def fail(self, cell: PlannedCell, status: str, reason: str) -> None:
        self.failed += 1
        reason = plain(reason, 500)
        self.recorder.write_failure(cell, status, reason)
        self.close(cell)
        self.progress.cell_failed(cell, status, reason)
        self.registry.observe(events.RunFailed(cell.cell.label(), status, reason))

    def close(self, cell: PlannedCell) -> None:
        for stage in self.schedule.close(cell):
            if stage.digest not in self.folders:
                self.progress.dropped(stage)

    def announce(self) -> None:
        if time.monotonic() - self._said < 2.0:
            return
        self._said = time.monotonic()
        left = self.progress.left()
        self.announcement.say(
            suite=self.settings.suite,
            running=[self.stages[d].label for d in self.folders],
            cells={"done": self.ok, "failed": self.failed, "left": len(self.schedule.cells)},
            seconds=round(self._said - self.began, 1),
            seconds_left=None if left is None else round(left, 1),
        )
