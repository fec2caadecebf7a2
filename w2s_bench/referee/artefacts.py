"""The stage cache: what each stage left, under the stage's digest, whole or not there at all.

    <cache>/workers/                             the workers' own (frozen features); label-free
    <cache>/jobs/<owner>-<random>/               a running worker's folder, gone when it ends
    <cache>/referee/<kind>/<2 digits>/<digest>/  artefacts: truth, votes, predictions; never in a worker's reach
    <cache>/referee/building/, locks/, owners/   what is being put together, and by whom

An artefact is put together in `building`, written to disk, given a manifest with the SHA-256 of each file, and renamed.
It is checked against the manifest whenever it is read. Locks are held by open files, so the kernel lets go of them when
a process is killed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from w2s_bench import exchange
from w2s_bench.referee.plan import STAGE_KINDS, Stage


class Cache:
    """The cache in one folder, as seen by one sweep. `warn` takes one line about something damaged."""

    def __init__(self, root: Path, warn: Callable[[str], None]) -> None:
        self.root = root
        self.warn = warn
        self.workers, self.jobs = root / "workers", root / "jobs"
        self._referee = root / "referee"
        self._building, self._locks, self._owners = (self._referee / n for n in ("building", "locks", "owners"))
        for folder in (self.workers, self.jobs, self._building, self._locks, self._owners):
            folder.mkdir(parents=True, exist_ok=True)
        os.chmod(self._referee, 0o700)
        self._owner = secrets.token_hex(6)
        self._alive = FileLock(self._owners / self._owner)
        self._alive.acquire()
        self._held: dict[str, FileLock] = {}

    def place(self, stage: Stage) -> Path:
        """Returns where a stage's artefact lies or will lie."""
        return self._referee / stage.kind / stage.digest[:2] / stage.digest

    def find(self, stage: Stage) -> Path | None:
        """Returns the stage's artefact, or None where there is none that is whole."""
        place = self.place(stage)
        if not place.is_dir():
            return None
        damage = _damage(place)
        if damage is None:
            return place
        self.warn(f"{stage.label}: the cached artefact is damaged ({damage}); it is computed again")
        shutil.rmtree(place, ignore_errors=True)
        return None

    def lock(self, stage: Stage) -> bool:
        """Returns whether the stage is now ours to compute; False while another process computes it."""
        lock = FileLock(self._locks / stage.digest)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._held[stage.digest] = lock
        return True

    def unlock(self, stage: Stage) -> None:
        """Lets others have the stage."""
        lock = self._held.pop(stage.digest, None)
        if lock is not None:
            lock.release()

    def job_folder(self) -> Path:
        """Returns a new folder for a worker; its name says nothing."""
        return self._new(self.jobs)

    def secret_folder(self) -> Path:
        """Returns a new folder for a worker that makes truth (prepare)."""
        return self._new(self._building)

    def keep(self, stage: Stage, source: Path, names: Iterable[str]) -> Path:
        """Returns the stage's artefact, made of the files and folders called `names` in `source`, where they exist."""
        building = self._new(self._building)
        for name in names:
            if (source / name).exists():
                os.rename(source / name, building / name)
        manifest = {}
        for path in sorted(p for p in building.rglob("*") if not p.is_dir()):
            if path.is_symlink() or not path.is_file():
                raise ValueError(f"{stage.label} left {path.name}, which is not a plain file")
            manifest[path.relative_to(building).as_posix()] = _sha256(path)
            _to_disk(path)
        exchange.write_json(building / "manifest.json", manifest)
        for folder in [p for p in building.rglob("*") if p.is_dir()] + [building]:
            _to_disk(folder)
        place = self.place(stage)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(building, place)
        _to_disk(place.parent)
        return place

    def note_failure(self, stage: Stage, text: str, log: Path | None = None) -> Path:
        """Returns the file that now holds all about a failed stage: this text, and the worker's whole output."""
        path = self._referee / "failures" / f"{stage.digest}.txt"
        exchange.write_bytes(path, text.encode(errors="backslashreplace"))
        if log is not None and log.is_file():
            with open(path, "ab") as file, open(log, "rb") as output:
                file.write(b"\n\n--- output\n")
                shutil.copyfileobj(output, file)
        return path

    def clean(self) -> None:
        """Removes what dead sweeps left behind; a sweep is dead when nobody holds its lock."""
        for owner in list(self._owners.iterdir()):
            if owner.name == self._owner:
                continue
            lock = FileLock(owner)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            for folder in [*self.jobs.glob(f"{owner.name}-*"), *self._building.glob(f"{owner.name}-*")]:
                shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            owner.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes this sweep's own leftovers and lets go of its locks."""
        for lock in self._held.values():
            lock.release()
        for parent in (self.jobs, self._building):
            for folder in parent.glob(f"{self._owner}-*"):
                shutil.rmtree(folder, ignore_errors=True)
        self._alive.release()
        (self._owners / self._owner).unlink(missing_ok=True)

    def _new(self, parent: Path) -> Path:
        folder = parent / f"{self._owner}-{secrets.token_hex(6)}"
        folder.mkdir(mode=0o700)
        return folder


def size_by_kind(root: Path) -> dict[str, tuple[int, int]]:
    """Returns (artefacts, bytes) of each kind of stage in the cache at `root`."""
    out = {}
    for kind in STAGE_KINDS:
        files = [p for p in (root / "referee" / kind).glob("*/*/**/*") if p.is_file()]
        artefacts = sum(p.name == "manifest.json" for p in files)
        out[kind] = (artefacts, sum(p.stat().st_size for p in files))
    return out


def _damage(place: Path) -> str | None:
    try:
        manifest = exchange.read_json(place / "manifest.json")
        for name, sha in manifest.items():
            if _sha256(place / name) != sha:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError) as error:
        return f"manifest.json cannot be read: {error}"
    return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
