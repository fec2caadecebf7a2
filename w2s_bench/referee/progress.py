"""What people see while a sweep runs: a live table on a terminal, one plain line for each finished cell elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import defaultdict
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from w2s_bench.referee.plan import STAGE_KINDS, PlannedCell, Stage
from w2s_bench.store.escape import guarded_output, plain
from w2s_bench.store.gap import no_gap_in


def spell(seconds: float) -> str:
    """Returns a duration for people: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    return f"{s // 3600} h {s % 3600 // 60:02d} min"


class Progress:
    """The display of one sweep; use as a context manager."""

    def __init__(self, console: Console | None, stages: dict[str, Stage], cells: int, room: int) -> None:
        # what is shown here is clean; a live table needs codes that a guarded stream takes out
        self.console = console or Console(file=getattr(sys.stderr, "unguarded", sys.stderr))
        self.total = {k: sum(s.kind == k for s in stages.values()) for k in STAGE_KINDS}
        self.done = dict.fromkeys(STAGE_KINDS, 0)
        self.ran: dict[str, list[float]] = {k: [] for k in STAGE_KINDS}
        self.ran_as: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.queued = 0
        """Stages that were submitted to a cluster and do not run yet."""
        self.cells, self.cells_done, self.cells_failed, self.room = cells, 0, 0, room
        self.running: dict[str, tuple[str, float]] = {}
        self.noted: set[str] = set()
        self.stack = contextlib.ExitStack()
        self.live = Live(console=self.console, get_renderable=self._show, refresh_per_second=4, transient=True)

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.live.start()
            self.stack.enter_context(guarded_output())  # the live display has put streams of its own in their place
        return self

    def __exit__(self, *_: Any) -> None:
        self.stack.close()
        self.live.stop()

    def say(self, line: str) -> None:
        """Shows one line that stays."""
        self.console.print(Text(plain(line)), soft_wrap=True)

    def note(self, line: str) -> None:
        """Shows one line that stays, once however often it comes: the seeds of a sweep share their data."""
        if line not in self.noted:
            self.noted.add(line)
            self.say(line)

    def started(self, stage: Stage) -> None:
        """Shows a stage as running."""
        self.running[stage.digest] = (plain(stage.label, 200), time.monotonic())

    def on_cluster(self, running: list[Stage], submitted: int, room: int) -> None:
        """Shows which of the submitted stages have left the queue of a cluster, and reckons with its room for them."""
        for stage in running:
            if stage.digest not in self.running:
                self.started(stage)
        self.queued, self.room = submitted - len(self.running), room

    def expected(self, stage: Stage) -> float | None:
        """Returns the seconds that a stage may take, by those of its kind and entry, else of its kind, if any ran."""
        like = self.ran_as.get((stage.kind, stage.entry.name)) or self.ran[stage.kind]
        return sum(like) / len(like) if like else None

    def stopped(self, stage: Stage) -> None:
        """Shows a stage no longer as running; it is still to be done."""
        self.running.pop(stage.digest, None)

    def reopened(self, stage: Stage) -> None:
        """Counts a stage that was done as still to be done."""
        self.done[stage.kind] -= 1

    def ended(self, stage: Stage, seconds: float | None) -> None:
        """Counts a stage as done; None where there was nothing to do."""
        self.running.pop(stage.digest, None)
        self.done[stage.kind] += 1
        if seconds is not None:
            self.ran[stage.kind].append(seconds)
            self.ran_as[stage.kind, stage.entry.name].append(seconds)

    def dropped(self, stage: Stage) -> None:
        """Counts a stage that nobody needs any more."""
        self.running.pop(stage.digest, None)
        self.total[stage.kind] -= 1

    def cell_done(self, cell: PlannedCell, record: dict[str, Any]) -> None:
        """Shows a finished cell with its numbers."""
        self.cells_done += 1
        metric = cell.cell.protocol.metric
        value, pgr = record["test"]["student"][metric], record["pgr"]
        numbers = f"{metric} {value:.3f}" if value is not None else f"no {metric}"
        recovered = (
            f"PGR {pgr:.2f}" if pgr is not None else f"no PGR: {no_gap_in(record) or f'{metric} is not defined'}"
        )
        self.say(f"[{self._at()}] {cell.cell.label()}  {numbers}  {recovered}")

    def cell_failed(self, cell: PlannedCell, status: str, reason: str) -> None:
        """Shows a cell without a result."""
        self.cells_failed += 1
        self.say(f"[{self._at()}] {cell.cell.label()}  {status}: {reason}")

    def left(self) -> float | None:
        """Returns the seconds that the rest may take, None before any stage has ended."""
        known = [s for ran in self.ran.values() for s in ran]
        if not known:
            return None
        rest = 0.0
        for kind in STAGE_KINDS:
            ran = self.ran[kind] or known
            rest += max(0, self.total[kind] - self.done[kind]) * sum(ran) / len(ran)
        return rest / self.room

    def _at(self) -> str:
        return f"{self.cells_done + self.cells_failed}/{self.cells}"

    def _show(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for kind in STAGE_KINDS:
            done, total = self.done[kind], self.total[kind]
            if total:
                table.add_row(kind, ProgressBar(total=total, completed=done, width=30), f"{done}/{total}")
        finished = self.cells_done + self.cells_failed
        bar = ProgressBar(total=max(1, self.cells), completed=finished, width=30)
        failed = f", {self.cells_failed} failed" if self.cells_failed else ""
        table.add_row("cells", bar, f"{finished}/{self.cells}{failed}")
        left = self.left()
        lines = [f"  {label}  {spell(time.monotonic() - since)}" for label, since in list(self.running.values())[:8]]
        lines += [f"  {self.queued} more are queued"] if self.queued else []
        lines.append("" if left is None else f"about {spell(left)} left")
        return Group(table, Text("\n".join(lines), style="dim"))
