"""Columns of a file: CSV, TSV, JSON, Parquet or Arrow, plain or compressed. Errors name the place and what to do."""

from __future__ import annotations

import csv
import itertools
import json
import lzma
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.plugins.tables.content import COMPRESSIONS, compression_of, open_bytes, open_text, undecodable

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
"""What a suffix means, with or without one of COMPRESSIONS behind it."""
TEXT_FORMATS = ("csv", "tsv", "json")
DELIMITERS = {"csv": ",;\t|", "tsv": "\t,;|"}
"""Between columns: the first, or where it leaves the header whole, the one that cuts it into most."""
HEAD = 1000
"""Lines of a JSONL file within which every column has to appear."""
UNREADABLE = (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, csv.Error)
"""What damaged or mistaken files raise."""


@dataclass(frozen=True)
class Columns:
    """Some columns of a table, as Python values."""

    names: list[str]
    """Of all columns, read or not."""
    values: dict[str, list[Any]]
    """The columns that were asked for and are there."""
    places: Sequence[int]
    """The number of each row as an error names it: the line of a JSONL file, else the row, from 1."""
    place: str = "row"
    class_names: dict[str, list[str]] = field(default_factory=dict)
    """Columns of numbered classes that say what the numbers mean."""
    split: list[str] | None = None
    """Each row's split, where the source itself has several."""


def read_file(path: Path, wanted: Collection[str], encoding: str) -> Columns:
    """Returns the wanted columns; UsageError for an unknown format, W2SError or UNREADABLE for what is in the file."""
    kind, _ = format_of(path)
    if path.stat().st_size == 0:
        raise W2SError(f"{path}: the file is empty")
    if kind not in TEXT_FORMATS:
        return _from_arrow(path, _read_arrow(path), wanted)
    try:
        with open_text(path, encoding) as file:
            return _read_json(path, file, wanted) if kind == "json" else _read_delimited(path, file, kind, wanted)
    except UnicodeError as error:
        raise undecodable(path, encoding) from error


def names_of(path: Path, encoding: str) -> list[str] | None:
    """Returns the names of a file's columns without reading it all; None where that cannot be known."""
    kind, compression = format_of(path)
    try:
        if kind == "parquet" and not compression:
            import pyarrow.parquet

            return pyarrow.parquet.read_schema(path).names
        if kind in ("csv", "tsv"):
            with open_text(path, encoding) as file:
                return next(_records(path, file, kind), ([], 0))[0]
        if kind == "json":
            with open_text(path, encoding) as file:
                some = [json.loads(line) for line in itertools.islice(file, HEAD) if line.strip()]
            if some and all(isinstance(row, dict) for row in some):
                return list(dict.fromkeys(name for row in some for name in row))
    except (*UNREADABLE, W2SError):
        pass  # read_file says what is wrong with it
    return None


def format_of(path: Path) -> tuple[str, str]:
    """Returns the kind of file, and the suffix of its compression, "" where it has none."""
    compression = compression_of(path)
    suffix = (Path(path.stem) if compression else path).suffix.lower()
    kind = FORMATS.get(suffix)
    if kind is None:
        known = f"known: {', '.join(FORMATS)}, also with {', '.join(COMPRESSIONS)} behind"
        raise UsageError(f"{path}: unknown format {suffix or '(no suffix)'}; {known}")
    return kind, compression


# --- formats


def _read_delimited(path: Path, file: TextIO, kind: str, wanted: Collection[str]) -> Columns:
    """Returns a CSV or TSV file, all strings: a text such as `5` or `1.0` stays what was written."""
    records = _records(path, file, kind)
    names, _ = next(records, ([], 0))
    if not names:
        raise W2SError(f"{path}: the file is empty")
    _refuse_twins(path, names, wanted)
    values: dict[str, list[Any]] = {name: [] for name in names if name in wanted}
    into = [(values[name].append, at) for at, name in enumerate(names) if name in wanted]
    n_rows = 0
    for row, line in records:
        if len(row) != len(names):
            raise W2SError(
                f"{path}, line {line}: expected {len(names)} columns, as in the header, found {len(row)}; "
                "a text with the delimiter or a line break in it needs quotes around it"
            )
        for append, at in into:
            append(row[at])
        n_rows += 1
    return Columns(names, values, range(1, n_rows + 1))


