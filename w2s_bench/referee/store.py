"""The record store: records, predictions, scores and the suites' plans, each file whole or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee.plan import SCHEMA

RUNNING = ".running"
"""Folder of what sweeps that run now say of themselves, each beside a lock that it holds."""


@contextlib.contextmanager
def explained(what: str, folder: Path | str) -> Iterator[None]:
    """Turns an error of the file system into one line that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "free some space and run the same command again: what is done is kept"
        else:
            remedy = f"give a {what} that can be written"
        raise W2SError(f"{what} {folder}: {reason}; {remedy}") from error


class Store:
    """The store in one folder, for writing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with explained("store", root):
            for name in ("records", "predictions", "scores"):
                (root / name).mkdir(parents=True, exist_ok=True)
            exchange.write_bytes(root / "records" / ".writable", b"")
            (root / "records" / ".writable").unlink()
        self._known = {p.stem for p in (root / "records").glob("*.json") if not p.name.startswith(".")}
        if self._known:
            self.read(min(self._known))

    def read(self, digest: str) -> dict[str, Any] | None:
        """Returns a cell's record, None where there is none or only half of one; refuses another schema."""
        if digest not in self._known:
            return None
        path = self.root / "records" / f"{digest}.json"
        try:
            record = json.loads(path.read_text())
            schema = record["schema"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if schema != SCHEMA:
            raise W2SError(
                f"store {self.root} holds records of schema {schema}, and this w2s_bench writes schema {SCHEMA}; "
                "give another --store, or use the version of w2s_bench that wrote it"
            )
        return record

    def has_result(self, digest: str) -> bool:
        """Returns whether the cell is done: a record that says so, and its predictions."""
        record = self.read(digest)
        predictions = record and record["status"] == "ok" and record.get("predictions")
        return bool(predictions and (self.root / str(predictions["path"])).is_file())

    def write_record(self, record: dict[str, Any]) -> None:
        """Writes a record; its predictions and scores must lie there already."""
        with explained("store", self.root):
            exchange.write_json(self.root / "records" / f"{record['digest']}.json", record)
        self._known.add(record["digest"])

    def write_predictions(self, digest: str, source: Path) -> dict[str, str]:
        """Returns name and SHA-256 of the stored copy of a worker's predictions."""
        return self._write(f"predictions/{digest}.parquet", source.read_bytes())

    def write_scores(self, digest: str, ids: list[str], right: dict[str, np.ndarray]) -> dict[str, str]:
        """Returns name and SHA-256 of the stored scores: 1 right, 0 wrong, a column for each of `right`."""
        columns = {"id": ids, **{k: v.astype(np.int8) for k, v in right.items()}}
        options = {"use_dictionary": list(right), "column_encoding": {"id": "DELTA_BYTE_ARRAY"}}
        content = exchange.parquet_of(pa.table(columns), compression="zstd", **options)
        return self._write(f"scores/{digest}.parquet", content)

    def write_suite(self, suite: str, digests: list[str], varies: str | None = None) -> None:
        """Writes which cells a suite has, so that what is missing can be told, and what it declares to vary."""
        plan: dict[str, Any] = {"suite": suite, "cells": digests} | ({"varies": varies} if varies else {})
        with explained("store", self.root):
            exchange.write_json(self.root / "suites" / f"{suite}.json", plan)

    def announce(self) -> Announcement:
        """Returns where a running sweep may say how far it is."""
        with explained("store", self.root):
            if not heard(self.root / RUNNING):
                self._sweep_up()
            return Announcement(self.root / RUNNING)

    def _sweep_up(self) -> None:
        """Removes half-written files of dead processes."""
        for path in (*self.root.glob("*/.*.tmp"), *self.root.glob(f"{RUNNING}/.*.tmp")):
            pid = path.name.split(".")[-2]
            if pid.isdecimal() and not _lives(int(pid)):
                path.unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> dict[str, str]:
        with explained("store", self.root):
            exchange.write_bytes(self.root / name, content)
        return {"path": name, "sha256": hashlib.sha256(content).hexdigest()}


class Announcement:
    """One running sweep's word to `w2s status`; it holds as long as the sweep holds its lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        heard(folder)
        self._path = folder / f"{secrets.token_hex(6)}.json"
        self._lock = FileLock(self._path.with_suffix(".lock"))
        self._lock.acquire()

    def say(self, **words: Any) -> None:
        """Replaces what was said before."""
        with contextlib.suppress(OSError):  # a courtesy, worth no failure
            exchange.write_json(self._path, words)

    def close(self) -> None:
        """Takes it back."""
        self._path.unlink(missing_ok=True)
        self._lock.release()
        self._path.with_suffix(".lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def heard(folder: Path) -> list[dict[str, Any]]:
    """Returns what sweeps that still run say in this folder; the words of dead ones are removed."""
    words = []
    for lock_file in folder.glob("*.lock"):
        lock, path = FileLock(lock_file), lock_file.with_suffix(".json")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with contextlib.suppress(OSError, ValueError):
                words.append(exchange.read_json(path))
            continue
        path.unlink(missing_ok=True)
        lock.release()
        lock_file.unlink(missing_ok=True)
    return words
