"""Columns of a source, a file, a dataset folder or a Hugging Face dataset, and what identifies it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from w2s_bench import hub
from w2s_bench.errors import UsageError, W2SError, nearest
from w2s_bench.plugins.tables.content import check_encoding, compression_of
from w2s_bench.plugins.tables.files import FORMATS, UNREADABLE, Columns, names_of, read_file

if TYPE_CHECKING:
    import datasets


def read_columns(
    source: str, wanted: Collection[str], config: str | None, revision: str | None, encoding: str
) -> Columns:
    """Returns the wanted columns of a file, a dataset folder or a Hugging Face dataset.

    UsageError where there is no such thing, W2SError where it cannot be read.
    """
    path = Path(source).expanduser()
    try:
        if path.is_file():
            return read_file(path, wanted, encoding)
        if path.is_dir():
            return _read_dataset(str(path), wanted, config, None)
    except UNREADABLE as error:
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


def column_names(source: str, encoding: str) -> list[str] | None:
    """Returns the names of a file's columns without reading it all; None where that cannot be known."""
    check_encoding(encoding)
    path = Path(source).expanduser()
    return names_of(path, encoding) if path.is_file() else None


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- datasets


def _hub_name(source: str) -> str:
    """Returns the name of a Hugging Face dataset; UsageError where it can only have been a file's."""
    path = Path(source).expanduser()
    suffix = (Path(path.stem) if compression_of(path) else path).suffix
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
