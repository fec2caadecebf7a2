"""The stage cache: what each stage left, under the stage's digest, whole or not there at all.

    <cache>/workers/                             the workers' own (frozen features); label-free
    <cache>/jobs/<owner>-<random>/               a running worker's folder, gone when it ends
    <cache>/referee/<kind>/<2 digits>/<digest>/  artefacts: truth, votes, predictions; never in a worker's reach
    <cache>/referee/building/                    what is being put together; see also `unfinished`
    <cache>/referee/owners/, claims/             which sweeps live, and which stages they compute; see `leases`

An artefact is put together in `building`, written to disk, given a manifest with the SHA-256 of each file, and renamed.
Each file is checked against the manifest whenever it is read: a worker has the same rights as the referee and may write
to any of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee.disk import FULL, copy_or_link, make_folder, make_way, remove, to_disk
from w2s_bench.referee.leases import Claims, Lease, Watch
from w2s_bench.referee.plan import Stage
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
                    copy_or_link(path, copy, LINK_FROM)
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
        self._building, self._owners = self._referee / "building", self._referee / "owners"
        for folder in (self.workers, self.jobs, self._building, self._owners):
            make_folder(folder, root)
        os.chmod(self._referee, 0o700)
        self.unfinished = Unfinished(root)
        self._owner, self._watch = secrets.token_hex(6), Watch()
        self._lease = Lease(self._owners / self._owner, root)
        self._claims = Claims(self._referee / "claims", root, self._owner, self._is_dead)

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
        """Removes an artefact that was damaged, unless another sweep has put a whole one in its place meanwhile."""
        place = self.place(stage)
        with contextlib.suppress(Damaged):
            _found(stage, place).check()
            return
        self.warn(f"{stage.label}: the cached artefact is damaged ({damage}); it is computed again")
        self._put_aside(place)

    def lock(self, stage: Stage) -> bool:
        """Returns whether the stage is now ours to compute; False while another process computes it."""
        return self._claims.take(stage.digest)

    def is_locked(self, stage: Stage) -> bool:
        """Returns whether the stage is still ours; not so where this process was suspended and taken to be dead."""
        return self._claims.has(stage.digest)

    def unlock(self, stage: Stage) -> None:
        """Lets others have the stage."""
        if os.path.lexists(self.place(stage)):
            self._claims.forget(stage.digest)
        else:
            self._claims.drop(stage.digest)

    def job_folder(self, owner: str | None = None) -> Path:
        """Returns a new folder for a worker; its name says nothing. It goes with its owner, this sweep or another."""
        return self._new(self.jobs, owner or self._owner)

    def secret_folder(self, owner: str | None = None) -> Path:
        """Returns a new folder for a worker that makes truth (prepare)."""
        return self._new(self._building, owner or self._owner)

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
        building = self._new(self._building, self._owner)
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
            to_disk(path)
        exchange.write_json(building / "manifest.json", manifest)
        for folder in [p for p in building.rglob("*") if p.is_dir()] + [building]:
            to_disk(folder)
        place = self.place(stage)
        make_folder(place.parent, self.root)
        self._put_aside(place)
        try:
            os.rename(building, place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise Damaged(stage.digest, place, "was put there by another sweep at the same moment") from error
        to_disk(place.parent)
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
        """Removes what dead sweeps left behind."""
        with contextlib.suppress(OSError):
            for owner in os.listdir(self._owners):
                if owner != self._owner:
                    self._is_dead(owner)
        self.unfinished.clean()

    def close(self) -> None:
        """Removes this sweep's own leftovers and lets others have its stages."""
        if self._lease.is_ours():
            self._claims.drop_all()
            self._remove_folders(self._owner)
            self._lease.end()

    def _is_dead(self, owner: str) -> bool:
        """Returns whether a sweep is dead; what it left is removed by then, and its saved fits are kept."""
        lease = self._owners / owner
        if not self._watch.is_dead(lease):
            return False
        if os.path.lexists(lease):
            self._remove_folders(owner)
            remove(lease)
        return True

    def _remove_folders(self, owner: str) -> None:
        for folder in self._building.glob(f"{owner}-*"):
            remove(folder)
        for folder in self.jobs.glob(f"{owner}-*"):
            self.unfinished.take(folder, keep=True)

    def _put_aside(self, place: Path) -> None:
        """Removes an artefact as a whole, at once: another sweep may be about to put one in its place."""
        if os.path.lexists(place):
            aside = self._building / f"{self._owner}-{secrets.token_hex(6)}"
            with contextlib.suppress(OSError):
                os.rename(place, aside)
            remove(aside)

    def _new(self, parent: Path, owner: str) -> Path:
        make_folder(parent, self.root)
        folder = parent / f"{owner}-{secrets.token_hex(6)}"
        folder.mkdir(mode=0o700)
        return folder


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
