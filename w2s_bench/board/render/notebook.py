"""A board in a notebook: its tables as a piece of HTML, without scripts or styles of their own."""

from __future__ import annotations

from html import escape

from w2s_bench.board.render.formatting import BoardContent
from w2s_bench.board.render.table import FOOT, Section, head, sections
from w2s_bench.board.render.text import notes_shown
from w2s_bench.store.escape import plain


def as_fragment(board: BoardContent) -> str:
    """Returns the board's tables as HTML elements: the first one open, those of single groups folded away."""
    lines = [_paragraph(line) for line in head(board.data)]
    for index, section in enumerate(sections(board.data)):
        is_open = " open" if index == 0 else ""
        lines += [f"<details{is_open}><summary><b>{_text(section.title)}</b></summary>"]
        lines += [_paragraph(line) for line in section.about]
        lines += [_table(section), "</details>"]
    lines += [f"<small>{_text(line)}</small><br>" for line in FOOT]
    lines += [_paragraph(f"note: {line}") for line in notes_shown(board.notes, "; `board.notes` has them all")]
    return "\n".join(lines)


def _table(section: Section) -> str:
    titles = "".join(f"<th>{_text(column.title)}</th>" for column in section.columns)
    rows = [
        "".join(
            f'<td style="text-align: {"right" if column.numeric else "left"}">{_text(cell)}</td>'
            for column, cell in zip(section.columns, row, strict=True)
        )
        for row in section.rows
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table>"


def _paragraph(line: str) -> str:
    return f"<p>{_text(line)}</p>"


def _text(line: str) -> str:
    return escape(plain(line))
