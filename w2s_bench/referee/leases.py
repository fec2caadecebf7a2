"""Leases and claims: which processes live, and which of them does what, in a folder that many machines share.

    <leases>/<owner>          a process's lease: touched every RENEWED_S while it lives, removed when it ends
    <claims>/<name>/<n>       the n-th entry on who does a piece of work: an owner's name, or nothing for nobody

Nothing here waits for a lock of the kernel, which may hang on a network's file system or outlive its machine, and no
two clocks are compared: who watches a lease measures by its own clock how long nothing has changed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import platform
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee.disk import make_folder, make_way, remove

RENEWED_S = 15.0
"""How often a lease is touched."""
EXPIRES_S = 120.0
"""A lease that has not been touched for so long is a dead machine's; a file server may be away for a minute."""
LOOKS_S = 1.0
"""A lease is not read more often."""
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""How file systems refuse hard links."""


@functools.cache
def machine() -> str:
    """Returns what tells machines, their boots and their process namespaces apart: within, a process id is enough."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return " ".join(parts)


def began(pid: int) -> str | None:
    """Returns when a process of this machine began, "" for one that has ended, None where that cannot be known."""
    if sys.platform == "linux":
        try:
            state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return "" if state in "ZX" else rest[18]
    state, _, since = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.partition(" ")
    return "" if state.startswith("Z") else since.strip() or None


def is_alive(pid: int, since: str | None) -> bool:
    """Returns whether a process of this machine is there that began then; None: whenever."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    now = began(pid)
    return now is None or (now == since if since else now != "")


class Lease:
    """This process's own lease, with whatever else its file is to say; a thread touches it until its end."""

    def __init__(self, file: Path, root: Path, **more: Any) -> None:
        self.file, self._root = file, root
        self._process = os.getpid()
        self._writing, self._ended = threading.Lock(), threading.Event()
        self.write(**more)
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def write(self, **more: Any) -> None:
        """Replaces what the file says."""
        with self._writing:
            self._content = {
                "machine": machine(), "pid": os.getpid(), "began": began(os.getpid()), "host": platform.node(), **more
            }  # fmt: skip
            self._put()

    def renew(self) -> None:
        """Touches the file with the time of the file server; writes it again where somebody has removed it."""
        with self._writing:
            try:
                os.utime(self.file)
            except FileNotFoundError:
                self._put()

    def is_ours(self) -> bool:
        """Returns whether this is the owner, and no process that was forked from it, as a plugin may do inline."""
        return os.getpid() == self._process

    def end(self) -> None:
        """Removes the lease."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)

    def _put(self) -> None:
        try:
            exchange.write_json(make_way(self.file, self._root), self._content)
        except FileNotFoundError:  # another process has removed the folder meanwhile, empty as it was
            exchange.write_json(make_way(self.file, self._root), self._content)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_S):
            with contextlib.suppress(OSError):  # the next time, maybe
                self.renew()


@dataclass(frozen=True)
class _Look:
    at: float
    stamp: tuple[int, ...]
    quiet_s: float
    dead: bool


class Watch:
    """What this process has seen of others' leases. `clock` returns seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, here: Callable[[], str] = machine) -> None:
        self._clock, self._here = clock, here
        self._seen: dict[Path, _Look] = {}

    def is_dead(self, lease: Path) -> bool:
        """Returns whether a lease's owner is dead: its process is gone, or no longer touches it, or has removed it.

        A process of this machine lives as long as the kernel says so. Others have to be watched, at least every
        RENEWED_S: a longer pause counts as that, for then it may have been this process that was suspended.
        """
        now, last = self._clock(), self._seen.get(lease)
        if last is not None and now - last.at < LOOKS_S:
            return last.dead
        try:
            stamp, written = _read(lease)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # nobody knows
            return False
        quiet_s = 0.0
        if last is not None and last.stamp == stamp:
            quiet_s = last.quiet_s + min(now - last.at, RENEWED_S)
        if written.get("machine") == self._here():
            dead = not is_alive(written["pid"], written["began"])
        else:
            dead = quiet_s > EXPIRES_S
        self._seen[lease] = _Look(now, stamp, quiet_s, dead)
        return dead


