"""Separate seeds out of one: split, supervisor, student, and one for each plugin that draws.

A run may have a secret, out of a file: splits are then drawn that nobody draws again without it. The process that plans
reads the file. It hands on what derives from it by HMAC-SHA256: to `prepare` the seed and the key of one task's draws,
to records the fingerprint, to other workers nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import numbers
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_bench.errors import UsageError

_KEY: ContextVar[bytes] = ContextVar("key", default=b"")
"""Of `keyed`, empty outside."""


def derive(seed: int, *words: str | int) -> int:
    """Returns a seed in [0, 2**31) that depends on `seed` and on the words, and on nothing else.

    Within `keyed` it is in [0, 2**63), and depends on the key too.
    """
    text = ":".join(str(w) for w in (seed, *words)).encode()
    if key := _KEY.get():
        return first_63_bits(hmac.digest(key, text, "sha256"))
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") >> 1


def first_63_bits(digest: bytes) -> int:
    """Returns a seed in [0, 2**63), which torch's generators and numpy's newer ones take."""
    return int.from_bytes(digest[:8], "big") >> 1


@contextlib.contextmanager
def keyed(key: bytes) -> Iterator[None]:
    """While it lasts, seeds derive from this key too, and numpy's older generator takes wide ones; empty: nothing.

    That one refuses numbers of more than 32 bits, which somebody who knows the task can search. It takes lists of them.
    """
    if not key:
        yield
        return
    import numpy as np

    narrow = np.random.RandomState

    class RandomState(narrow):  # type: ignore[misc, valid-type]
        def __init__(self, seed: Any = None) -> None:
            super().__init__(_words(seed))

    token = _KEY.set(key)
    np.random.RandomState = RandomState  # type: ignore[misc]
    try:
        yield
    finally:
        np.random.RandomState = narrow  # type: ignore[misc]
        _KEY.reset(token)


def _words(seed: Any) -> Any:
    """Returns a seed whose whole numbers of more than 32 bits are in parts of as many; others as they are."""
    if isinstance(seed, list | tuple):
        return [word for part in map(_words, seed) for word in (part if isinstance(part, list) else [part])]
    if not isinstance(seed, numbers.Integral) or seed < 1 << 32:
        return seed
    return [int(seed) >> at & 0xFFFFFFFF for at in range(0, int(seed).bit_length(), 32)]


LEAST = 16
"""Bytes. Fewer could be guessed from the fingerprint."""


@dataclass(frozen=True)
class Secret:
    """What a run's splits are drawn with; its text in messages is the fingerprint alone."""

    fingerprint: str
    """16 hex digits, in records: the same for equal secrets, and of no use for drawing."""
    content: bytes = field(repr=False)
    path: str = field(repr=False, compare=False)
    """Of the file, absolute, for walls to be put around it."""

    @staticmethod
    def read(path: Any) -> Secret:
        """Returns the secret in a file, its bytes as they are; UsageError where there is none that would do."""
        what, make = f"secret={path}", "; `head -c 32 /dev/urandom > FILE` makes one"
        if not isinstance(path, str) or not path:
            raise UsageError(f"{what}: expects the path of a file with the secret{make}")
        file = Path(os.path.expanduser(path))
        try:
            if not file.exists():
                raise UsageError(f"{what}: there is no such file; give the path of a file with the secret{make}")
            if not file.is_file():
                kind = "a folder" if file.is_dir() else "no plain file"
                raise UsageError(f"{what}: this is {kind}; give the path of a file with the secret{make}")
            content = file.read_bytes()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{what}: cannot be read ({getattr(error, 'strerror', None) or error}); let this user read it"
            ) from error
        if len(content) < LEAST:
            size = f"has {len(content)} bytes" if content else "is empty"
            raise UsageError(f"{what}: the file {size}, and a secret needs at least {LEAST}, drawn at random{make}")
        fingerprint = _mac(content, "fingerprint").hex()[:16]
        return Secret(fingerprint, content, os.path.abspath(file))

    def draws_of(self, plugin: str, data: Any, seed: int) -> tuple[int, str]:
        """Returns a task's split seed, 63 bits, and in hex the key of its draws that are the same for every seed.

        `plugin` and `data`, the task's fingerprint, are in both, so that one task's draws tell nothing of another's.
        """
        return (
            first_63_bits(_mac(self.content, "split", plugin, data, seed)),
            _mac(self.content, "rows", plugin, data).hex(),
        )


def _mac(content: bytes, *purpose: Any) -> bytes:
    return hmac.digest(content, json.dumps(["w2s_bench", *purpose]).encode(), "sha256")
