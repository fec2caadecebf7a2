"""The record store: records, predictions, scores and the suites' plans, each file whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee.disk import explained, make_folder, make_way
from w2s_bench.referee.leases import Lease, is_alive, is_silent
from w2s_bench.referee.plan import SCHEMA
from w2s_bench.store.escape import message_of
from w2s_bench.store.records import problem_of

RUNNING = ".running"
"""Folder of the markers of sweeps that run now, each of them a lease."""


class Store:
    """The store in one folder, for writing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: dict[str, str] = {}
        """What is wrong with files that were read, by name such as `records/3f..c1.json`."""
        with explained("store", root):
            for name in ("records", "predictions", "scores"):
                make_folder(root / name, root)
            exchange.write_bytes(root / "records" / ".writable", b"")
            (root / "records" / ".writable").unlink(missing_ok=True)  # another sweep may begin at the same moment
        self._known = {p.stem for p in (root / "records").glob("*.json") if not p.name.startswith(".")}
        if self._known:
            self.read(min(self._known))

    def read(self, digest: str) -> dict[str, Any] | None:
        """Returns a cell's record, None where there is none or a damaged one; refuses another schema."""
        name = f"records/{digest}.json"
        if digest not in self._known:
            return None
        try:
            content = (self.root / name).read_bytes()
            record = exchange.parse_json(content)
        except (OSError, ValueError) as error:
            self.damaged[name] = message_of(error)
            return None
        schema = record.get("schema") if isinstance(record, dict) else None
        if isinstance(schema, int) and schema != SCHEMA:
            raise W2SError(
                f"store {self.root} has records of schema {schema}, and this w2s_bench writes schema {SCHEMA}; "
                "give another --store, or use the version of w2s_bench that wrote it"
            )
        if problem := problem_of(record, name, len(content)):
            self.damaged[name] = problem
            return None
        return record

    def finished(self, digest: str, retry_failed: bool) -> dict[str, Any] | None:
        """Returns the record of a cell on which there is nothing to do, None where it has to be computed."""
        record = self.read(digest)
        if record is None or (record["status"] != "ok" and retry_failed):
            return None
        return record if record["status"] != "ok" or self.has_files(record) else None

    def finished_meanwhile(self, digest: str, retry_failed: bool) -> dict[str, Any] | None:
        """Returns the same of a record that another sweep may have written by now."""
        if not (self.root / "records" / f"{digest}.json").exists():
            return None
        self._known.add(digest)
        return self.finished(digest, retry_failed)

    def has_files(self, record: dict[str, Any]) -> bool:
        """Returns whether the predictions and scores of a finished cell are as its record says."""
        scores = record.get("scores")
        return self._is_whole(record.get("predictions") or {}) and (scores is None or self._is_whole(scores))

    def _is_whole(self, file: dict[str, str]) -> bool:
        path, problem = self.root / str(file.get("path")), "is no file"
        with contextlib.suppress(OSError):
            if path.is_file():
                if exchange.file_sha256(path) == file.get("sha256"):
                    return True
                problem = "has changed"
        self.damaged[str(file.get("path"))] = problem
        return False

    def write_record(self, record: dict[str, Any]) -> None:
        """Writes a record; its predictions and scores must be there already."""
        content = exchange.json_of(record)
        self._write(f"records/{record['digest']}.json", content)
        self._known.add(record["digest"])

    def write_predictions(self, digest: str, content: bytes) -> dict[str, str]:
        """Returns name and SHA-256 of the stored copy of a worker's predictions."""
        return self._write(f"predictions/{digest}.parquet", content)

    def write_scores(self, digest: str, ids: list[str], right: dict[str, np.ndarray]) -> dict[str, str]:
        """Returns name and SHA-256 of the stored scores: 1 right, 0 wrong, a column for each of `right`."""
        columns = {"id": ids, **{k: v.astype(np.int8) for k, v in right.items()}}
        options = {"use_dictionary": list(right), "column_encoding": {"id": "DELTA_BYTE_ARRAY"}}
        content = exchange.parquet_of(pa.table(columns), compression="zstd", **options)
        return self._write(f"scores/{digest}.parquet", content)

    def write_suite(self, suite: str, digests: list[str], varies: str | None = None) -> None:
        """Writes which cells a suite has, so that what is missing can be counted, and what it declares to vary."""
        plan: dict[str, Any] = {"suite": suite, "cells": digests} | ({"varies": varies} if varies else {})
        self._write(f"suites/{suite}.json", exchange.json_of(plan))

    def mark_running(self) -> RunningMarker:
        """Returns where a running sweep may write how far it is."""
        with explained("store", self.root):
            make_folder(self.root / RUNNING, self.root)
            if not running_sweeps(self.root / RUNNING):
                self._remove_leftovers()
            return RunningMarker(self.root / RUNNING)

    def _remove_leftovers(self) -> None:
        """Removes what dead processes of this machine had written in part."""
        for path in (*self.root.glob("*/.*.tmp"), *self.root.glob(f"{RUNNING}/.*.tmp")):
            name = path.name.split(".")[-2]
            pid = name.rpartition("-")[2]
            if pid.isdecimal() and name == exchange.writer(int(pid)) and not is_alive(int(pid), None):
                path.unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> dict[str, str]:
        with explained("store", self.root):
            exchange.write_bytes(make_way(self.root / name, self.root), content)
        return {"path": name, "sha256": hashlib.sha256(content).hexdigest()}


class RunningMarker:
    """A running sweep's entry for `w2s status`; valid as long as the sweep lives."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder, folder.parent)
        running_sweeps(folder)
        self._lease = Lease(folder / f"{secrets.token_hex(6)}.json", folder.parent)

    def write(self, **progress: Any) -> None:
        """Replaces what was written before."""
        with contextlib.suppress(OSError):  # a courtesy, worth no failure
            self._lease.write(**progress)

    def close(self) -> None:
        """Removes the entry."""
        if self._lease.is_ours():
            self._lease.end()
            with contextlib.suppress(OSError):
                self._lease.file.parent.rmdir()


def running_sweeps(folder: Path) -> list[dict[str, Any]]:
    """Returns what sweeps that still run wrote into this folder; the entries of dead ones are removed.

    Nobody rests on these entries. So a sweep on another machine that is only slow may be taken for a dead one: it
    writes its entry again.
    """
    sweeps = []
    for path in folder.glob("*.json"):
        try:
            if is_silent(path):
                path.unlink(missing_ok=True)
            else:
                sweeps.append(_progress(exchange.read_json(path)))
        except (OSError, ValueError, KeyError, TypeError):  # being written, or damaged
            continue
    return sweeps


def _progress(written: Any) -> dict[str, Any]:
    """Returns what a running sweep wrote; KeyError, TypeError or ValueError where it is none."""
    left = written["seconds_left"]
    return {
        "suite": written["suite"],
        "engine": str(written.get("engine", "local")),
        "running": [str(label) for label in list(written["running"])],
        "queued": int(written.get("queued", 0)),
        "cells": {name: int(written["cells"][name]) for name in ("done", "failed", "left")},
        "seconds": float(written["seconds"]),
        "seconds_left": None if left is None else float(left),
        "pid": int(written["pid"]),
        "host": str(written["host"]),
    }
