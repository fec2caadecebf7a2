"""Puts stores together: of equal cells one record, of contradictions both named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_bench import exchange
from w2s_bench.cells import label
from w2s_bench.errors import W2SError
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.records import Record, read_record
from w2s_bench.store.verify import verify_store


@dataclass
class Merge:
    """What became of the records of all stores."""

    taken: int = 0
    """That the target did not have."""
    equal: int = 0
    """That it had already, with the same predictions; the first is kept."""
    replaced: int = 0
    """Failures in the target that another store has a result for."""
    contradictions: list[str] = field(default_factory=list)
    """One line for each cell with two different results; the target's is kept."""


def merge(stores: Iterable[Path], target: Path) -> Merge:
    """Returns what was put from stores into `target`, a folder that is made where it is missing.

    Suites' plans are joined. W2SError names the first fault of a store that does not verify, before anything is
    written.
    """
    sources = [StoreFiles(store) for store in stores]
    for store in [*(s.path for s in sources), *([target] if target.is_dir() else [])]:
        if problems := verify_store(store).problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise W2SError(f"{store} is not merged: {problems[0]}{more}; mend or rerun what `w2s verify {store}` names")
    target.mkdir(parents=True, exist_ok=True)
    into = StoreFiles(target)
    kept = {r.digest: r for name in into.names("records", ".json") for r in read_record(into, name, [])}
    done = Merge()
    for source in sources:
        if source.path.resolve() == target.resolve():
            continue
        for name in source.names("records", ".json"):
            for record in read_record(source, name, []):
                if _is_taken(record, kept.get(record.digest), done):
                    _copy(record, source, target)
                    kept[record.digest] = record
        for name in source.names("suites", ".json"):
            _join_plans(source, into, name, done)
    return done


def _is_taken(record: Record, other: Record | None, done: Merge) -> bool:
    """Returns whether a record goes into the target, which has `other` of the same cell; counts it."""
    if other is None:
        done.taken += 1
        return True
    if record.ok and not other.ok:
        done.replaced += 1
        return True
    if other.ok and not record.ok:
        return False
    if _result(record) == _result(other):
        done.equal += 1
        return False
    accuracy = [f"{r.test['student']['accuracy']:.4f} in {r.files.path}" for r in (other, record)]
    done.contradictions.append(
        f"records/{record.digest}.json: {label(record.cell)}: two results, accuracy {' and '.join(accuracy)}; "
        "the first is kept"
    )
    return False


def _result(record: Record) -> Any:
    """Returns what two results of one cell have in common where they are equal; of failures all are."""
    if not record.ok:
        return None
    predictions = record.raw.get("predictions") or {}
    return predictions.get("run_sha256") or predictions.get("sha256") or record.test


def _copy(record: Record, source: StoreFiles, target: Path) -> None:
    """Writes a record's files, then the record itself: there is none without its files."""
    for part in ("predictions", "scores"):
        if entry := record.raw.get(part):
            exchange.write_bytes(target / entry["path"], source.read(entry["path"]))
    exchange.write_bytes(target / f"records/{record.digest}.json", exchange.json_of(record.raw))


def _join_plans(source: StoreFiles, into: StoreFiles, name: str, done: Merge) -> None:
    plan = json.loads(source.read(name))
    try:
        before = json.loads(into.read(name))
    except FileNotFoundError:
        before = {"suite": plan["suite"], "cells": []} | ({"varies": plan["varies"]} if "varies" in plan else {})
    if before.get("varies") != plan.get("varies"):
        done.contradictions.append(
            f"{name}: varies {before.get('varies')} in {into.path} and {plan.get('varies')} in {source.path}; "
            "the first is kept"
        )
        return
    joined = {**before, "cells": list(dict.fromkeys([*before["cells"], *plan["cells"]]))}
    if joined != before:
        exchange.write_json(into.path / name, joined)
