"""A day of a cluster, simulated: what its slots do, what failures cost, how many cells are done.

    python -m w2s_bench.studies.cluster --store leaderboard/scaling --slots 64 --scale 1000

The stages come from a store's records, their seconds are drawn from what those of the same kind, model or stack took
there, times `--scale`; the referee's own `Schedule` says which goes next. A slot that dies or is taken away loses what
its stage did since the last save; the stage runs again beside others, as engines of clusters submit it, or alone, as on
one machine.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from w2s_bench.cells import Cell, Entry, digest
from w2s_bench.errors import UsageError
from w2s_bench.referee.artefacts import Artefact
from w2s_bench.referee.plan import STAGE_KINDS, Plan, PlannedCell, Stage
from w2s_bench.referee.schedule import Schedule
from w2s_bench.store.records import Record, read_stores
from w2s_bench.studies.markdown import table

HOUR = 3600.0
NEVER = float("inf")
BACKLOG = 1.3
"""Work of the plan by what the slots could do: there is always something to do."""


@dataclass(frozen=True)
class Cluster:
    """How a cluster is and how jobs are put to it; times in seconds."""

    slots: int = 64
    seconds: float = 24 * HOUR
    """How long it is watched."""
    start: float = 60.0
    """What a job takes before its first stage works: the queue's own time, the container, imports."""
    save_every: float = 300.0
    """Of work, within a stage."""
    dies_every: float = 48 * HOUR
    """Mean time until a slot dies, and with it its job; `NEVER` for a slot that does not."""
    repair: float = 0.5 * HOUR
    """Until a dead slot is back."""
    taken_every: float = 12 * HOUR
    """Mean time until a slot is taken away for somebody else's job."""
    away: float = 0.5 * HOUR
    """Mean time until it comes back."""
    bundle: float = 0.0
    """Stages go into one job until they take this long together; 0: a job a stage."""
    alone: bool = False
    """Whether a stage that was lost runs again with nothing beside it."""


@dataclass
class Spent:
    """What became of the slots' time, in seconds, and of the cells."""

    work: float = 0.0
    lost: float = 0.0
    """Work that was not saved when its slot went."""
    start: float = 0.0
    idle: float = 0.0
    down: float = 0.0
    """Dead, or taken away."""
    cells: int = 0
    failed: int = 0
    """Cells given up, since a stage was lost again and again."""

    @property
    def total(self) -> float:
        return self.work + self.lost + self.start + self.idle + self.down


@dataclass
class _Slot:
    since: float = 0.0
    """When it began what it does: nothing, a start, a stage."""
    doing: str = "idle"
    """`idle`, `start`, `work` or `down`."""
    job: list[Stage] = field(default_factory=list)
    """The stages to be done; the first is worked on."""
    turn: int = 0
    """Raised by whatever makes the end that was foreseen untrue."""


