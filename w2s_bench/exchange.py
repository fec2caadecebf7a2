"""What crosses the wall between referee and workers: folders of parquet, npz and JSON. No pickle."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_bench.interfaces import Conversation, Inputs


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that is either whole or not there."""
    write_bytes(path, json_of(value))


def json_of(value: Any) -> bytes:
    """Returns a value as the content of a JSON file."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that is either whole or not there."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a file under a temporary name, which takes its place, on disk, once all is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{writer(os.getpid())}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def writer(pid: int) -> str:
    """Returns what a process of this machine is called in names of files: many machines may write into one folder."""
    return f"{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-{pid}"


def file_sha256(path: Path) -> str:
    """Returns 64 hex digits over a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def improbable_rows(rows: np.ndarray) -> np.ndarray:
    """Returns [N] True for the rows [C] that are no probabilities: not finite, negative, or of another sum than 1."""
    return ~(np.isfinite(rows).all(1) & (rows >= 0).all(1) & (np.abs(rows.sum(1) - 1) < 1e-3))


def read_json(path: Path) -> Any:
    """Returns the file's value; a ValueError names the file."""
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error


def parse_json(content: bytes | str) -> Any:
    """Returns the value of JSON text; ValueError where it is none, or has NaN, infinite numbers or endless nesting."""
    try:
        return json.loads(content, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {sys.intern(key): value for key, value in pairs}  # keys are half of a store's records


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number in JSON")
    return number


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes named arrays, none of them of objects."""
    if any(a.dtype == object for a in arrays.values()):
        raise TypeError("arrays of objects would be pickled")
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(source: Path | bytes) -> dict[str, np.ndarray]:
    """Returns the named arrays of an npz file or of its content."""
    with np.load(io.BytesIO(source) if isinstance(source, bytes) else source, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_table(source: Path | bytes, columns: list[str] | None = None) -> pa.Table:
    """Returns the table of a parquet file or of its content, or the columns of these names that it has.

    All in the calling thread, from memory. `pyarrow.parquet.read_table` has threads of arrow's read ahead, whatever
    `use_threads` is; they refer to Python objects, and one that lets go of them while the interpreter is ending aborts
    the process ("terminate called without an active exception").

    Raises:
        OSError: There is no such file, or it is not whole.
        ValueError: It is no parquet file.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
        return file.read(columns=columns, use_threads=False)


def parquet_of(table: pa.Table, **options: Any) -> bytes:
    """Returns a table as the content of a parquet file: the same bytes for the same table and release of arrow."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def numbers_in(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Returns a column of numbers; ValueError where it has holes, TypeError where it has no numbers.

    Not by arrow's own `to_numpy`: that imports pandas, which takes longer than checking a store.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if column.null_count:
        raise ValueError("a column of numbers has holes")
    return np.array(np.from_dlpack(column))


def probabilities_in(table: pa.Table) -> np.ndarray:
    """Returns the column `p_student` as float32 [N, C]; ValueError where its rows differ in length or have holes."""
    column = table["p_student"].combine_chunks()
    if not pa.types.is_list(column.type):
        raise ValueError(f"p_student is {column.type}, expected lists of floats")
    ends = numbers_in(column.offsets)
    values = column.values.slice(ends[0], ends[-1] - ends[0])
    classes = len(values) // max(len(column), 1)
    if column.null_count or values.null_count or (np.diff(ends) != classes).any():
        raise ValueError("p_student has rows without a probability for each class")
    return numbers_in(values).astype(np.float32).reshape(len(column), classes)


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
"""How the messages of a conversation are stored; null for a plain text."""


def write_inputs(path: Path, inputs: Inputs) -> None:
    """Writes one split without its truth."""
    columns: dict[str, Any] = {"id": inputs.ids, "text": inputs.text}
    if inputs.other is not None:
        columns["other"] = inputs.other
    for name, texts in list(columns.items())[1:]:
        if any(isinstance(text, Conversation) for text in texts):
            columns[f"{name}_messages"] = pa.array([_messages(text) for text in texts], MESSAGES)
    if inputs.difficulty is not None:
        columns["difficulty"] = np.asarray(inputs.difficulty, dtype=np.float64)
    path.write_bytes(parquet_of(pa.table(columns)))


def read_inputs(source: Path | bytes) -> Inputs:
    """Returns the split that `write_inputs` wrote, from a file or its content."""
    table = read_table(source)
    names = set(table.column_names)
    return Inputs(
        table["id"].to_pylist(),
        _texts_in(table, "text"),
        _texts_in(table, "other") if "other" in names else None,
        numbers_in(table["difficulty"]) if "difficulty" in names else None,
    )


def _messages(text: str) -> list[dict[str, str]] | None:
    if not isinstance(text, Conversation):
        return None
    return [{"role": role, "content": content} for role, content in text.messages]


def _texts_in(table: pa.Table, name: str) -> list[str]:
    texts = table[name].to_pylist()
    if f"{name}_messages" not in table.column_names:
        return texts
    messages = table[f"{name}_messages"].cast(MESSAGES).to_pylist()
    return [
        text if rows is None else Conversation((row["role"], row["content"]) for row in rows)
        for text, rows in zip(texts, messages, strict=True)
    ]


def write_predictions(path: Path, splits: Mapping[str, tuple[list[str], np.ndarray]]) -> None:
    """Writes `split`, `id` and `p_student` [C] or `answer` for each example of each split.

    A split is its ids and its probabilities [N, C], or in a generation task its answers [N], texts.
    """
    split = [name for name, (ids, _) in splits.items() for _ in ids]
    columns: dict[str, Any] = {"split": split, "id": [i for ids, _ in splits.values() for i in ids]}
    encodings = {"id": "DELTA_BYTE_ARRAY"}
    predictions = [np.asarray(rows) for _, rows in splits.values()]
    if all(rows.dtype.kind == "U" for rows in predictions):
        columns["answer"] = [text for texts in predictions for text in texts.tolist()]
    else:
        p = [row for rows in predictions for row in rows.astype(np.float32)]
        columns["p_student"] = pa.array(p, type=pa.list_(pa.float32()))
        encodings["p_student.list.element"] = "BYTE_STREAM_SPLIT"  # two thirds of the bytes
    options = {"compression": "zstd", "use_dictionary": ["split"], "column_encoding": encodings}
    path.write_bytes(parquet_of(pa.table(columns), **options))


def read_predictions(source: Path | bytes) -> dict[str, tuple[list[str], np.ndarray]]:
    """Returns (ids, probabilities [N, C] or texts [N]) by split, from a predictions file or its content."""
    table = read_table(source)
    ids, split = table["id"].to_pylist(), table["split"].to_pylist()
    predicted = (
        np.array(table["answer"].to_pylist(), dtype=str) if "answer" in table.column_names else probabilities_in(table)
    )
    kept = {name: [s == name for s in split] for name in dict.fromkeys(split)}
    return {name: (list(compress(ids, rows)), predicted[rows]) for name, rows in kept.items()}


def read_scores(source: Path | bytes) -> tuple[list[str], dict[str, np.ndarray]]:
    """Returns the ids of the test examples and by `floor`, `student`, `ceiling` 1 for right and 0 for wrong [N]."""
    table = read_table(source)
    return table["id"].to_pylist(), {who: numbers_in(table[who]) for who in ("floor", "student", "ceiling")}
