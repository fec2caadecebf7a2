"""Renders a board: text, tables, one page."""

from __future__ import annotations

from w2s_bench.board.render.formatting import BoardContent
from w2s_bench.board.render.text import as_csv, as_json, as_latex, as_markdown, as_table
from w2s_bench.errors import UsageError

FORMATS = ("table", "json", "md", "csv", "latex", "html")


def render(
    board: BoardContent, format: str = "table", *, wide: bool = False, width: int = 100, colour: bool = False
) -> str:
    """Returns the board's text in one of FORMATS; `wide`, `width` (columns) and `colour` concern the table alone."""
    if format == "table":
        return as_table(board, wide, width, colour)
    if format == "html":
        from w2s_bench.board.render.page import as_page

        return as_page([board])
    renderers = {"json": as_json, "md": as_markdown, "csv": as_csv, "latex": as_latex}
    if format not in renderers:
        raise UsageError(f"format {format!r} is none of {', '.join(FORMATS)}")
    return renderers[format](board)
