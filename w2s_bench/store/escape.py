"""Text of plugins, files and records made harmless for each output: anybody may have written it.

What comes from them is cut and cleaned by `plain` where it enters a message, a table or a record. The streams of the
command line are guarded as well (`guarded_output`): what slips by, or what a plugin prints, cannot steer a terminal.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

LIMIT = 2_000
"""Characters that are kept of one text where nothing else is asked for."""
SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC and its like
    r"|\x1b[ -/]*[0-~]"
)
"""Whole escape sequences of a terminal."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 but for tab and line feed, C1, what turns the direction of writing, line separators, halves of pairs."""
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in r"\`*_[]#|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "`": r"\textasciigrave{}",
    }
    | {
        "–": "--",
        "−": "$-$",
        "×": r"$\times$",
        "Δ": r"$\Delta$",
        "·": r"$\cdot$",
        "±": r"$\pm$",
        "'": r"\textquotesingle{}",
    }
)


def plain(text: object, limit: int = LIMIT) -> str:
    """Returns text on one line without control, format (bidi) and surrogate characters, cut to about `limit`."""
    whole = str(text)
    shown = whole[: 50 * limit]  # sequences take room, but not without end
    if not (shown.isascii() and shown.isprintable()):
        shown = SEQUENCE.sub("", shown)
        shown = "".join(" " if c in "\t\r\n" else c for c in shown if c in "\t\r\n" or _is_visible(c))
    return _ended(shown[:limit], whole) if len(shown) > limit or len(whole) > 50 * limit else shown


def plain_lines(text: object, limit: int = 10 * LIMIT) -> str:
    """Returns the same for text of several lines, which stay lines."""
    return "\n".join(plain(line) for line in cut(str(text), limit).split("\n"))


def cut(text: str, limit: int) -> str:
    """Returns the text, or its beginning and how much more there is."""
    return text if len(text) <= limit else _ended(text[:limit], text)


def _ended(beginning: str, whole: str) -> str:
    return f"{beginning} ... ({len(whole) - len(beginning):,} more characters)"


def message_of(error: BaseException) -> str:
    """Returns an exception's message, its type where it has none, whatever a plugin makes of `__str__`."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        return f"{type(error).__name__}, whose message cannot be read"


def of_error(error: BaseException) -> str:
    """Returns an exception's type and message: `ValueError: no such file`."""
    name, message = type(error).__name__, message_of(error)
    return message if message.startswith(name) else f"{name}: {message}"


def bounded(value: Any, limit: int = 5 * LIMIT) -> Any:
    """Returns a JSON-able value in which every text is cut and has no control codes; line feeds stay."""
    if isinstance(value, dict):
        return {bounded(str(k), limit): bounded(v, limit) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [bounded(v, limit) for v in value]
    if not isinstance(value, str):
        return value
    text = cut(value, limit)
    return text if text.isascii() and text.isprintable() else DANGEROUS.sub("", SEQUENCE.sub("", text))


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


class GuardedStream(io.TextIOBase):
    """A text stream that lets no control code through but tab and line feed, on a terminal colours too.

    `copy` gets everything as it comes; lines longer than `width` are cut.
    """

    def __init__(self, stream: TextIO, copy: TextIO | None = None, width: int | None = None) -> None:
        self.unguarded = stream
        self._keep_colour = stream.isatty()
        self._copy, self._width, self._column = copy, width, 0

    def write(self, text: str) -> int:
        """Writes what is left of the text; returns the length of the whole."""
        if not isinstance(text, str):
            raise TypeError(f"write() takes text, not {type(text).__name__}")
        length = len(text)
        if self._copy is not None:
            self._copy.write(text)
        if self._width is not None:
            text = "".join(self._cut(line, self._width) for line in text.splitlines(keepends=True))
        if DANGEROUS.search(text):
            pieces = COLOUR.split(text) if self._keep_colour else [text]
            colours = [*COLOUR.findall(text), ""] if self._keep_colour else [""]
            cleaned = (DANGEROUS.sub("", SEQUENCE.sub("", piece)) for piece in pieces)
            self.unguarded.write("".join(c + colour for c, colour in zip(cleaned, colours, strict=True)))
        else:
            self.unguarded.write(text)
        return length

    def _cut(self, line: str, width: int) -> str:
        room, self._column = max(0, width - self._column), self._column + len(line)
        shown = line if len(line) <= room else f"{line[:room]} ..." if room else ""
        if line.endswith("\n"):
            self._column = 0
            return shown if shown.endswith("\n") else shown + "\n"
        return shown

    def close(self) -> None:
        """Leaves the guarded stream open: it belongs to somebody else."""

    def flush(self) -> None:
        self.unguarded.flush()

    def isatty(self) -> bool:
        return self.unguarded.isatty()

    def fileno(self) -> int:
        return self.unguarded.fileno()

    def writable(self) -> bool:
        return True

    @property
    def buffer(self) -> Any:
        return self.unguarded.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.unguarded.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.unguarded.errors


@contextlib.contextmanager
def guarded_output() -> Iterator[None]:
    """Guards standard output and error; what their encoding lacks is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if ascii_only else None, errors="backslashreplace")
    with contextlib.redirect_stdout(GuardedStream(sys.stdout)), contextlib.redirect_stderr(GuardedStream(sys.stderr)):
        yield


def markdown(text: object) -> str:
    """Returns text for a Markdown table's cell, without any markup of its own, autolinks included."""
    shown = plain(text).translate(_MARKDOWN).replace("://", ":&#47;&#47;").replace("www.", "www&#46;")
    return f"\\{shown}" if shown[:2] in ("+ ", "- ") else shown


def latex(text: object) -> str:
    """Returns text for LaTeX; letters beyond Latin-1 that pdflatex may lack become `?`."""
    out = []
    for char in plain(text):
        out.append(char.translate(_LATEX) if ord(char) < 0x100 or ord(char) in _LATEX else "?")
    return "".join(out)


def spreadsheet(text: object) -> str:
    """Returns text for a CSV cell that no spreadsheet takes for a formula."""
    shown = plain(text)
    risky = shown.lstrip(" ")[:1] in {"=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠"}
    return f"'{shown}" if risky else shown