class Simulation:
    """One cluster, driven by a plan's schedule; `seconds` has the work of each stage by digest."""

    def __init__(self, plan: Plan, seconds: dict[str, float], cluster: Cluster, seed: int) -> None:
        self.cluster, self.plan = cluster, plan
        self.schedule = Schedule(plan)
        self.left = dict(seconds)
        """Work of each stage that is not done and saved."""
        self.spent = Spent()
        self.rng = np.random.default_rng(seed)
        self.slots = [_Slot() for _ in range(cluster.slots)]
        self.running: set[str] = set()
        self._events: list[tuple[float, int, str, int, int]] = []
        self._numbers = itertools.count()

    def run(self) -> Spent:
        """Returns what became of the time."""
        for stage in self.plan.stages:
            self.schedule.offer(stage)
        for at in range(len(self.slots)):
            self._foresee_trouble(0.0, at)
        self._start_ready(0.0)
        while self._events and self._events[0][0] <= self.cluster.seconds:
            now, _, what, at, turn = heapq.heappop(self._events)
            if what in ("die", "take"):
                self._interrupt(now, at, what)
            elif self.slots[at].turn == turn:
                self._ended(now, at)
            self._start_ready(now)
        for slot in self.slots:  # what is under way counts as what it is
            self._turn(slot, self.cluster.seconds, "idle")
        return self.spent

    def _turn(self, slot: _Slot, now: float, to: str) -> None:
        """Books what a slot did until now, and has it do something else."""
        setattr(self.spent, slot.doing, getattr(self.spent, slot.doing) + now - slot.since)
        slot.doing, slot.since = to, now
        slot.turn += 1

    def _foresee(self, when: float, what: str, at: int) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what, at, self.slots[at].turn))

    def _foresee_trouble(self, now: float, at: int) -> None:
        means = {"die": self.cluster.dies_every, "take": self.cluster.taken_every}
        when = {what: now + self.rng.exponential(mean) for what, mean in means.items() if mean < NEVER}
        if when:
            first = min(when, key=lambda what: when[what])
            self._foresee(when[first], first, at)

    def _start_ready(self, now: float) -> None:
        for at, slot in enumerate(self.slots):
            if slot.doing == "idle":
                slot.job = self._job()
                if not slot.job:
                    return
                self._turn(slot, now, "start")
                self._foresee(now + self.cluster.start, "end", at)

    def _job(self) -> list[Stage]:
        """Returns the stages of one job, out of what can start now."""
        job: list[Stage] = []
        while not job or sum(self.left[s.digest] for s in job) < self.cluster.bundle:
            stage = self.schedule.next(self.running)
            if stage is None:
                break
            self.running.add(stage.digest)
            job.append(stage)
        return job

    def _ended(self, now: float, at: int) -> None:
        """A slot is back, a job has started, or a stage is done."""
        slot = self.slots[at]
        if slot.doing == "down":
            self._turn(slot, now, "idle")
            self._foresee_trouble(now, at)
            return
        if slot.doing == "work":
            stage = slot.job.pop(0)
            self.running.remove(stage.digest)
            for cell in self.schedule.complete(stage.digest, Artefact(stage.digest, Path(), {})):
                self.spent.cells += 1
                self.schedule.close(cell)
        self._turn(slot, now, "work" if slot.job else "idle")
        if slot.job:
            self._foresee(now + self.left[slot.job[0].digest], "end", at)

    def _interrupt(self, now: float, at: int, what: str) -> None:
        slot, job = self.slots[at], self.slots[at].job
        if slot.doing == "work":
            worked = now - slot.since
            unsaved = worked % self.cluster.save_every
            self.left[job[0].digest] -= worked - unsaved
            self.spent.lost += unsaved
            self.spent.work -= unsaved
        self._turn(slot, now, "down")
        away = self.cluster.repair if what == "die" else self.rng.exponential(self.cluster.away)
        self._foresee(now + away, "end", at)
        self.running.difference_update(stage.digest for stage in job)
        slot.job = []
        for number, stage in enumerate(job):
            if number or not self.cluster.alone:
                self.schedule.offer(stage.digest)
            elif not self.schedule.runs_again(stage.digest, not self.running):
                for name in sorted(self.schedule.users[stage.digest]):
                    self.spent.failed += 1
                    self.schedule.close(self.schedule.cells[name])


def backlog(records: list[Record], wanted: float, scale: float, seed: int) -> tuple[Plan, dict[str, float]]:
    """Returns a plan like that of these records, on further seeds until it has this many seconds of work, and these.

    A stage's seconds are drawn from what such stages took (the same task, models and stack, any seed), times `scale`.
    """
    taken: dict[tuple[str, ...], list[float]] = defaultdict(list)
    like = [(record, _names(record)) for record in records]
    for record, names in like:
        for kind, stage in ((record.raw.get("cost") or {}).get("stages") or {}).items():
            if kind in names and isinstance(stage, dict) and stage.get("seconds"):
                taken[names[kind]].append(stage["seconds"])
    like = [(record, names) for record, names in like if all(name in taken for name in names.values())]
    if not like:
        raise UsageError("no record has the seconds of its stages; give --store a store that a run has left")
    rng = np.random.default_rng(seed)
    stages: dict[str, dict[str, Stage]] = {kind: {} for kind in STAGE_KINDS}
    cells: list[PlannedCell] = []
    seconds: dict[str, float] = {}
    total = 0.0
    for further, (record, names) in ((k, one) for k in itertools.count() for one in like):
        if total >= wanted:
            break
        entry, draw = Entry(names["train"][1]), (record.seed, further)
        of = {kind: digest([name, draw]) for kind, name in names.items()}
        needs = {"prepare": (), "train": (of["prepare"], of["supervise"])}
        for kind, name in names.items():
            if of[kind] not in stages[kind]:
                needed = needs.get(kind, (of["prepare"],))
                stages[kind][of[kind]] = Stage(kind, of[kind], needed, " ".join(name), entry, record.seed, entry)
                seconds[of[kind]] = scale * float(rng.choice(taken[name]))
                total += seconds[of[kind]]
        cells.append(
            PlannedCell(
                Cell(entry, (entry,), entry, (entry,), record.seed), digest([record.digest, further]), of["prepare"],
                (of["supervise"],), of["ceiling"], of["train"], "", {}, "",
            )
        )  # fmt: skip
    return Plan({d: s for kind in STAGE_KINDS for d, s in stages[kind].items()}, cells), seconds


