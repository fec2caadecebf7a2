"""Checks a store without running anything: digests, scores against predictions, numbers against counts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.cells import digest
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.records import JOINT, JOINT_BITS, Record, read_record, shared_test

EXACT = 1e-9


@dataclass
class Verification:
    """What was checked, and one line for each contradiction."""

    records: int = 0
    predictions: int = 0
    scores: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a reader should know and is no fault."""

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass
class _Truths:
    """What scores and predictions together say about the truth: two records must not say different things."""

    answer: dict[str, _Known] = field(default_factory=lambda: defaultdict(_Known))
    right: dict[str, tuple[str, list[str], np.ndarray]] = field(default_factory=dict)


@dataclass
class _Known:
    """The true answers that records have implied so far."""

    ids: list[str] = field(default_factory=list)
    row: dict[str, int] = field(default_factory=dict)
    """By test example, its row in `answer`; `ids` are those of the record before, `rows` theirs."""
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    answer: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    """A class, or -1 where none is implied yet."""

    def clashes(self, ids: list[str], implied: np.ndarray) -> int:
        """Returns how many of these answers contradict known ones, and keeps those that were not known."""
        if ids != self.ids:
            self.ids, self.rows = ids, np.array([self.row.setdefault(name, len(self.row)) for name in ids], dtype=int)
            self.answer = np.append(self.answer, np.full(len(self.row) - len(self.answer), -1))
        known = self.answer[self.rows]
        self.answer[self.rows] = np.where(known < 0, implied, known)
        return int(((known >= 0) & (implied >= 0) & (known != implied)).sum())


def verify_store(path: Path) -> Verification:
    """Returns what a store's files say of each other.

    A changed byte in a prediction or score file shows in its sha256. Where somebody changed the digests too, counts,
    accuracies and what other records say about the same examples have to agree.
    """
    files = StoreFiles(Path(path))
    done = Verification()
    truths = _Truths()
    protocols: set[str] = set()
    drawn: Counter[str] = Counter()
    recorded: set[str] = set()
    for name in files.names("records", ".json"):
        for record in read_record(files, name, done.problems):
            done.records += 1
            protocols.add(record.protocol)
            drawn.update([record.drawn_with] if record.drawn_with else [])
            recorded.add(record.digest)
            if record.ok and not record.raw.get("imported"):
                done.problems += [f"{name}: {line}" for line in _check(record, done, truths)]
    for name in files.names("suites", ".json"):
        done.notes += _missing(files, name, recorded)
    done.notes += [f"{n} records: splits drawn with the secret {which}" for which, n in sorted(drawn.items())]
    if len(protocols) > 1:
        named = ", ".join(sorted(p[:12] for p in protocols))
        done.notes.append(f"records follow {len(protocols)} protocols ({named}); a board shows one of them")
    return done


def _missing(files: StoreFiles, name: str, recorded: set[str]) -> list[str]:
    try:
        planned = {str(c) for c in exchange.parse_json(files.read(name))["cells"]}
    except (ValueError, KeyError, TypeError, OSError) as error:
        return [f"{name}: not a suite's plan ({type(error).__name__}); missing cells are not counted"]
    missing = len(planned - recorded)
    return [f"{name}: {missing} of {len(planned)} planned cells have no usable record"] if missing else []


def _check(record: Record, done: Verification, truths: _Truths) -> list[str]:
    problems = _check_numbers(record)
    settings = record.raw.get("protocol_settings")
    if digest(settings) != record.protocol:
        problems.append("its protocol is not the digest of its protocol_settings")
    predictions = file_of(record, "predictions", problems)
    scores = file_of(record, "scores", problems)
    done.predictions += predictions is not None
    done.scores += scores is not None
    try:
        predicted = _test_split(predictions) if predictions is not None else None
        if scores is None:
            return problems
        ids, by_side = exchange.read_scores(scores)
        right = np.stack(list(by_side.values())).astype(int)
        if len(set(ids)) < len(ids):
            problems.append("the score file names an example twice")
        counts = np.bincount(right[0] * 4 + right[1] * 2 + right[2], minlength=8)
        if list(counts) != [record.test["joint"].get(k, 0) for k in JOINT]:
            problems.append("the score file does not give the record's joint counts")
        problems += _check_floor(record, ids, right, truths)
        if predicted is not None:
            problems += _check_answers(record, *predicted, ids, right[1], truths)
    except (ValueError, KeyError, TypeError, OSError) as error:
        problems.append(f"its files cannot be read together ({type(error).__name__}: {error})")
    return problems


