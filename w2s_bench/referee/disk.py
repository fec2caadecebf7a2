"""Files and folders that anybody may have damaged: made again and removed whatever is in their place."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from w2s_bench.errors import W2SError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space is left."""


@contextlib.contextmanager
def explained(what: str, folder: Path | str) -> Iterator[None]:
    """Turns an error of the file system into one line that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            remedy = "free some space and run the same command again: what is done is kept"
        else:
            remedy = f"give a {what} that can be written"
        raise W2SError(f"{what} {folder}: {reason}; {remedy}") from error


def make_folder(folder: Path, root: Path) -> None:
    """Makes a folder below `root`, and those above it; a file in the place of one is removed."""
    root.mkdir(parents=True, exist_ok=True)
    for name in folder.relative_to(root).parts:
        root /= name
        try:
            root.mkdir(exist_ok=True)
        except FileExistsError:
            root.unlink(missing_ok=True)  # never a folder: another process may have made it by now, and filled it
            root.mkdir(exist_ok=True)


def make_way(file: Path, root: Path) -> Path:
    """Returns the place for a file below `root`: its folder is there, and no folder is in its own place."""
    make_folder(file.parent, root)
    if file.is_dir():
        remove(file)
    return file


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it, unreadable folders included; errors are ignored."""
    with contextlib.suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        os.chmod(path, 0o700)
        for folder, inner, _ in os.walk(path):
            for name in inner:
                if not os.path.islink(os.path.join(folder, name)):
                    os.chmod(os.path.join(folder, name), 0o700)
    shutil.rmtree(path, ignore_errors=True)


def copy_or_link(source: Path, target: Path, link_from: int) -> None:
    """Copies a file; from so many bytes on it is linked where that works."""
    if source.stat().st_size >= link_from:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def to_disk(path: Path) -> None:
    """Returns when a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
