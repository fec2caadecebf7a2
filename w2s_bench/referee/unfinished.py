"""What workers saved of fits that were not to end: kept by stage for the next worker that does it.

    <cache>/referee/running/<name of a job's folder>   the digest of the stage that is done there
    <cache>/referee/unfinished/<digest of a stage>/    what was saved there, out of a worker's reach

A worker saves into its own folder and does not learn the digest of its stage, which may derive from hidden truth.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from w2s_bench.referee.disk import make_folder, make_way, remove
from w2s_bench.referee.plan import Stage

KEPT_DAYS = 14
"""How long it is kept for somebody to go on with."""


class Unfinished:
    """The fits that wait for somebody to go on with them, in the cache at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._running, self._kept = root / "referee" / "running", root / "referee" / "unfinished"

    def give(self, stage: Stage, folder: Path) -> bool:
        """Returns whether there was something for this stage; it is now in the job's folder."""
        make_way(self._running / folder.name, self.root).write_text(stage.digest)
        with contextlib.suppress(OSError):  # there is nothing
            os.rename(self._kept / stage.digest, folder / "saved")
            return True
        return False

    def take(self, folder: Path, keep: bool) -> None:
        """Removes a job's folder; what was saved there is kept where somebody is to go on with it."""
        note = self._running / folder.name
        saved = folder / "saved"
        with contextlib.suppress(OSError, ValueError):  # it saved nothing, or the note is damaged
            if keep and not saved.is_symlink() and any(saved.iterdir()):
                place = self._kept / note.read_text()
                make_folder(self._kept, self.root)
                aside = self._kept / folder.name
                os.rename(saved, aside)  # of two sweeps that clean up after a third, one gets it
                remove(place)
                os.rename(aside, place)
        remove(folder)
        remove(note)

    def clean(self) -> None:
        """Removes what nobody went on with."""
        with contextlib.suppress(OSError):
            for place in list(self._kept.iterdir()):
                if time.time() - place.stat().st_mtime > KEPT_DAYS * 86400:
                    remove(place)
