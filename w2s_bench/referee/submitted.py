"""What was submitted to a cluster that runs it without the referee: noted by stage, for the next referee to collect.

    <cache>/referee/submitted/<digest of a stage>.json   the job's folder, the store, the job of the cluster once known
    <cache>/referee/submitted/<name of a folder>.began   by which job, written by that job before it starts a stage
    <cache>/referee/submitted/<name of a folder>.ended   how the stage ended, written by the job
    <cache>/referee/submitted/<name of a folder>.taken   the same, from when a referee takes in what the stage left
    <cache>/referee/submitted/jobs/                      what submitit keeps of jobs, their output among it

A worker within walls reaches nothing of it. Folders called `submitted-...` are nobody's to clean up but this module's.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_bench import exchange
from w2s_bench.referee.disk import make_folder, make_way, remove
from w2s_bench.referee.unfinished import KEPT_DAYS, Unfinished

if TYPE_CHECKING:
    from w2s_bench.referee.engines.contract import Ended

SUBMITTED = "submitted"
"""How the names of such folders begin, in the place of the owner's."""
DAY_S = 86400


@dataclass(frozen=True)
class Note:
    """A stage that was submitted."""

    digest: str
    engine: str
    folder: str
    store: str
    """Of the sweep that submitted it."""
    job: str | None
    """None: not yet a job of the cluster, as far as is known."""


class Submitted:
    """The notes in the cache at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = root / "referee" / "submitted"
        self.jobs = self.place / "jobs"

    def write(self, note: Note) -> None:
        """Notes a stage, or what is new about it."""
        content = {k: v for k, v in asdict(note).items() if k != "digest"}
        exchange.write_json(make_way(self.place / f"{note.digest}.json", self.root), content)

    def read(self, digest: str) -> Note | None:
        """Returns the note of a stage, None where there is none that can be read."""
        try:
            content: dict[str, Any] = exchange.read_json(self.place / f"{digest}.json")
            return Note(digest, *(content[k] for k in ("engine", "folder", "store", "job")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def all(self) -> Iterator[Note]:
        """Yields all notes that can be read."""
        for path in sorted(self.place.glob("*.json")):
            if note := self.read(path.stem):
                yield note

    def of(self, store: Path) -> list[Note]:
        """Returns the notes of what sweeps on a store submitted."""
        return [note for note in self.all() if note.store == str(store.absolute())]

    def count(self, store: Path) -> dict[str, dict[str, int]]:
        """Returns how many stages of a store are queued, running, and wait to be collected, by engine."""
        names = self.names()
        counts: dict[str, dict[str, int]] = {}
        for note in self.of(store):
            folder = Path(note.folder).name
            state = "ended" if f"{folder}.ended" in names else "running" if f"{folder}.began" in names else "queued"
            of_engine = counts.setdefault(note.engine, {"queued": 0, "running": 0, "ended": 0})
            of_engine[state] += 1
        return counts

    def names(self) -> set[str]:
        """Returns the names of all files here, at the price of one look into the folder."""
        with contextlib.suppress(OSError):
            return set(os.listdir(self.place))
        return set()

    def begin(self, folder: Path, job: str) -> bool:
        """Returns whether a stage is now this job's to run: no other has begun it, and nobody has taken it back."""
        if not folder.is_dir():
            return False
        try:
            handle = os.open(self.place / f"{folder.name}.began", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        with open(handle, "w") as file:
            file.write(job)
        return True

    def begun_by(self, folder: Path) -> str | None:
        """Returns the job that has begun a stage, None where none has."""
        with contextlib.suppress(OSError):
            return (self.place / f"{folder.name}.began").read_text()
        return None

    def end(self, folder: Path, ended: Ended) -> None:
        """Leaves for the referee how a stage ended."""
        exchange.write_json(self.place / f"{folder.name}.ended", asdict(ended))

    def take(self, folder: Path) -> dict[str, Any] | None:
        """Returns how a stage ended; a referee that comes later no longer trusts what is in its folder.

        None where another has taken it: to that one, this process was dead.
        """
        with contextlib.suppress(FileNotFoundError):
            content = exchange.read_json(self.place / f"{folder.name}.ended")
            os.rename(self.place / f"{folder.name}.ended", self.place / f"{folder.name}.taken")
            return content
        return None

    def forget(self, digest: str, folder: Path) -> None:
        """Removes all notes of a stage in this folder; those of another try stay."""
        note = self.read(digest)
        if note is None or note.folder == str(folder):
            remove(self.place / f"{digest}.json")
        for what in ("began", "ended", "taken"):
            remove(self.place / f"{folder.name}.{what}")

    def discard(self, note: Note) -> None:
        """Removes a stage's folder and notes; a fit that was saved there is kept."""
        Unfinished(self.root).take(Path(note.folder), keep=True)
        self.forget(note.digest, Path(note.folder))

    def clean(self) -> None:
        """Removes what nobody has come back for, and what was never noted."""
        make_folder(self.jobs, self.root)
        for note in list(self.all()):
            if _age_s(self.place / f"{note.digest}.json") > KEPT_DAYS * DAY_S:
                self.discard(note)
        folders = {Path(note.folder).name for note in self.all()}
        for parent in (self.root / "jobs", self.root / "referee" / "building"):
            for folder in parent.glob(f"{SUBMITTED}-*"):
                if folder.name not in folders and _age_s(folder) > DAY_S:
                    remove(folder)
        for path in (*self.place.glob("*.*"), *self.jobs.glob("*")):
            if _age_s(path) > 2 * KEPT_DAYS * DAY_S:
                remove(path)


def _age_s(path: Path) -> float:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0
