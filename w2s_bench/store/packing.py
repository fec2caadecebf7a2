"""Packs a store for publication: small, the same bytes for the same store, and checkable as before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.store.files import PARTS, StoreFiles, as_tar
from w2s_bench.store.verify import verify_store

BITS = 10
"""Of the 23 bits of a float's fraction, how many a published probability keeps: a relative error of at most 2^-11."""


def pack(store: Path, target: Path) -> None:
    """Writes a store as `<part>.tar.xz` into `target`, in place of whatever was packed there.

    Prediction files become their published form. A record's `predictions.sha256` is then that file's, and
    `predictions.run_sha256` that of the file which the run wrote. W2SError where the store does not verify: digests
    that are written here would hide it.
    """
    problems = verify_store(store).problems
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise W2SError(f"{store} is not packed: {problems[0]}{more}; mend or rerun what `w2s verify {store}` names")
    files = StoreFiles(store)
    parts: dict[str, dict[str, bytes]] = {part: {} for part in PARTS}
    for name in files.names("suites", ".json"):
        parts["suites"][name] = files.read(name)
    for name in files.names("records", ".json"):
        parts["records"][name] = files.read(name)
        record = json.loads(parts["records"][name])
        if record["scores"]:
            parts["scores"][record["scores"]["path"]] = files.read(record["scores"]["path"])
        told = record["predictions"]
        if told and "run_sha256" in told:
            parts["predictions"][told["path"]] = files.read(told["path"])
        elif told:
            content = published(files.read(told["path"]))
            parts["predictions"][told["path"]] = content
            digest = hashlib.sha256(content).hexdigest()
            record["predictions"] = {"path": told["path"], "sha256": digest, "run_sha256": told["sha256"]}
            parts["records"][name] = (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()
    archives = {part: as_tar({n.partition("/")[2]: c for n, c in own.items()}) for part, own in parts.items() if own}
    target.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        (target / f"{part}.tar.xz").unlink(missing_ok=True)
        if part in archives:
            (target / f"{part}.tar.xz").write_bytes(archives[part])


def published(content: bytes) -> bytes:
    """Returns a prediction file as it is published: the test split alone, probabilities rounded, no answer changed.

    Columns are those of the file that the run wrote. What the archive compresses is left uncompressed.
    """
    table = exchange.read_table(content)
    table = table.filter(pc.equal(table["split"], "test"))
    if "p_student" in table.column_names and not table["p_student"].null_count:
        p = rounded(exchange.probabilities_in(table))
        column = pa.array(list(p), type=pa.list_(pa.float32()))
        table = table.set_column(table.column_names.index("p_student"), "p_student", column)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression={"split": "none", "id": "zstd", "p_student.list.element": "none"},
        use_dictionary=["split"],
        column_encoding={"id": "DELTA_BYTE_ARRAY", "p_student.list.element": "BYTE_STREAM_SPLIT"},
    )
    return sink.getvalue().to_pybytes()


def rounded(p: np.ndarray) -> np.ndarray:
    """Returns float32 probabilities [N, C] of BITS bits of fraction; a row whose answer would change stays as it is."""
    dropped = 23 - BITS
    bits = np.ascontiguousarray(p, dtype=np.float32).view(np.uint32)
    near = ((bits + np.uint32(1 << (dropped - 1))) >> dropped << dropped).view(np.float32)
    return np.where((near.argmax(1) == p.argmax(1))[:, None], near, p)
