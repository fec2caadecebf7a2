"""The loop of a sweep: starts stages as their needs are met, takes in what they left, has complete cells recorded."""

from __future__ import annotations

import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2s_bench import events, exchange
from w2s_bench.cells import Run
from w2s_bench.errors import W2SError
from w2s_bench.jobs import Cost
from w2s_bench.referee import handover, walls
from w2s_bench.referee.artefacts import Artefact, Cache, Damaged
from w2s_bench.referee.disk import explained, remove
from w2s_bench.referee.engines import OUTPUT, Ended, Engine, Submission
from w2s_bench.referee.orders import Orders
from w2s_bench.referee.plan import Plan, PlannedCell, Stage
from w2s_bench.referee.progress import Progress
from w2s_bench.referee.provenance import without_machine
from w2s_bench.referee.records import HOST, WALLS, Recorder, confinement_of
from w2s_bench.referee.schedule import DAMAGES, Schedule
from w2s_bench.referee.shelves import take_in
from w2s_bench.referee.sources import Changed, Sources
from w2s_bench.referee.store import RunningMarker, Store
from w2s_bench.referee.submitted import SUBMITTED
from w2s_bench.referee.walls import is_confined
from w2s_bench.store.escape import plain

FULL = "No space left on device"


class Loop:
    """One sweep under way; single-threaded, driven by what the engine reports."""

    def __init__(
        self, run: Run, registry: Any, plan: Plan, store: Store, cache: Cache, engine: Engine, progress: Progress,
        marker: RunningMarker, worker: str,
    ) -> None:  # fmt: skip
        self.settings, self.registry, self.stages = run, registry, plan.stages
        self.cache, self.engine, self.progress, self.marker = cache, engine, progress, marker
        confine = str(run.engine.get("confine", "auto"))
        self.confined = walls.of_nodes(confine) if engine.remote else walls.in_force(confine, engine.walled)
        walls.check_secret(plan, self.confined, engine.walled, progress.note)
        walled = confine != "off" if engine.remote else is_confined(self.confined)
        owner = SUBMITTED if engine.outlives else None
        self.orders = Orders(run, registry, plan, cache, progress, worker, walled, owner)
        self.recorder = Recorder(run, registry, store, self.confined)
        self.sources = Sources(registry, plan)
        self.schedule = Schedule(plan, engine.resubmit)
        self.began = time.monotonic()
        self.ok = self.failed = self.elsewhere = 0
        """Cells with a result of this sweep, without one, and with one that another sweep has recorded meanwhile."""
        self.computed: set[str] = set()
        """Stages that ran in this sweep and that no record has counted yet."""
        self.folders: dict[str, Path] = {}
        """Of running stages."""
        self.prepared: dict[str, handover.Prepared] = {}
        """What their results are checked against, whatever becomes of the file meanwhile."""
        self._marked = 0.0

    def run(self) -> None:
        """Returns when every cell has a record."""
        cached = {d: artefact for d, s in self.stages.items() if (artefact := self.find(s)) is not None}
        self.registry.observe(events.RunStarted(len(self.schedule.cells), len(self.stages), len(cached)))
        for digest, artefact in cached.items():
            self.finished(digest, artefact, None)
        for digest in self.stages:
            self.schedule.offer(digest)
        while self.schedule.cells:
            self.start_ready()
            if self.engine.remote:
                running = [self.stages[digest] for digest in self.engine.running()]
                self.progress.on_cluster(running, len(self.folders), self.engine.room)
            self.mark_progress()
            others = len(self.schedule.elsewhere)
            pause = max(0.2, others / 100)  # each of them is looked at, maybe over a network
            if self.folders:
                for ended in self.engine.wait(min(pause, 1.0) if others else 1.0):
                    self.ended(ended)
            elif others:
                time.sleep(pause)
            self.schedule.resume()

    def start_ready(self) -> None:
        while len(self.folders) < self.engine.slots:
            stage = self.schedule.next(self.folders)
            if stage is None:
                return
            if not self.cache.lock(stage):
                self.schedule.defer(stage.digest)
                continue
            artefact = self.find(stage)  # another process may have computed it meanwhile
            if artefact is not None:
                self.cache.unlock(stage)
                self.finished(stage.digest, artefact, None)
                continue
            if all(self.is_recorded(self.schedule.cells[name]) for name in sorted(self.schedule.users[stage.digest])):
                self.cache.unlock(stage)
                continue
            try:
                self.start(stage)
            except Damaged as damage:
                self.cache.unlock(stage)
                self.reopen(damage)

    def find(self, stage: Stage) -> Artefact | None:
        """Returns the cached artefact; None where it is not there, or comes of no walls though they are required."""
        artefact = self.cache.find(stage)
        required = self.settings.engine.get("confine") == "required"
        return None if artefact and required and not is_confined(confinement_of(artefact)) else artefact

    def start(self, stage: Stage) -> None:
        if stage.kind != "prepare":
            self.prepared[stage.digest] = self.orders.read_prepared(self.schedule.artefacts[stage.needs[0]])
        folder = self.engine.adopt(stage.digest)
        if folder is not None:  # an earlier referee submitted it, and it has only to be collected
            self.folders[stage.digest] = folder
            return
        order = self.orders.make(stage, self.schedule.artefacts)
        self.folders[stage.digest] = order.folder
        if not self.engine.remote:
            self.progress.started(stage)
        seconds, sources = self.progress.expected(stage), self.sources.digests(stage) if self.engine.remote else ()
        self.engine.submit(Submission(stage.digest, order.target, order.folder, order.within, seconds, sources))

    def ended(self, ended: Ended) -> None:
        stage, folder, prepared = (
            self.stages[ended.key],
            self.folders.pop(ended.key),
            self.prepared.pop(ended.key, None),
        )
        self.sources.check(stage)
        ours = self.cache.is_locked(stage) and folder.is_dir()
        theirs = None if ours else self.find(stage)
        if theirs is not None:
            self.cache.unfinished.take(folder, keep=False)
            self.finished(stage.digest, theirs, None)
            return
        status, reason, artefact, damage = ended.status, ended.reason, None, None
        if stage.key:  # a message may have the seed, and records have the message
            reason = reason.replace(str(stage.seed), "SEED")
        if status == "ok":
            try:
                self.check(stage, folder, ended, prepared)
                with explained("cache", self.cache.root):
                    remove(folder / "out" / WALLS)  # whatever the worker left there
                    exchange.write_json(folder / "out" / WALLS, ended.confined or self.confined)
                    remove(folder / "out" / HOST)
                    if ended.host is not None:
                        exchange.write_json(folder / "out" / HOST, ended.host)
                    artefact = self.cache.keep(stage, folder / "out", (*handover.OUTPUTS[stage.kind], WALLS, HOST))
                    take_in(stage, self.registry, self.cache.workers, folder)
            except Changed:
                raise
            except Damaged as removed:
                damage = removed
            except (W2SError, ValueError) as error:
                status, reason = "failed", str(error)
        alone = ended.alone
        if status not in ("ok", "lost") and not ours:
            status, reason = "lost", "another sweep took this one to be dead; was it suspended?"
            alone = not self.folders
        if status != "ok" and FULL in reason + ended.details[-4000:]:
            raise W2SError(f"the disk is full ({stage.label}); free some space and run the same command again")
        note = None
        if status != "ok" and ended.details:
            trace = ended.details.rpartition(OUTPUT)[0] or ended.details
            text = f"{stage.label}\n{status}: {reason}\n\n{trace}"
            note = self.note_failure(stage, text, folder / "log.txt")
        self.cache.unfinished.take(folder, keep=status in ("lost", "timeout"))
        if damage is not None:
            self.progress.ended(stage, None)
            self.reopen(damage)
        elif artefact is not None:
            self.computed.add(stage.digest)
            self.finished(stage.digest, artefact, ended.seconds)
        elif status == "lost" and self.schedule.runs_again(stage.digest, alone):
            self.progress.stopped(stage)
            self.progress.say(f"{stage.label}: {reason}; {self.schedule.next_try}")
        else:
            if status == "lost":
                status, reason = "failed", f"{reason}; {self.schedule.last_try}"
            self.give_up(stage, status, without_machine(reason, folder))
            if note:
                self.progress.say(f"    its traceback and output: {note}")
        self.cache.unlock(stage)  # the records are written by now, for others who wait for the stage to find

    def check(self, stage: Stage, folder: Path, ended: Ended, prepared: handover.Prepared | None) -> None:
        """Raises W2SError where a worker did not leave what it should; completes its costs."""
        out = folder / "out"
        if prepared is None:
            info = handover.check_prepared(out, stage)
            Cost(seconds=ended.seconds, peak_memory_bytes=ended.memory).write(out)
            if info["fingerprint"] != stage.fingerprint:
                raise Changed(f"the data of task {stage.task.name!r}")
            return
        handover.check_results(folder, stage, prepared)
        cost = Cost.parse((out / "cost.json").read_bytes())
        if not cost.peak_memory_bytes:
            replace(cost, peak_memory_bytes=ended.memory).write(out)

    def finished(self, digest: str, artefact: Artefact, seconds: float | None) -> None:
        stage = self.stages[digest]
        self.progress.ended(stage, seconds)
        self.registry.observe(events.StageFinished(stage.kind, stage.label, seconds or 0.0, seconds is None))
        for cell in self.schedule.complete(digest, artefact):
            if self.schedule.is_complete(cell):  # one before it may have shown an artefact to be damaged
                self.score(cell)

    def score(self, cell: PlannedCell) -> None:
        if self.computed.isdisjoint(cell.stages) and self.is_recorded(cell):
            return
        try:
            record = self.recorder.write_result(cell, self.schedule.artefacts, self.computed)
        except Damaged as damage:
            self.reopen(damage)
            return
        except W2SError as error:
            note = self.note_failure(self.stages[cell.train], f"{cell.cell.label()}\n{traceback.format_exc()}")
            self.fail(cell, "failed", str(error))
            self.progress.say(f"    its traceback: {note}")
            return
        self.ok += 1
        self.close(cell)
        self.progress.cell_done(cell, record)

    def is_recorded(self, cell: PlannedCell) -> bool:
        """Returns whether another sweep has recorded a cell meanwhile; it is closed then."""
        record = self.recorder.store.finished_meanwhile(cell.digest, self.settings.retry_failed)
        if record is None:
            return False
        self.close(cell)
        if record["status"] == "ok":
            self.elsewhere += 1
            self.progress.cell_done(cell, record)
        else:
            self.failed += 1
            self.progress.cell_failed(cell, record["status"], record["reason"])
        return True

    def reopen(self, damage: Damaged) -> None:
        """Has a stage computed again whose artefact is damaged, or gives it up where that happens again and again."""
        stage = self.stages[damage.stage]
        self.cache.discard(stage, damage)
        self.progress.reopened(stage)
        if not self.schedule.reopen(stage.digest):
            self.give_up(stage, "failed", f"{damage}; it was damaged {DAMAGES} times while this sweep ran")

    def note_failure(self, stage: Stage, text: str, log: Path | None = None) -> Path:
        with explained("cache", self.cache.root):
            return self.cache.note_failure(stage, text, log)

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
        if self.is_recorded(cell):  # a result is not replaced
            return
        self.failed += 1
        reason = plain(without_machine(reason, self.cache.root, self.settings.store), 500)
        self.recorder.write_failure(cell, status, reason)
        self.close(cell)
        self.progress.cell_failed(cell, status, reason)
        self.registry.observe(events.RunFailed(cell.cell.label(), status, reason))

    def close(self, cell: PlannedCell) -> None:
        for stage in self.schedule.close(cell):
            if stage.digest not in self.folders:
                self.progress.dropped(stage)

    def mark_progress(self) -> None:
        if time.monotonic() - self._marked < 2.0:
            return
        self._marked = time.monotonic()
        self.cache.clean()
        left = self.progress.left()
        self.marker.write(
            suite=self.settings.suite,
            engine=self.engine.name,
            running=[label for label, _ in self.progress.running.values()],
            queued=self.progress.queued,
            cells={"done": self.ok, "failed": self.failed, "left": len(self.schedule.cells)},
            seconds=round(self._marked - self.began, 1),
            seconds_left=None if left is None else round(left, 1),
        )