def _names(record: Record) -> dict[str, tuple[str, ...]]:
    """Returns what the stages of a record are stages of, by kind, each kind after those that it needs."""
    cell = record.cell
    task, weak, strong, stack = (
        json.dumps(cell[part], sort_keys=True) for part in ("task", "supervisors", "student", "mitigations")
    )
    return {
        "prepare": ("prepare", task),
        "supervise": ("supervise", task, weak),
        "ceiling": ("ceiling", task, strong),
        "train": ("train", task, weak, strong, stack),
    }


def ways(cluster: Cluster, bundle: float) -> dict[str, Cluster]:
    """Returns what is compared, by name."""
    quiet = replace(cluster, dies_every=NEVER, taken_every=NEVER)
    return {
        "no failures, a job a stage": quiet,
        "no failures, bundled": replace(quiet, bundle=bundle),
        "failures, a job a stage": cluster,
        "failures, bundled": replace(cluster, bundle=bundle),
        "failures, nothing saved": replace(cluster, save_every=NEVER),
        "failures, the lost run alone": replace(cluster, alone=True),
    }


def row(name: str, spent: Spent) -> list[str]:
    """Returns a table's row: utilisation, hours of slots, cells."""
    hours = [f"{x / HOUR:,.1f}" for x in (spent.lost, spent.start, spent.idle, spent.down)]
    return [name, f"{100 * spent.work / spent.total:.1f} %", *hours, f"{spent.cells:,}", f"{spent.failed:,}"]


def main(arguments: list[str] | None = None) -> None:
    """Prints a table of utilisation, lost work and cells done, with and without failures, bundled and not."""
    known = Cluster()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default="leaderboard/scaling", help="Store whose records have the times.")
    parser.add_argument("--slots", type=int, default=known.slots)
    parser.add_argument("--scale", type=float, default=1000.0, help="What measured seconds are multiplied by.")
    parser.add_argument("--dies-every", type=float, default=48.0, help="Mean hours until a slot dies.")
    parser.add_argument("--taken-every", type=float, default=12.0, help="Mean hours until a slot is taken away.")
    parser.add_argument("--bundle", type=float, default=3600.0, help="Seconds of stages that go into one job.")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    cluster = Cluster(asked.slots, dies_every=asked.dies_every * HOUR, taken_every=asked.taken_every * HOUR)
    records = [r for r in read_stores([asked.store]).records if r.ok]
    plan, seconds = backlog(records, BACKLOG * cluster.slots * cluster.seconds, asked.scale, asked.seed)
    work, median = sum(seconds.values()) / HOUR, np.median(list(seconds.values())) / 60
    print(f"{len(plan.cells):,} cells, {len(plan.stages):,} stages of {work:,.0f} hours, median {median:.1f} minutes\n")
    rows = [
        row(name, Simulation(plan, seconds, way, asked.seed).run()) for name, way in ways(cluster, asked.bundle).items()
    ]
    titles = ["", "utilisation", "lost, h", "start, h", "idle, h", "down, h", "cells done", "failed"]
    print(table(titles, rows))


if __name__ == "__main__":
    main()
