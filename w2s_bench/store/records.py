"""Records as this room reads them: whatever is broken or does not belong is named in one line, the rest is used."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench.cells import digest, varied_setting
from w2s_bench.exchange import parse_json
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.record_schema import RECORD, schema_error
from w2s_bench.store.sharing import Shared

SCHEMA = 1
STATUSES = ("ok", "failed", "timeout", "skipped")
LONGEST_TEXT = 100_000
"""Characters of any text within a record."""
JOINT = tuple(f"{k:03b}" for k in range(8))
JOINT_BITS = np.array([[int(b) for b in key] for key in JOINT], dtype=float)
"""[8, 3] right or wrong of (floor, student, ceiling) for each joint count."""


@dataclass(frozen=True)
class Record:
    """One cell's result; `raw` is the whole JSON object, already checked for what the board needs."""

    raw: dict[str, Any]
    files: StoreFiles

    @property
    def digest(self) -> str:
        return self.raw["digest"]

    @property
    def protocol(self) -> str:
        return self.raw["protocol"]

    @property
    def cell(self) -> dict[str, Any]:
        return self.raw["cell"]

    @property
    def seed(self) -> int:
        return self.raw["cell"]["seed"]

    @property
    def ok(self) -> bool:
        return self.raw["status"] == "ok"

    @property
    def test(self) -> dict[str, Any]:
        return self.raw["test"]

    @property
    def finished(self) -> str:
        return str((self.raw.get("provenance") or {}).get("finished") or "")

    @property
    def settings(self) -> dict[str, Any]:
        """The protocol's settings by dotted name, such as `training.epochs`."""
        settings = self.raw.get("protocol_settings")
        return _flat(settings) if isinstance(settings, dict) else {}

    @property
    def drawn_with(self) -> str | None:
        """The fingerprint of the secret that its splits were drawn with."""
        return self.settings.get("secret")

    def varied_values(self, varied: Iterable[str]) -> dict[str, float]:
        """Returns the record's numbers of what varies: `training.epochs` of its protocol, `student.saliency`."""
        student = {f"student.{k}": v for k, v in self.cell["student"].items()}
        values = {k: student.get(k) if k in student else self.settings.get(k) for k in varied}
        return {k: v for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}

    @property
    def mitigations(self) -> list[dict[str, Any]]:
        """The stack's entries; `naive` alone, with all its options off, is the empty stack."""
        stack = self.raw["cell"]["mitigations"]
        alone = len(stack) == 1 and stack[0]["name"] == "naive"
        return [] if alone and not any(v for k, v in stack[0].items() if k != "name") else stack

    @property
    def tuned(self) -> set[str]:
        """Names of the mitigations whose options trials have chosen."""
        trials = (self.raw.get("tuning") or {}).get("trials") or []
        return {name for trial in trials for name in trial.get("options") or {}}


@dataclass
class Reading:
    """What came out of the stores."""

    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """One line for each file that was left out, and why."""
    planned: dict[str, set[str]] = field(default_factory=dict)
    """Digests of the cells of each suite whose plan is in a store."""
    varies: dict[str, str] = field(default_factory=dict)
    """What a suite declares to vary, by suite: `training.epochs`, `student.saliency`."""
    varied: tuple[str, ...] = ()
    """What varies: settings of the protocol in which the records may differ, options of the student."""
    protocol: str | None = None
    """What all records follow; where settings vary, the digest of the others."""


def read_stores(paths: Iterable[Path], suite: str | None = None) -> Reading:
    """Returns all usable records of these stores (of one suite, where named), sorted by digest, one for each cell."""
    reading = Reading()
    records: list[Record] = []
    shared = Shared()
    for path in paths:
        files = StoreFiles(Path(path))
        for name in files.names("suites", ".json"):
            _read_plan(files, name, reading)
        for name in files.names("records", ".json"):
            for record in read_record(files, name, reading.notes):
                shared.replace_in(record.raw)
                records.append(record)
    if suite is not None:
        planned = reading.planned.get(suite, set())
        records = [r for r in records if r.raw.get("suite") == suite or r.digest in planned]
        reading.planned = {k: v for k, v in reading.planned.items() if k == suite}
        reading.varies = {k: v for k, v in reading.varies.items() if k == suite}
    records = _one_for_each(records, reading.notes)
    declared = set(reading.varies.values())
    varied = tuple(sorted(k for k in declared if not k.startswith("student.")))
    reading.records = sorted(_one_protocol(records, varied, reading.notes), key=lambda r: r.digest)
    if reading.records:
        first = reading.records[0]
        reading.protocol = _common(first, varied)
        reading.varied = tuple(sorted(declared - (set(varied) if reading.protocol == first.protocol else set())))
    return reading


def _read_plan(files: StoreFiles, name: str, reading: Reading) -> None:
    suite = name[len("suites/") : -len(".json")]
    try:
        plan = parse_json(files.read(name))
        reading.planned.setdefault(suite, set()).update(str(c) for c in plan["cells"])
        varies = plan.get("varies")
        if (setting := varied_setting(varies)) is not None:
            reading.varies[suite] = setting
        elif varies is not None:
            reading.notes.append(f"{name}: varies {_short(varies)}, which boards know no way to; not heeded")
    except (ValueError, KeyError, TypeError, OSError) as error:
        reading.notes.append(f"{name}: not a suite's plan ({_short(error)}); missing cells are not counted")


def read_record(files: StoreFiles, name: str, notes: list[str]) -> list[Record]:
    """Returns the record in a list, an empty one (and a note) where the file is no usable record."""
    try:
        content = files.read(name)
        raw = parse_json(content)
    except (OSError, ValueError) as error:
        notes.append(f"{name}: not readable as JSON ({_short(error)}); left out, rerun the cell")
        return []
    problem = problem_of(raw, name, len(content))
    if problem:
        notes.append(f"{name}: {problem}; left out")
        return []
    return [Record(raw, files)]


