"""The stage cache: what each stage left, under the stage's digest, whole or not there at all.

    <cache>/workers/                             the workers' own (frozen features); label-free
    <cache>/jobs/<owner>-<random>/               a running worker's folder, gone when it ends
    <cache>/referee/<kind>/<2 digits>/<digest>/  artefacts: truth, votes, predictions; never in a worker's reach
    <cache>/referee/building/, locks/, owners/   what is being put together, and by whom; see also `unfinished`

An artefact is put together in `building`, written to disk, given a manifest with the SHA-256 of each file, and renamed.
Each file is checked against the manifest whenever it is read: a worker has the same rights as the referee and may write
to any of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee.disk import FULL, make_folder, make_way, remove, try_lock
from w2s_bench.referee.plan import STAGE_KINDS, Stage
from w2s_bench.referee.unfinished import Unfinished

T = TypeVar("T")
LINK_FROM = 16 << 20
"""Bytes from which `Artefact.copy_to` links a file; its reader could change it, which the next check would show."""


class Damaged(W2SError):
    """A file of an artefact is not as its stage left it; `stage` is the stage's digest."""

    def __init__(self, stage: str, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.stage = stage


@dataclass(frozen=True, eq=False)
class Artefact:
    """What a stage left, and how it was then."""

    stage: str
    """Digest of the stage."""
    folder: Path
    manifest: dict[str, str]
    """SHA-256 by file, such as `supervisor/weights.npz`."""

    def load(self, name: str, parse: Callable[[bytes], T]) -> T:
        """Returns what `parse` makes of a file's content; Damaged where the file is not as its stage left it."""
        with self._named(name) as path:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != self.manifest[name]:
                raise Damaged(self.stage, path, "has changed")
            return parse(content)

    def copy_to(self, target: Path, part: str) -> None:
        """Copies the files of a folder of the artefact into a new folder, large ones as links; Damaged as above."""
        for name in self.manifest:
            if name.startswith(f"{part}/"):
                copy = target / name.removeprefix(f"{part}/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                with self._named(name) as path:
                    _copy_or_link(path, copy)
                    if exchange.file_sha256(copy) != self.manifest[name]:
                        raise Damaged(self.stage, path, "has changed")

    def check(self) -> None:
        """Raises Damaged where a file is not as it was, or there are others."""
        try:
            names = {path.relative_to(self.folder).as_posix() for path in _files(self.folder, "its stage")}
        except ValueError as error:
            raise Damaged(self.stage, self.folder, f"cannot be read: {error}") from error
        for name in sorted({*self.manifest, *names} - {"manifest.json"}):
            with self._named(name) as path:
                if name not in names:
                    raise Damaged(self.stage, path, "is missing")
                if exchange.file_sha256(path) != self.manifest[name]:
                    raise Damaged(self.stage, path, "has changed")

    @contextlib.contextmanager
    def _named(self, name: str) -> Iterator[Path]:
        """Turns whatever reading a file raises into a Damaged that names it."""
        path = self.folder / name
        try:
            if name not in self.manifest:
                raise Damaged(self.stage, path, "is not in the manifest")
            if not path.is_file():
                raise Damaged(self.stage, path, "is no file" if os.path.lexists(path) else "is missing")
            yield path
        except Damaged:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise Damaged(self.stage, path, f"cannot be read: {error}") from error


class Cache:
    """The cache in one folder, as seen by one sweep. `warn` takes one line about something damaged."""

    def __init__(self, root: Path, warn: Callable[[str], None]) -> None:
        self.root = root
        self.warn = warn
        self.workers, self.jobs = root / "workers", root / "jobs"
        self._referee = root / "referee"
        self._building, self._locks, self._owners = (self._referee / n for n in ("building", "locks", "owners"))
        for folder in (self.workers, self.jobs, self._building, self._locks, self._owners):
            make_folder(folder, root)
        os.chmod(self._referee, 0o700)
        self.unfinished = Unfinished(root)
        self._owner = secrets.token_hex(6)
        self._alive = FileLock(self._owners / self._owner)
        self._alive.acquire()
        self._held: dict[str, FileLock] = {}

    def place(self, stage: Stage) -> Path:
        """Returns where a stage's artefact is or will be."""
        return self._referee / stage.kind / stage.digest[:2] / stage.digest

    def find(self, stage: Stage) -> Artefact | None:
        """Returns the stage's artefact, or None where there is none that is whole."""
        place = self.place(stage)
        if not os.path.lexists(place):
            return None
        try:
            artefact = _found(stage, place)
            artefact.check()
            return artefact
        except Damaged as damage:
            self.discard(stage, damage)
            return None

    def discard(self, stage: Stage, damage: Damaged) -> None:
        """Removes a damaged artefact."""
        self.warn(f"{stage.label}: the cached artefact is damaged ({damage}); it is computed again")
        remove(self.place(stage))

    def lock(self, stage: Stage) -> bool:
        """Returns whether the stage is now ours to compute; False while another process computes it."""
        make_folder(self._locks, self.root)
        lock = try_lock(self._locks / stage.digest)
        if lock is None:
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

    def keep(self, stage: Stage, source: Path, names: Iterable[str]) -> Artefact:
        """Returns the stage's artefact, made of the files and folders called `names` in `source`, where they exist.

        Raises:
            ValueError: The stage left something that is no plain file, or one that cannot be read.
            Damaged: Somebody removed it while it was put together.
            OSError: The cache cannot be written.
        """
        try:
            return self._keep(stage, source, names)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Damaged(stage.digest, self.place(stage), "was removed while it was put together") from error

    def _keep(self, stage: Stage, source: Path, names: Iterable[str]) -> Artefact:
        building = self._new(self._building)
        for name in names:
            if os.path.lexists(source / name):
                os.rename(source / name, building / name)
        manifest = {}
        for path in _files(building, stage.label):
            if path.is_symlink() or not path.is_file():
                raise ValueError(f"{stage.label} left {path.name}, which is not a plain file")
            try:
                manifest[path.relative_to(building).as_posix()] = exchange.file_sha256(path)
            except PermissionError as error:
                raise ValueError(f"{stage.label} left {path.name}, which cannot be read: {error.strerror}") from error
            _to_disk(path)
        exchange.write_json(building / "manifest.json", manifest)
        for folder in [p for p in building.rglob("*") if p.is_dir()] + [building]:
            _to_disk(folder)
        place = self.place(stage)
        make_folder(place.parent, self.root)
        remove(place)
        os.rename(building, place)
        _to_disk(place.parent)
        return Artefact(stage.digest, place, manifest)

    def note_failure(self, stage: Stage, text: str, log: Path | None = None) -> Path:
        """Returns the file with all about a failed stage: this text, and the worker's whole output."""
        path = make_way(self._referee / "failures" / f"{stage.digest}.txt", self.root)
        exchange.write_bytes(path, text.encode(errors="backslashreplace"))
        if log is not None and log.is_file():
            with open(path, "ab") as file, open(log, "rb") as output:
                file.write(b"\n\n--- output\n")
                shutil.copyfileobj(output, file)
        return path

    def clean(self) -> None:
        """Removes what dead sweeps left behind; a sweep is dead when nobody has its lock."""
        for owner in list(self._owners.iterdir()):
            if owner.name == self._owner:
                continue
            lock = try_lock(owner)
            if lock is None:
                continue
            self._remove_folders(owner.name)
            lock.release()
            owner.unlink(missing_ok=True)
        self.unfinished.clean()

    def close(self) -> None:
        """Removes this sweep's own leftovers and lets go of its locks."""
        for lock in self._held.values():
            lock.release()
        self._remove_folders(self._owner)
        self._alive.release()
        (self._owners / self._owner).unlink(missing_ok=True)

    def _remove_folders(self, owner: str) -> None:
        for folder in self._building.glob(f"{owner}-*"):
            remove(folder)
        for folder in self.jobs.glob(f"{owner}-*"):
            self.unfinished.take(folder, keep=True)

    def _new(self, parent: Path) -> Path:
        make_folder(parent, self.root)
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


def _found(stage: Stage, place: Path) -> Artefact:
    """Returns the artefact whose manifest is in a folder; Damaged where that cannot be read."""
    path = place / "manifest.json"
    if not path.is_file():
        raise Damaged(stage.digest, path, "is no file" if os.path.lexists(path) else "is missing")
    try:
        manifest = exchange.parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(stage.digest, path, f"cannot be read: {error}") from error
    if not isinstance(manifest, dict):
        raise Damaged(stage.digest, path, f"is a {type(manifest).__name__}, expected an object")
    return Artefact(stage.digest, place, manifest)


def _files(folder: Path, label: str) -> list[Path]:
    """Returns all files and links below a folder, sorted; ValueError where a folder in it cannot be read."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"{label} left {Path(error.filename).name}, which cannot be read: {error.strerror}")

    paths = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        paths += [Path(parent, name) for name in names]
        paths += [Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name))]
    return sorted(paths)


def _copy_or_link(source: Path, target: Path) -> None:
    if source.stat().st_size >= LINK_FROM:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
