"""Ends processes together with all that they started, however these were detached. Linux; elsewhere nothing happens.

Linux hands the orphans of an ended process to the nearest ancestor that has asked for them. A worker asks for its own,
and the server for those of ended workers, so a daemon (forked twice, in a session of its own) never leaves the tree.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Container

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 5.0
"""A process that waits for a disk can outlive its SIGKILL; nobody waits longer for it."""


def adopt_orphans() -> None:
    """Makes this process the parent of its descendants whose own parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def kill_children(keep: Container[int] = ()) -> None:
    """Kills the children of this process but those to keep, with all their descendants, until there are none."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        children_of = _children_by_parent()
        doomed = [pid for pid in children_of.get(os.getpid(), ()) if pid not in keep]
        if not doomed or time.monotonic() > deadline:
            return
        tree = list(doomed)
        for pid in tree:
            tree += children_of.get(pid, ())
        for pid in tree:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in doomed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)  # the orphans of what was killed arrive next


def _children_by_parent() -> dict[int, list[int]]:
    """Returns the process ids of this machine by that of their parent."""
    children_of: dict[int, list[int]] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])  # the name before it may hold anything
                children_of.setdefault(parent, []).append(int(name))
    return children_of