def _check_numbers(record: Record) -> list[str]:
    """Returns which accuracies do not follow from the joint counts, and whether the PGR follows from the metric."""
    joint = record.test.get("joint")
    if not joint:
        return ["no joint counts"]
    counts = np.array([joint.get(k, 0) for k in JOINT], dtype=float)
    accuracy = JOINT_BITS.T @ counts / counts.sum()
    problems = []
    for who, value in zip(("floor", "student", "ceiling"), accuracy, strict=True):
        recorded = (record.test.get(who) or {}).get("accuracy")
        if recorded is None or abs(recorded - value) > EXACT:
            problems.append(f"{who} accuracy {recorded}, its joint counts give {value:.6f}")
    pgr, metric = record.raw.get("pgr"), record.settings.get("metric", "accuracy")
    if pgr is None:
        return problems
    values = [(record.test.get(who) or {}).get(metric) for who in ("floor", "student", "ceiling")]
    floor, student, ceiling = accuracy if metric == "accuracy" else values
    if floor is None or student is None or ceiling is None or ceiling == floor:
        problems.append(f"PGR {pgr}, but its {metric} gives none")
    elif abs(pgr - (student - floor) / (ceiling - floor)) > 1e-6:
        problems.append(f"PGR {pgr}, its {metric} gives {(student - floor) / (ceiling - floor)}")
    return problems


def file_of(record: Record, what: str, problems: list[str]) -> bytes | None:
    """Returns the record's `predictions` or `scores` file where its sha256 is the one the record names.

    Where it is not, or the file is missing, `problems` gets a line.
    """
    named = record.raw.get(what)
    if not named:
        return None
    path = named.get("path")
    try:
        content = record.files.read(str(path))
    except FileNotFoundError:
        problems.append(f"its {what} file is missing: {path}")
        return None
    except OSError as error:
        problems.append(f"its {what} file cannot be read: {path}: {error.strerror}")
        return None
    actual = hashlib.sha256(content).hexdigest()
    if actual != named.get("sha256"):
        problems.append(
            f"{named['path']} was changed: sha256 {actual[:12]}, the record names {str(named.get('sha256'))[:12]}"
        )
        return None
    return content


def _check_floor(record: Record, ids: list[str], right: np.ndarray, truths: _Truths) -> list[str]:
    """Returns a line where floor or ceiling differ from another record's of the same group and seed."""
    cell = record.cell
    key = json.dumps(
        [cell["task"], cell["supervisors"], cell["student"], cell["seed"], record.protocol], sort_keys=True
    )
    other, known_ids, known = truths.right.setdefault(key, (record.digest, ids, right[[0, 2]]))
    at = _rows_of(known_ids, ids)
    if at is not None and np.array_equal(right[[0, 2]][:, at], known):
        return []
    return [f"floor or ceiling scores differ from those of records/{other}.json, same group and seed"]


def _rows_of(wanted: list[str], ids: list[str]) -> np.ndarray | None:
    """Returns the rows in which `ids` has the wanted ones, None where it has others; no id comes twice."""
    if wanted == ids:
        return np.arange(len(ids))
    row = dict(zip(ids, range(len(ids)), strict=True))
    return np.array([row[name] for name in wanted]) if row.keys() == set(wanted) else None


def _test_split(content: bytes) -> tuple[list[str], np.ndarray]:
    """Returns ids and probabilities [N, C], or answers in words [N], of a prediction file's test split.

    ValueError where probabilities are none, or an example is named twice.
    """
    ids, predicted = exchange.read_predictions(content).get("test", ([], np.empty((0, 0))))
    if len(set(ids)) < len(ids):
        raise ValueError("the prediction file names a test example twice")
    if predicted.dtype.kind == "U":
        return ids, predicted
    p = predicted.astype(float)
    if exchange.improbable_rows(p).any():
        raise ValueError("predicted probabilities are not finite, negative or do not sum to 1")
    return ids, p


def probabilities_of(content: bytes) -> tuple[list[str], np.ndarray] | None:
    """Returns ids and probabilities [N, C] of a prediction file's test split; None for answers in words.

    ValueError where its probabilities are none.
    """
    ids, predicted = _test_split(content)
    return None if predicted.dtype.kind == "U" else (ids, predicted)


def _check_answers(
    record: Record, predicted_ids: list[str], predicted: np.ndarray, ids: list[str], right: np.ndarray, truths: _Truths
) -> list[str]:
    """Returns lines where predictions and scores cannot both be true. Words are the referee's to judge."""
    at = _rows_of(ids, predicted_ids)
    if at is None:
        return ["predictions and scores are about different test examples"]
    if predicted.dtype.kind == "U":
        return []
    chosen = predicted.argmax(1)[at]
    implied = np.where(right, chosen, 1 - chosen if predicted.shape[1] == 2 else -1)
    scope: list[Any] = [record.cell["task"], record.drawn_with] + ([] if shared_test(record) else [record.seed])
    clashes = truths.answer[json.dumps(scope, sort_keys=True)].clashes(ids, implied)
    return [f"{clashes} test examples have another true answer than in the records before it"] if clashes else []
