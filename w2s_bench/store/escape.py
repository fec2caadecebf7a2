"""Text out of records made harmless for each face: a record may come from anybody."""

from __future__ import annotations

import unicodedata

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


def plain(text: object) -> str:
    """Returns text on one line without control, format (bidi) and surrogate characters: safe on a terminal."""
    return "".join(" " if c in "\t\r\n" else c for c in str(text) if c in "\t\r\n" or _visible(c))


def _visible(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


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
