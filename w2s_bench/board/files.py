"""A store as this room sees it: bytes by relative name, out of a folder or out of its packed form."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cached_property
from pathlib import Path

from w2s_bench.errors import UsageError

PARTS = ("records", "predictions", "scores", "suites")


class StoreFiles:
    """Reads a store folder in which each part (`records`, `scores` ...) is a folder, a `<part>.zip`, or both."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UsageError(f"store {self.path} is not a folder; give the --store of a run, or leaderboard/<suite>")

    @cached_property
    def _archives(self) -> dict[str, zipfile.ZipFile]:
        found = {part: self.path / f"{part}.zip" for part in PARTS}
        archives = {}
        for part, path in found.items():
            if path.is_file():
                try:
                    archives[part] = zipfile.ZipFile(path)
                except (zipfile.BadZipFile, OSError) as error:
                    raise UsageError(f"{path} is not a readable archive ({error}); fetch or pack it again") from None
        return archives

    @cached_property
    def _packed(self) -> dict[str, frozenset[str]]:
        return {part: frozenset(archive.namelist()) for part, archive in self._archives.items()}

    def names(self, part: str, suffix: str) -> list[str]:
        """Returns the sorted names of one part, such as `records/3f..c1.json`, without hidden and temporary files."""
        loose = {f"{part}/{p.name}" for p in (self.path / part).glob(f"*{suffix}") if p.is_file()}
        packed = {f"{part}/{n}" for n in self._packed.get(part, ()) if n.endswith(suffix) and "/" not in n}
        return sorted(n for n in loose | packed if not n.split("/")[1].startswith("."))

    def read(self, name: str) -> bytes:
        """Returns a file's content; FileNotFoundError where there is none, also for a name that leaves the store."""
        part, _, file = name.partition("/")
        if part not in PARTS or not file or "/" in file or "\\" in file or file.startswith("."):
            raise FileNotFoundError(name)
        if file in self._packed.get(part, ()):
            return self._archives[part].read(file)
        return (self.path / part / file).read_bytes()

    def sha256(self, name: str) -> str:
        """Returns the hex digest of a file's content."""
        return hashlib.sha256(self.read(name)).hexdigest()


def pack(store: Path, target: Path) -> None:
    """Writes a store's parts as `<part>.zip` into `target`: the same bytes for the same files, whenever it is done."""
    files = StoreFiles(store)
    target.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        names = files.names(part, "")
        if not names:
            continue
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in names:
                entry = zipfile.ZipInfo(name.partition("/")[2], date_time=(1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, files.read(name))
        (target / f"{part}.zip").write_bytes(buffer.getvalue())
