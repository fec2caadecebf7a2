"""What is in a file: its bytes decompressed, its text decoded, and what to do where either fails."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from w2s_bench.errors import UsageError, W2SError, nearest

SIGNATURES = {
    b"\x1f\x8b": "gzip (.gz)",
    b"BZh": "bzip2 (.bz2)",
    b"\xfd7zXZ": "xz (.xz)",
    b"\x28\xb5\x2f\xfd": "Zstandard (.zst)",
    b"PK\x03\x04": "a zip archive, as of a spreadsheet",
    b"PAR1": "Parquet (.parquet)",
    b"ARROW1": "Arrow (.arrow)",
}
"""How content begins that is no text."""
BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
ENCODINGS = ("utf-8", "cp1252", "latin-1")
"""Tried in this order on what the given encoding cannot read; the last one reads any bytes."""
KNOWN = ("utf-8", "utf-16", "latin-1", "cp1252", "cp1251", "shift_jis", "gb18030", "euc_kr", "big5", "iso8859-15")
"""Of Python's encodings, those that tables most often come in."""


def _zstandard(path: Path) -> Any:
    import pyarrow as pa

    return pa.input_stream(str(path), compression="zstd")


COMPRESSIONS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _zstandard,
}
"""By suffix: returns a file's content as a stream."""


def compression_of(path: Path) -> str:
    """Returns the suffix of a file's compression, "" where it has none."""
    suffix = path.suffix.lower()
    return suffix if suffix in COMPRESSIONS else ""


def open_bytes(path: Path) -> Any:
    """Returns a file's content as a stream of bytes, decompressed."""
    compression = compression_of(path)
    return COMPRESSIONS[compression](path) if compression else open(path, "rb")


@contextmanager
def open_text(path: Path, encoding: str) -> Iterator[TextIO]:
    """Gives a file's content as text, without a byte order mark; W2SError where it is visibly no text."""
    name = check_encoding(encoding)
    with open_bytes(path) as stream:
        head = stream.read(4096)
    for signature, meaning in SIGNATURES.items():
        if head.startswith(signature):
            raise W2SError(f"{path}: no text: its content is {meaning}; give the file that suffix")
    if 4 * head.count(0) > len(head) and not name.startswith(("utf-16", "utf-32")):
        raise undecodable(path, encoding)
    with (
        open_bytes(path) as stream,
        io.TextIOWrapper(stream, "utf-8-sig" if name == "utf-8" else name, newline="") as text,
    ):
        yield text


def check_encoding(encoding: str) -> str:
    """Returns the standard name of a text encoding, or raises UsageError."""
    try:
        codec = codecs.lookup(encoding)
        if codec._is_text_encoding:  # type: ignore[attr-defined]
            return codec.name
    except LookupError:
        pass
    close = nearest(encoding, KNOWN) or f"; some of those it knows: {', '.join(KNOWN)}"
    raise UsageError(f"task.encoding={encoding}: Python knows no such text encoding{close}")


def undecodable(path: Path, encoding: str) -> W2SError:
    """Returns the error for a file that is not in the given encoding, with one that reads it."""
    with open_bytes(path) as stream:
        head = stream.read(4096)
    other = next((name for mark, name in BOMS.items() if head.startswith(mark)), None)
    if other is None and 4 * head.count(0) > len(head):
        other = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    if other is not None and other == check_encoding(encoding):
        return W2SError(f"{path}: begins as {encoding} but is not in it throughout; is the file whole?")
    doubt = ""
    if other is None:
        other = next(name for name in ENCODINGS if name == ENCODINGS[-1] or _decodes(path, name))
        doubt = "" if other == "utf-8" else "; if letters then look wrong, it was written in another one"
    return W2SError(f"{path}: the text is not in {encoding}; task.encoding={other} reads it{doubt}")


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with open_bytes(path) as stream:
        try:
            while part := stream.read(1 << 20):
                decoder.decode(part)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
    return True
