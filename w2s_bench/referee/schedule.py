"""Which stages can start and which cells are complete, as artefacts come and go. Names only: no process, no file."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Container

from w2s_bench.referee.artefacts import Artefact
from w2s_bench.referee.plan import Plan, PlannedCell, Stage

LOSSES = 2
"""How often a stage may be lost while nothing else runs before it is taken to be the cause."""
DAMAGES = 3
"""How often what a stage left may be damaged in one sweep before those who need it fail."""


class Schedule:
    """The stages and cells of a plan. Stages that most cells wait for go first."""

    def __init__(self, plan: Plan, resubmit: int | None = None) -> None:
        self.resubmit = resubmit
        """How often a lost stage runs again, whatever runs beside it; None: alone, as LOSSES says."""
        self.stages = plan.stages
        self.cells = {cell.digest: cell for cell in plan.cells}
        """Those without a record yet."""
        self.users: dict[str, set[str]] = {digest: set() for digest in plan.stages}
        """Of each stage, the cells without a record that need it."""
        self.artefacts: dict[str, Artefact] = {}
        """What stages left, by digest."""
        self._dependents: dict[str, list[str]] = {digest: [] for digest in plan.stages}
        for cell in plan.cells:
            for digest in cell.stages:
                self.users[digest].add(cell.digest)
        for digest, stage in plan.stages.items():
            for need in stage.needs:
                self._dependents[need].append(digest)
        self._order = {digest: i for i, digest in enumerate(plan.stages)}
        self._queue: list[tuple[int, int, str]] = []
        self.elsewhere: list[str] = []
        """Stages that another process computes."""
        self._suspects: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._damages: Counter[str] = Counter()

    def offer(self, digest: str) -> None:
        """Queues a stage where it can start."""
        if self._can_start(digest):
            heapq.heappush(self._queue, (-len(self.users[digest]), self._order[digest], digest))

    def next(self, running: Container[str]) -> Stage | None:
        """Returns a stage to start beside the `running` ones, None where there is none now."""
        if self._suspects and running:
            return None
        for digest in sorted(self._suspects, key=self._order.__getitem__):
            if self._can_start(digest):
                return self.stages[digest]
        while self._queue:
            digest = heapq.heappop(self._queue)[2]
            if digest not in running and self._can_start(digest):
                return self.stages[digest]
        return None

    def defer(self, digest: str) -> None:
        """Puts off a stage that another process computes."""
        self.elsewhere.append(digest)

    def resume(self) -> None:
        """Queues again what was put off."""
        deferred, self.elsewhere = self.elsewhere, []
        for digest in deferred:
            self.offer(digest)

    def complete(self, digest: str, artefact: Artefact) -> list[PlannedCell]:
        """Returns the cells of which nothing is missing any more, now that a stage has left its artefact."""
        self.artefacts[digest] = artefact
        self._suspects.discard(digest)
        for dependent in self._dependents[digest]:
            self.offer(dependent)
        cells = [self.cells[name] for name in sorted(self.users[digest])]
        return [cell for cell in cells if self.is_complete(cell)]

    def is_complete(self, cell: PlannedCell) -> bool:
        """Returns whether a cell has no record yet and lacks no artefact."""
        return cell.digest in self.cells and all(d in self.artefacts for d in cell.stages)

    def reopen(self, digest: str) -> bool:
        """Takes back that a stage is complete, its artefact is damaged; returns whether it may be computed again."""
        self.artefacts.pop(digest, None)
        self._damages[digest] += 1
        if self._damages[digest] >= DAMAGES:
            return False
        self.offer(digest)
        return True

    def runs_again(self, digest: str, alone: bool) -> bool:
        """Returns whether a stage that was lost with its process gets another try.

        On one machine nothing runs beside it then. On a cluster the others run on, most of them elsewhere.
        """
        if self.resubmit is not None:
            self._lost[digest] += 1
            if self._lost[digest] > self.resubmit:
                return False
            self.offer(digest)
            return True
        self._lost[digest] += alone
        if self._lost[digest] >= LOSSES:
            return False
        self._suspects.add(digest)
        return True

    @property
    def next_try(self) -> str:
        """Returns how a lost stage is tried again, to follow the reason."""
        return "it runs again, with nothing beside it" if self.resubmit is None else "it is submitted again"

    @property
    def last_try(self) -> str:
        """Returns why a lost stage is not tried again, to follow the reason."""
        if self.resubmit is None:
            return "twice so while nothing else ran"
        return f"submitted {1 + self.resubmit} times, it was lost each time"

    def close(self, cell: PlannedCell) -> list[Stage]:
        """Returns the stages without an artefact that nobody needs any more, now that a cell has a record."""
        del self.cells[cell.digest]
        for digest in cell.stages:
            self.users[digest].discard(cell.digest)
        idle = [d for d in dict.fromkeys(cell.stages) if not self.users[d] and d not in self.artefacts]
        self._suspects.difference_update(idle)
        return [self.stages[d] for d in idle]

    def _can_start(self, digest: str) -> bool:
        needs = self.stages[digest].needs
        wanted = self.users[digest] and digest not in self.artefacts and digest not in self.elsewhere
        return bool(wanted) and all(d in self.artefacts for d in needs)
