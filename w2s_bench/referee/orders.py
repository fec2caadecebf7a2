"""What a worker gets: a folder with its job and inputs, the code to run on it, and the walls around it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_bench.cells import Run
from w2s_bench.referee import handover, prepare, walls
from w2s_bench.referee.artefacts import Artefact, Cache, Damaged
from w2s_bench.referee.confinement import Walls
from w2s_bench.referee.disk import explained, remove
from w2s_bench.referee.plan import Plan, Stage
from w2s_bench.referee.progress import Progress
from w2s_bench.referee.shelves import shelves_of
from w2s_bench.referee.sources import plugins_of


@dataclass(frozen=True)
class Order:
    """A stage that can be given to an engine."""

    folder: Path
    target: str
    """`module:function`, to be called on the folder."""
    within: Walls | None


class Orders:
    """Puts orders together. `worker` is what runs all stages but `prepare`, `walled` whether walls go around it.

    `owner` is whose the folders are, None for this sweep's.
    """

    def __init__(
        self, run: Run, registry: Any, plan: Plan, cache: Cache, progress: Progress, worker: str, walled: bool,
        owner: str | None,
    ) -> None:  # fmt: skip
        self.settings, self.registry, self.cache, self.progress = run, registry, cache, progress
        self.worker, self.walled, self.owner = worker, walled, owner
        self.reach = walls.Reach(run, registry, plan, cache.root)
        self.read_prepared = functools.lru_cache(maxsize=16)(handover.Prepared.read)

    def make(self, stage: Stage, artefacts: Mapping[str, Artefact]) -> Order:
        """Returns the order for a stage, out of the artefacts of its needs; Damaged where one of them is."""
        plugins, installed = self.registry.brought_by(plugins_of(stage))
        shelved = shelves_of(stage, self.registry, self.cache.workers)
        with explained("cache", self.cache.root):
            if stage.kind == "prepare":
                folder, target = self.cache.secret_folder(self.owner), prepare.TARGET
                prepare.write_order(folder, stage, plugins, installed)
            else:
                folder, target = self.cache.job_folder(self.owner), self.worker
                try:
                    prepared = self.read_prepared(artefacts[stage.needs[0]])
                    handover.fill(folder, stage, prepared, artefacts, self.settings, plugins, installed, shelved)
                    if self.cache.unfinished.give(stage, folder):
                        self.progress.say(f"{stage.label}: goes on from what was saved before it was killed")
                    for note in prepared.info["notes"]:
                        self.progress.note(f"task {stage.task.name}: {note}")
                except Damaged:
                    remove(folder)
                    raise
            for name in walls.FOLDERS:
                (folder / name).mkdir(exist_ok=True)  # there may be something saved
        within = None
        if self.walled:
            for problem in self.reach.fetch(stage):
                self.progress.note(problem)
            within = self.reach.of(stage, folder, shelved)
        return Order(folder, target, within)
