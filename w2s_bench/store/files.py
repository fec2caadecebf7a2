"""A store as this room sees it: bytes by relative name, out of a folder or out of its packed form."""

from __future__ import annotations

import errno
import io
import lzma
import os
import stat
import tarfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from w2s_bench.errors import UsageError, W2SError

PARTS = ("records", "predictions", "scores", "suites")
BROKEN = (tarfile.TarError, lzma.LZMAError, EOFError, OSError)


def stores_of(named: Sequence[Path | str]) -> list[Path]:
    """Returns the stores that were named, else W2S_STORE, else ./w2s-runs."""
    return [Path(p) for p in named or (os.environ.get("W2S_STORE") or "w2s-runs",)]


class StoreFiles:
    """Reads a store folder in which each part (`records`, `scores` ...) is a folder, a `<part>.tar.xz`, or both."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._read: dict[str, dict[str, bytes]] = {}
        self._lock = threading.Lock()
        if not self.path.is_dir():
            raise UsageError(f"store {self.path} is not a folder; give the --store of a run, or leaderboard/<suite>")

    def _archive(self, part: str) -> dict[str, bytes]:
        """Returns a part's packed files, read when first asked for; W2SError where the archive is damaged."""
        with self._lock:
            if part not in self._read:
                path = self.path / f"{part}.tar.xz"
                try:
                    self._read[part] = read_tar(path) if path.is_file() else {}
                except BROKEN as error:
                    raise W2SError(f"{path} is damaged ({error}); fetch it or pack the store again") from None
            return self._read[part]

    def names(self, part: str, suffix: str) -> list[str]:
        """Returns the sorted names of one part, such as `records/3f..c1.json`, without hidden and temporary files."""
        loose = {f"{part}/{p.name}" for p in (self.path / part).glob(f"*{suffix}")}
        packed = {f"{part}/{n}" for n in self._archive(part) if n.endswith(suffix) and "/" not in n}
        return sorted(n for n in loose | packed if not n.split("/")[1].startswith("."))

    def read(self, name: str) -> bytes:
        """Returns a file's content; FileNotFoundError where there is none, also for a name that leaves the store."""
        part, _, file = name.partition("/")
        if part not in PARTS or not file or "/" in file or "\\" in file or file.startswith("."):
            raise FileNotFoundError(name)
        packed = self._archive(part).get(file)
        if packed is not None:
            return packed
        path = os.path.join(self.path, part, file)
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "Not a file", path)  # opening a pipe would wait for its other end
        with open(path, "rb", buffering=0) as content:
            return content.read()


def read_tar(path: Path) -> dict[str, bytes]:
    """Returns the files in a .tar.xz by name; raises one of BROKEN where it is damaged."""
    with tarfile.open(path, "r:xz") as archive:
        return {m.name: file.read() for m in archive if (file := archive.extractfile(m)) is not None}


def as_tar(files: Mapping[str, bytes]) -> bytes:
    """Returns a .tar.xz of these files by name: the same bytes for the same files, whenever it is done.

    One stream over all files, so that what they share (example ids, most of a record) takes space once.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=6) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
