"""Columns out of files and Hugging Face datasets, with errors that name the file and the place in it."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_bench import hub
from w2s_bench.errors import UsageError, W2SError, nearest

if TYPE_CHECKING:
    import datasets
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
"""What a suffix means, with or without `.gz` behind it."""
HEAD = 1000
"""Lines of a JSONL file within which every column has to appear."""


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


def read_columns(source: str, wanted: Collection[str], config: str | None, revision: str | None) -> Columns:
    """Returns the wanted columns of a file, a dataset folder or a Hugging Face dataset.

    UsageError where there is no such thing, W2SError where it cannot be read.
    """
    path = Path(source).expanduser()
    try:
        if path.is_file():
            return _read_file(path, wanted)
        if path.is_dir():
            return _read_dataset(str(path), wanted, config, None)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise W2SError(f"{source}: cannot be read: {hub.one_line(error)}") from error
    return _read_hub(_hub_name(source), wanted, config, revision)


def fingerprint(source: str, config: str | None, revision: str | None) -> str:
    """Returns sha256 of a file's or folder's content, or a Hugging Face dataset's `name[config]@commit`."""
    path = Path(source).expanduser()
    if path.is_file():
        return "sha256:" + _sha256(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        listing = "".join(f"{p.relative_to(path).as_posix()} {_sha256(p)}\n" for p in files)
        return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
    name = _hub_name(source)
    commit = hub.resolve_commit(name, "dataset", revision, "task.path")
    return f"{name}[{config}]@{commit}" if config else f"{name}@{commit}"


def column_names(source: str) -> list[str] | None:
    """Returns the names of a file's columns without reading it all; None where that cannot be known."""
    import pyarrow as pa
    import pyarrow.parquet

    path = Path(source).expanduser()
    kind, zipped = _format(path) if path.is_file() else (None, False)
    try:
        if kind in ("csv", "tsv"):
            return _header(path, zipped, _dialect(path, zipped, kind))
        if kind == "parquet" and not zipped:
            return pa.parquet.read_schema(path).names
        if kind == "json":
            with gzip.open(path, "rt", encoding="utf-8-sig") if zipped else open(path, encoding="utf-8-sig") as file:
                some = [json.loads(line) for line in itertools.islice(file, HEAD) if line.strip()]
            if some and all(isinstance(row, dict) for row in some):
                return list(dict.fromkeys(name for row in some for name in row))
    except (OSError, ValueError, EOFError, zlib.error):
        pass  # whoever reads the file says what is wrong with it
    return None


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- files


def _format(path: Path) -> tuple[str, bool]:
    """Returns the kind of file, and whether it is gzipped."""
    zipped = path.suffix == ".gz"
    suffix = Path(path.stem).suffix if zipped else path.suffix
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: unknown format {suffix or '(no suffix)'}; known: {', '.join(FORMATS)}, also .gz")
    return kind, zipped


def _read_file(path: Path, wanted: Collection[str]) -> Columns:
    kind, zipped = _format(path)
    if path.stat().st_size == 0:
        raise W2SError(f"{path}: the file is empty")
    if kind == "json":
        return _read_json(path, wanted, zipped)
    table = _read_delimited(path, zipped, kind) if kind in ("csv", "tsv") else _read_arrow(path, zipped, kind)
    return _from_arrow(table, wanted)


def _from_arrow(table: pa.Table, wanted: Collection[str]) -> Columns:
    values = {name: table[name].to_pylist() for name in table.column_names if name in wanted}
    return Columns(table.column_names, values, range(1, table.num_rows + 1))


def _read_delimited(path: Path, zipped: bool, kind: str) -> pa.Table:
    """Returns a CSV or TSV file, all strings: a text such as `5` or `1.0` stays what was written."""
    import pyarrow as pa
    import pyarrow.csv

    parse = _dialect(path, zipped, kind)
    strings = pa.csv.ConvertOptions(column_types=dict.fromkeys(_header(path, zipped, parse), pa.string()))
    with pa.input_stream(str(path), compression="gzip" if zipped else None) as stream:
        # One thread: only then do errors say in which row.
        options = pa.csv.ReadOptions(use_threads=False, block_size=1 << 24)
        return pa.csv.read_csv(stream, options, parse, strings)


def _dialect(path: Path, zipped: bool, kind: str) -> pa.csv.ParseOptions:
    """Returns how to parse: in TSV quotes are letters, as in GLUE's files, unless the header has them too, as R's."""
    import pyarrow.csv

    if kind == "csv":
        return pyarrow.csv.ParseOptions(newlines_in_values=True)
    with gzip.open(path) if zipped else open(path, "rb") as file:
        quoted = file.readline().lstrip(b"\xef\xbb\xbf").startswith(b'"')
    return pyarrow.csv.ParseOptions(delimiter="\t", quote_char='"' if quoted else False, newlines_in_values=quoted)


def _header(path: Path, zipped: bool, parse: pa.csv.ParseOptions) -> list[str]:
    import pyarrow as pa
    import pyarrow.csv

    with pa.input_stream(str(path), compression="gzip" if zipped else None) as stream:
        return pa.csv.open_csv(stream, parse_options=parse).schema.names


def _read_arrow(path: Path, zipped: bool, kind: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    source = pa.BufferReader(gzip.decompress(path.read_bytes())) if zipped else pa.memory_map(str(path))
    with source:
        if kind == "parquet":
            # threads of read_table may outlive the interpreter, and they hold what the source is made of
            return pa.parquet.ParquetFile(source, pre_buffer=False).read(use_threads=False)
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:  # the streaming form, in which `datasets` keeps its files
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()


def _read_json(path: Path, wanted: Collection[str], zipped: bool) -> Columns:
    """Returns JSON objects, one per line, or one list of them. Python's parser: it says in which line it stopped."""
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    with gzip.open(path, "rt", encoding="utf-8-sig") if zipped else open(path, encoding="utf-8-sig") as file:
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


# --- datasets


def _hub_name(source: str) -> str:
    """Returns the name of a Hugging Face dataset; UsageError where it can only have been a file's."""
    path = Path(source).expanduser()
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if hub.NAME.fullmatch(source) and suffix.lower() not in FORMATS:
        return source
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    where = "" if path.parent.is_dir() else f"; there is no folder {path.parent} either"
    raise UsageError(f"task.path={source}: no such file{nearest(path.name, siblings)}{where}")


def _read_hub(name: str, wanted: Collection[str], config: str | None, revision: str | None) -> Columns:
    commit = hub.resolve_commit(name, "dataset", revision, "task.path")
    try:
        return _read_dataset(name, wanted, config, commit)
    except (OSError, ValueError, RuntimeError) as error:  # what `datasets` raises: no files, no such config, scripts
        raise W2SError(
            f"Hugging Face dataset {name!r} at {commit[:12]} cannot be loaded: {hub.one_line(error)}; "
            "is task.config right? Another way: download a Parquet file of it and give its path"
        ) from error


def _read_dataset(name: str, wanted: Collection[str], config: str | None, commit: str | None) -> Columns:
    """Returns all splits of a dataset, one after another."""
    import datasets

    if commit is None and any((Path(name) / f).is_file() for f in ("dataset_dict.json", "state.json")):
        loaded = datasets.load_from_disk(name)
    else:
        loaded = datasets.load_dataset(name, config, revision=commit)
    parts: dict[str, datasets.Dataset] = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    split = [part for part, rows in parts.items() for _ in range(len(rows))]
    whole = datasets.concatenate_datasets(list(parts.values()))
    features = whole.features
    here = [c for c in features if c in wanted]
    table = whole.select_columns(here).with_format("arrow")[:] if here else None
    return Columns(
        list(features),
        {c: table[c].to_pylist() for c in here} if table is not None else {},
        range(1, len(whole) + 1),
        class_names={c: features[c].names for c in here if isinstance(features[c], datasets.ClassLabel)},
        split=split if len(parts) > 1 else None,
    )