def _read(lease: Path) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Returns what changes when a lease is touched, and what it says: nothing where that is damaged."""
    if lease.is_dir():
        status = lease.stat()
        return (status.st_ino, status.st_mtime_ns), {}
    with open(lease, "rb") as file:  # opening makes a network's file system ask the server
        status = os.fstat(file.fileno())
        content = file.read()
    written: dict[str, Any] = {}
    with contextlib.suppress(ValueError, KeyError, TypeError):
        raw = exchange.parse_json(content)
        if 0 < int(raw["pid"]) < 1 << 31:
            written = {"machine": raw["machine"], "pid": int(raw["pid"]), "began": raw["began"]}
    return (status.st_ino, status.st_mtime_ns), written


def is_silent(lease: Path) -> bool:
    """Returns whether a lease seems to be a dead owner's, at first sight: for what needs no certainty.

    The age of another machine's lease is by the clock of the file server, which is asked for it by a file.
    """
    status, written = _read(lease)
    if written.get("machine") == machine():
        return not is_alive(written["pid"], written["began"])
    probe = lease.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        probe.touch()
        now = probe.stat().st_mtime_ns
    except OSError:  # a store that can be read alone
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return now - status[1] > EXPIRES_S * 1e9


class Claims:
    """Who does which piece of work. `is_dead` says of an owner that whatever it has claimed is free.

    Each change is one more entry, a file under the next number that is made by link(2): of two who want to add it one
    fails, whatever they believed of the entry before. Entries stay until the work is done.
    """

    def __init__(self, folder: Path, root: Path, owner: str, is_dead: Callable[[str], bool]) -> None:
        self.folder, self._root, self.owner, self._is_dead = folder, root, owner, is_dead
        self._ours: dict[str, int] = {}
        make_folder(folder, root)

    def take(self, name: str) -> bool:
        """Returns whether the work is now ours to do; False while another owner does it."""
        place = self.folder / name
        make_folder(place, self._root)
        last = _last(place)
        if last and not self._is_free(place / str(last)):
            return False
        if not self._add(place, last + 1, self.owner):
            return False
        self._ours[name] = last + 1
        return True

    def has(self, name: str) -> bool:
        """Returns whether the work is still ours: another may have taken this process to be dead."""
        return name in self._ours and _last(self.folder / name) == self._ours[name]

    def drop(self, name: str) -> None:
        """Lets others have the work; where another has it already, nothing happens."""
        if name in self._ours:
            self._add(self.folder / name, self._ours.pop(name) + 1, "")

    def forget(self, name: str) -> None:
        """Removes all entries on a piece of work that is done: who claims it next finds what it left."""
        self._ours.pop(name, None)
        remove(self.folder / name)

    def drop_all(self) -> None:
        """Lets others have whatever is ours."""
        for name in list(self._ours):
            self.drop(name)

    def _is_free(self, entry: Path) -> bool:
        try:
            owner = entry.read_text()
        except (OSError, ValueError):
            return True  # removed meanwhile, or damaged: at worst the work is done twice
        return not owner.isalnum() or self._is_dead(owner)

    def _add(self, place: Path, number: int, owner: str) -> bool:
        """Returns whether this entry is now there, made by us."""
        draft = place / f".{secrets.token_hex(6)}"
        try:
            draft.write_text(owner)
            os.link(draft, place / str(number))
        except FileExistsError:
            return draft.stat().st_nlink > 1  # a server may make the link, lose its answer, and be asked again
        except (FileNotFoundError, NotADirectoryError):
            return False  # it was done meanwhile
        except OSError as error:
            if error.errno in NO_LINKS:
                raise W2SError(
                    f"cache {self._root}: its file system has no hard links, by which work is claimed; give another "
                    "with W2S_CACHE"
                ) from error
            raise
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()
        return True


def _last(place: Path) -> int:
    """Returns the number of the last entry in a folder, 0 where there is none."""
    with contextlib.suppress(OSError):
        return max((int(name) for name in os.listdir(place) if name.isdecimal()), default=0)
    return 0
