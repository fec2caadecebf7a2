"""What crosses the wall between referee and workers: folders of parquet, npz and JSON. No pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from w2s_bench.interfaces import Inputs


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that is either whole or not there."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, to disk, then renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Returns the file's value."""
    return json.loads(path.read_text())


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes named arrays, none of them of objects."""
    if any(a.dtype == object for a in arrays.values()):
        raise TypeError("arrays of objects would be pickled")
    with open(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the named arrays of an npz file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_table(source: Path | bytes, columns: list[str] | None = None) -> pa.Table:
    """Returns the table of a parquet file or of its content, or the columns of these names that it has.

    All in the calling thread, from memory. `pyarrow.parquet.read_table` has threads of arrow's read ahead, whatever
    `use_threads` says; they hold Python objects, and one that lets go of them while the interpreter is ending aborts
    the process ("terminate called without an active exception").

    Raises:
        OSError: There is no such file, or it is not whole.
        ValueError: It is no parquet file.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
        return file.read(columns=columns, use_threads=False)


def probabilities_in(table: pa.Table) -> np.ndarray:
    """Returns the column `p_student` as float32 [N, C]; ValueError where its rows differ in length or have holes."""
    column = table["p_student"].combine_chunks()
    values = column.flatten()
    classes = len(values) // max(len(column), 1)
    if values.null_count or column.null_count or set(column.value_lengths().unique().to_pylist()) - {classes}:
        raise ValueError("p_student has rows without a probability for each class")
    return values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), classes)


def write_inputs(path: Path, inputs: Inputs) -> None:
    """Writes one split without its truth."""
    columns: dict[str, Any] = {"id": inputs.ids, "text": inputs.text}
    if inputs.other is not None:
        columns["other"] = inputs.other
    if inputs.difficulty is not None:
        columns["difficulty"] = np.asarray(inputs.difficulty, dtype=np.float64)
    pq.write_table(pa.table(columns), path)


def read_inputs(path: Path) -> Inputs:
    """Returns the split that `write_inputs` wrote."""
    table = read_table(path)
    names = set(table.column_names)
    return Inputs(
        table["id"].to_pylist(),
        table["text"].to_pylist(),
        table["other"].to_pylist() if "other" in names else None,
        table["difficulty"].to_numpy() if "difficulty" in names else None,
    )


def write_predictions(path: Path, splits: Mapping[str, tuple[list[str], np.ndarray]]) -> None:
    """Writes `split`, `id` and `p_student` [C] or `answer` for each example of each split.

    A split is its ids and its probabilities [N, C], or in a generation task its answers [N], texts.
    """
    split = [name for name, (ids, _) in splits.items() for _ in ids]
    columns: dict[str, Any] = {"split": split, "id": [i for own, _ in splits.values() for i in own]}
    encodings = {"id": "DELTA_BYTE_ARRAY"}
    said = [np.asarray(own) for _, own in splits.values()]
    if all(own.dtype.kind == "U" for own in said):
        columns["answer"] = [text for own in said for text in own.tolist()]
    else:
        p = [row for own in said for row in own.astype(np.float32)]
        columns["p_student"] = pa.array(p, type=pa.list_(pa.float32()))
        encodings["p_student.list.element"] = "BYTE_STREAM_SPLIT"  # two thirds of the bytes
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=["split"], column_encoding=encodings)


def read_predictions(path: Path) -> dict[str, tuple[list[str], np.ndarray]]:
    """Returns (ids, probabilities [N, C] or texts [N]) by split."""
    table = read_table(path)
    out = {}
    for name in dict.fromkeys(table["split"].to_pylist()):
        rows = table.filter(pa.compute.equal(table["split"], name))
        said = (
            np.array(rows["answer"].to_pylist(), dtype=str)
            if "answer" in table.column_names
            else probabilities_in(rows)
        )
        out[name] = (rows["id"].to_pylist(), said)
    return out