def problem_of(raw: Any, name: str, size: int) -> str | None:
    """Returns what keeps this object, out of a file of this size in bytes, from being a record, in words."""
    if not isinstance(raw, dict):
        return f"is a {type(raw).__name__}, expected a record's JSON object"
    if raw.get("schema") != SCHEMA:
        return f"schema {_short(raw.get('schema'))}, this version reads schema {SCHEMA}"
    try:
        # no text is longer than the file
        if size > LONGEST_TEXT and (longest := _longest(raw)) > LONGEST_TEXT:
            return f"has a text of {longest:,} characters, expected {LONGEST_TEXT:,} at most"
        if name != f"records/{raw['digest']}.json":
            return f"its digest is {_short(raw['digest'])}, which is not the file's name"
        cell = raw["cell"]
        entries = [cell["task"], cell["student"], *cell["supervisors"], *cell["mitigations"]]
        if not cell["supervisors"] or not all(isinstance(e["name"], str) for e in entries):
            return "the cell names no supervisor, or an entry has no name"
        if not isinstance(cell["seed"], int) or not isinstance(raw["protocol"], str):
            return "seed is not a whole number, or protocol is not a digest"
        if raw["status"] not in STATUSES:
            return f"status {_short(raw['status'])}, expected one of {', '.join(STATUSES)}"
        wrong = schema_error(raw, RECORD)
        return wrong or (_problem_of_test(raw["test"]) if raw["status"] == "ok" else None)
    except (KeyError, TypeError, AttributeError) as error:
        return f"not a whole record ({type(error).__name__}: {_short(error)})"


def _longest(value: Any) -> int:
    """Returns the length of the longest text within a JSON value."""
    if isinstance(value, dict):
        return max((max(len(k), _longest(v)) for k, v in value.items()), default=0)
    if isinstance(value, list):
        return max(map(_longest, value), default=0)
    return len(value) if isinstance(value, str) else 0


def _problem_of_test(test: dict[str, Any]) -> str | None:
    for who in ("floor", "student", "ceiling"):
        value = (test.get(who) or {}).get("accuracy")
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            return f"accuracy of the {who} is {_short(value)}, expected a number between 0 and 1"
    joint = test.get("joint")
    if joint is None:
        return None
    counts = [joint.get(k, 0) for k in JOINT]
    if set(joint) - set(JOINT) or not all(isinstance(c, int) and c >= 0 for c in counts):
        return "joint counts are not eight whole numbers"
    if sum(counts) != test["n"] or test["n"] < 1:
        return f"joint counts sum to {sum(counts)}, the test split has {_short(test['n'])}"
    return None


def _one_for_each(records: list[Record], notes: list[str]) -> list[Record]:
    """Returns one record for each cell: of two that describe one cell, the newest."""
    kept: dict[str, Record] = {}
    for record in sorted(records, key=lambda r: (r.finished, r.digest)):
        key = json.dumps([record.cell, record.protocol], sort_keys=True)
        other = kept.get(key)
        if other is not None and other.raw != record.raw:
            notes.append(
                f"records/{other.digest}.json: the cell of records/{record.digest}.json, "
                f"finished {other.finished or 'at an unknown time'}; the newest is kept"
            )
        elif other is not None:
            notes.append(f"records/{record.digest}.json: twice in the stores, equal; counted once")
        kept[key] = record
    return list(kept.values())


def _one_protocol(records: list[Record], varied: tuple[str, ...], notes: list[str]) -> list[Record]:
    """Returns the records of the protocol that most follow, varied settings aside; names what differs in the others."""
    follows = {id(r): _common(r, varied) for r in records}
    counts = Counter(follows.values())
    if len(counts) < 2:
        return records
    by_protocol = {p: [r for r in records if follows[id(r)] == p] for p in counts}
    newest = {p: max(r.finished for r in group) for p, group in by_protocol.items()}
    kept = max(counts, key=lambda p: (counts[p], newest[p], p))
    for protocol in sorted(set(counts) - {kept}):
        difference = _difference(by_protocol[kept][0], by_protocol[protocol][0], varied)
        notes.append(
            f"{counts[protocol]} records follow another protocol, {_short(protocol)[:12]}, and are refused: "
            f"{difference}; a board has one protocol (here {_short(kept)[:12]}, {counts[kept]} records)"
        )
    return by_protocol[kept]


def _common(record: Record, varied: tuple[str, ...]) -> str:
    """Returns the digest of the protocol without the varied settings; the whole one's where a record lacks settings."""
    try:
        sound = bool(varied) and digest(record.raw["protocol_settings"]) == record.protocol
    except (KeyError, ValueError):
        sound = False
    if not sound or len(record.varied_values(varied)) < len(varied):
        return record.protocol
    return digest({k: v for k, v in record.settings.items() if k not in varied})


def _difference(one: Record, other: Record, varied: tuple[str, ...]) -> str:
    a, b = one.settings, other.settings
    differing = [k for k in sorted(a | b) if k not in varied and a.get(k) != b.get(k)]
    parts = [f"{k} is {_short(b.get(k))} instead of {_short(a.get(k))}" for k in differing]
    more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
    return ", ".join(parts[:4]) + more or "its settings are unknown"


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _short(value: Any) -> str:
    """Returns a value for a one-line message: no line breaks, no control codes, not long."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= 80 else text[:77] + "..."


def shared_test(record: Record) -> bool:
    """Returns whether all seeds are tested on the same examples; so taken where a record does not say."""
    return bool(record.test.get("same_for_all_seeds", True))