def _records(path: Path, file: TextIO, kind: str) -> Iterator[tuple[list[str], int]]:
    """Yields the header and each row with the line on which it begins; blank lines are left out.

    In TSV quotes are letters, as in GLUE's files, unless the header has them too, as R's.
    """
    blank, header = next(((n, line) for n, line in enumerate(file) if line.strip()), (0, ""))
    header = header.removeprefix("\ufeff")
    pieces = {d: len(next(csv.reader([header], delimiter=d), [])) for d in DELIMITERS[kind]}
    usual = DELIMITERS[kind][0]
    delimiter = usual if pieces[usual] > 1 else max(pieces, key=pieces.__getitem__)
    quoted = kind == "csv" or header.startswith('"')
    csv.field_size_limit(2**31 - 1)  # else a text of more than 131,072 letters is an error
    reader = csv.reader(
        itertools.chain([header], file),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    line = blank + 1
    try:
        for number, record in enumerate(reader):
            if record:
                yield ([name.strip() for name in record] if number == 0 else record), line
            line = blank + reader.line_num + 1
    except csv.Error as error:
        raise W2SError(
            f"{path}, line {line}: broken quotes ({error}); a quote within a quoted text is written twice"
        ) from error


def _read_json(path: Path, file: TextIO, wanted: Collection[str]) -> Columns:
    """Returns JSON objects, one per line, or one list of them. Python's parser: it says in which line it stopped."""
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    start = file.read(1)
    if start == "\ufeff":
        start = file.read(1)
    if start == "[":
        try:
            rows = json.loads(start + file.read())
        except json.JSONDecodeError as error:
            raise W2SError(f"{path}, line {error.lineno}: broken JSON ({error.msg})") from error
        places = list(range(1, len(rows) + 1))
    else:
        for number, line in enumerate(file, 1):
            line = start + line if number == 1 else line
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise W2SError(
                        f"{path}, line {number}: broken JSON ({error.msg} at column {error.colno}); "
                        "expected one JSON object per line"
                    ) from error
                places.append(number)
    names: dict[str, None] = {}
    for number, row in zip(places, rows, strict=True):
        if not isinstance(row, dict):
            raise W2SError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        names.update(dict.fromkeys(row))
    values = {name: [row.get(name) for row in rows] for name in names if name in wanted}
    return Columns(list(names), values, places, "row" if start == "[" else "line")


def _read_arrow(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    kind, compression = format_of(path)
    if compression:
        with open_bytes(path) as stream:
            source = pa.BufferReader(stream.read())
    else:
        source = pa.memory_map(str(path))
    with source:
        if kind == "parquet":
            # threads of read_table may outlive the interpreter, and they keep what the source is made of
            return pa.parquet.ParquetFile(source, pre_buffer=False).read(use_threads=False)
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:  # the streaming form, in which `datasets` keeps its files
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()


def _from_arrow(path: Path, table: pa.Table, wanted: Collection[str]) -> Columns:
    _refuse_twins(path, table.column_names, wanted)
    values = {name: table[name].to_pylist() for name in table.column_names if name in wanted}
    return Columns(table.column_names, values, range(1, table.num_rows + 1))


def _refuse_twins(path: Path, names: list[str], wanted: Collection[str]) -> None:
    for name in names:
        if name in wanted and names.count(name) > 1:
            at = ", ".join(str(i) for i, other in enumerate(names, 1) if other == name)
            raise W2SError(f"{path}: several columns are called {name!r} (columns {at}); rename all but one")
