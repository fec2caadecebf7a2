"""Confines a process for good: what it reads and writes, and whom it reaches. By Landlock, so on Linux alone.

A process that has entered its walls cannot leave them, nor can what it starts. The kernel asks for no rights to enter
them, and neither root nor a set-user-id program is exempt. Of root's capabilities a worker keeps those on files.

ctypes, since the packages for Landlock on PyPI are young, and one of them at most knows signals and sockets.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION, PATH_BENEATH = 1, 1
PR_SET_NO_NEW_PRIVS = 38
CAPABILITIES_V3, FILE_CAPABILITIES = 0x20080522, 0b110
"""The latter are CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root reads others' files, as far as the walls let it."""

WHOLE = 6
"""The ABI from which on every wall is there: files since 1, TCP since 4, signals and abstract sockets since 6."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << n for n in range(6))
MAKE_DIR, MAKE_REG, MAKE_FIFO, REFER, TRUNCATE, IOCTL_DEV = (1 << n for n in (7, 8, 10, 13, 14, 15))
FILES = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
"""Rights on files by the ABI that brought them. A right of these that no rule grants is refused everywhere."""
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""What a rule for something else than a folder may grant."""
READ = EXECUTE | READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_FIFO | REFER | TRUNCATE
"""No links, no sockets and no devices: nothing honest needs them, and a socket in a folder is a way to a neighbour."""
DEVICE = READ_FILE | READ_DIR | WRITE_FILE | IOCTL_DEV
BIND_TCP, CONNECT_TCP = 1, 2
ABSTRACT_SOCKETS, SIGNALS = 1, 2


@dataclass(frozen=True)
class Walls:
    """What a process may reach; folders count with all that is in them, and what is not there is left out."""

    read: tuple[str, ...]
    write: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    """Read, written and controlled."""
    connect: bool = False
    """Whether it may open TCP connections; it never may wait for any."""


class _Ruleset(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "net", "scoped")]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Capabilities(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def abi() -> int:
    """Returns the version of Landlock that this kernel offers, 0 where it offers none."""
    if sys.platform != "linux":
        return 0
    return max(0, _libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION)))


def enter(walls: Walls) -> None:
    """Confines the calling thread and all that it starts from here on; OSError where the kernel refuses.

    To be called before there are other threads: they would stay outside.
    """
    version, libc = abi(), _libc()
    handled = sum(rights for since, rights in FILES.items() if since <= version)
    net = (BIND_TCP if walls.connect else BIND_TCP | CONNECT_TCP) if version >= 4 else 0
    scoped = ABSTRACT_SOCKETS | SIGNALS if version >= 6 else 0
    attributes = _Ruleset(handled, net, scoped)
    ruleset = _checked(
        libc.syscall(CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), 0)
    )
    try:
        for paths, rights in ((walls.read, READ), (walls.write, WRITE), (walls.devices, DEVICE)):
            _allow(ruleset, paths, rights & handled)
        _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))))
        _checked(libc.syscall(RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    _drop_capabilities()


def _allow(ruleset: int, paths: Iterable[str], rights: int) -> None:
    libc = _libc()
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                of_it = rights if stat.S_ISDIR(os.fstat(parent).st_mode) else rights & OF_A_FILE
                rule = _Beneath(of_it, parent)
                _checked(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(rule), 0))
            finally:
                os.close(parent)


def _drop_capabilities() -> None:
    header, both = _Header(CAPABILITIES_V3, 0), (_Capabilities * 2)()
    _checked(_libc().capget(ctypes.byref(header), both))
    kept = both[0].permitted & FILE_CAPABILITIES
    both[0], both[1] = _Capabilities(kept, kept, 0), _Capabilities(0, 0, 0)
    _checked(_libc().capset(ctypes.byref(header), both))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    """Returns the result of a system call; OSError where it is negative."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"the kernel refuses to confine this process: {os.strerror(error)}")
    return result
