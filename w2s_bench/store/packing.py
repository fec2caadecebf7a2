"""Packs a store for publication: small, changed only where a number changed, and checkable as before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.store.files import BROKEN, PARTS, StoreFiles, as_tar, read_tar
from w2s_bench.store.verify import verify_store

STEPS = 128
"""A published probability is a whole number of 128ths: half a bin of the reliability picture is four of them."""
HALF_BITS = 10
"""Of the 23 bits of a float's fraction, how many half precision keeps."""


def pack(store: Path, target: Path) -> None:
    """Writes a store as `<part>.tar.xz` into `target`, in place of whatever was packed there.

    Prediction and score files are named by their own digest, and prediction files become their published form; a
    record's `predictions.run_sha256` is that of the file which the run wrote. An archive whose numbers are those of
    the one already there stays as it is, to the byte, whatever the cells are called and whichever release of arrow
    wrote them. W2SError where the store does not verify: digests that are written here would hide it.
    """
    problems = verify_store(store).problems
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise W2SError(f"{store} is not packed: {problems[0]}{more}; mend or rerun what `w2s verify {store}` names")
    files = StoreFiles(store)
    before = {part: _archived(target / f"{part}.tar.xz") for part in PARTS}
    known = {part: {_numbers(c): c for c in before[part].values()} for part in ("predictions", "scores")}
    parts: dict[str, dict[str, bytes]] = {part: {} for part in PARTS}
    for name in files.names("suites", ".json"):
        parts["suites"][name.partition("/")[2]] = files.read(name)
    for name in files.names("records", ".json"):
        record = json.loads(files.read(name))
        for part in known:
            if entry := record.get(part):
                content = files.read(entry["path"])
                if part == "predictions":
                    entry.setdefault("run_sha256", entry["sha256"])
                    content = published(content)
                content = known[part].setdefault(_numbers(content), content)
                digest = hashlib.sha256(content).hexdigest()
                file = f"{digest[:32]}.parquet"
                parts[part][file] = content
                entry.update(path=f"{part}/{file}", sha256=digest)
        text = json.dumps(record, indent=1, sort_keys=True) + "\n"
        parts["records"][name.partition("/")[2]] = text.encode()
    target.mkdir(parents=True, exist_ok=True)
    for part, contents in parts.items():
        path = target / f"{part}.tar.xz"
        if not contents:
            path.unlink(missing_ok=True)
        elif contents != before[part]:
            exchange.write_bytes(path, as_tar(contents))


def _archived(path: Path) -> dict[str, bytes]:
    """Returns what is packed there already, nothing where it is damaged: packing mends that."""
    try:
        return read_tar(path) if path.is_file() else {}
    except BROKEN:
        return {}


def _numbers(content: bytes) -> str:
    """Returns a digest of what a prediction or score file says, which does not depend on how it is written."""
    table = exchange.read_table(content)
    values: dict[str, Any] = {name: table[name].to_pylist() for name in table.column_names}
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def published(content: bytes) -> bytes:
    """Returns a prediction file as it is published: the test split alone, probabilities rounded, no answer changed.

    Columns are those of the file that the run wrote. What the archive compresses better is left uncompressed.
    """
    ids, predicted = exchange.read_predictions(content)["test"]
    columns: dict[str, Any] = {"split": ["test"] * len(ids), "id": ids}
    if predicted.dtype.kind == "U":
        columns["answer"] = predicted.tolist()
    else:
        columns["p_student"] = pa.array(list(rounded(predicted)), type=pa.list_(pa.float32()))
    return exchange.parquet_of(
        pa.table(columns),
        compression={"split": "none", "id": "zstd", "answer": "none", "p_student.list.element": "none"},
        use_dictionary=["split"],
        column_encoding={"id": "DELTA_BYTE_ARRAY"},
    )


def rounded(p: np.ndarray) -> np.ndarray:
    """Returns float32 probabilities [N, C] in whole 128ths, rows that sum to 1; no row's answer changes.

    Running sums are rounded, so that no entry moves by more than a step; where that turns an answer, single steps are
    given back to it. By way of half precision, so that files published in half precision round to the same.
    """
    answer = p.argmax(1)
    near = _half(p)
    near = np.where((near.argmax(1) == answer)[:, None], near, p)
    ends = np.minimum(np.rint(near.cumsum(axis=1, dtype=np.float64) * STEPS), STEPS)
    ends[:, -1] = STEPS
    steps = np.diff(ends, axis=1, prepend=0)
    rows = np.flatnonzero(steps.argmax(1) != answer)
    while len(rows):
        steps[rows, steps[rows].argmax(1)] -= 1
        steps[rows, answer[rows]] += 1
        rows = rows[steps[rows].argmax(1) != answer[rows]]
    return (steps / STEPS).astype(np.float32)


def _half(p: np.ndarray) -> np.ndarray:
    """Returns float32 numbers with HALF_BITS bits of fraction, the nearest."""
    dropped = 23 - HALF_BITS
    bits = np.ascontiguousarray(p, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << (dropped - 1))) >> dropped << dropped).view(np.float32)
