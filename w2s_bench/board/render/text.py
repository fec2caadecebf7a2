"""A board as text: terminal, Markdown, CSV, LaTeX, JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from w2s_bench.board.render import columns
from w2s_bench.board.render.columns import CELLS, OVERALL
from w2s_bench.board.render.formatting import BoardContent, look_of
from w2s_bench.board.render.table import FOOT, Section, head, sections
from w2s_bench.store import escape as untrusted

NOTES_SHOWN = 12
NAME_WIDTH = 22
"""Columns that names have beside the longest numbers on a terminal of 100."""


def as_json(board: BoardContent) -> str:
    """Returns the board's data; the same bytes for the same records."""
    return json.dumps(board.data, indent=1, sort_keys=False, allow_nan=False, ensure_ascii=True) + "\n"


def _notes(board: BoardContent) -> list[str]:
    return notes_shown(board.notes, "; --format json has them all")


def notes_shown(notes: list[str], where: str = "") -> list[str]:
    """Returns the first notes and how many more there are, `where` they all are."""
    more = len(notes) - NOTES_SHOWN
    return notes[:NOTES_SHOWN] + ([f"and {more} more lines like these{where}"] if more > 0 else [])


def as_table(board: BoardContent, wide: bool = False, width: int = 100, colour: bool = False) -> str:
    """Returns tables for a terminal of this many columns; `wide` shows every column and takes the room it needs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = io.StringIO()
    width = max(width, 240) if wide else width
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    for line in head(board.data):
        console.print(Text(untrusted.plain(line), style="bold red" if line.startswith("CONTROL") else ""))
    for section in sections(board.data):
        console.print()
        console.print(Text(untrusted.plain(section.title), style="bold"))
        for line in section.about:
            console.print(Text(untrusted.plain(line), style="dim"))
        keep = _shown(section, wide)
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
        for k in keep:
            column = section.columns[k]
            table.add_column(column.title, justify="right" if column.numeric else "left", overflow="fold", ratio=None,
                             no_wrap=k != 0)  # fmt: skip
        for row in section.rows:
            words = [untrusted.plain(row[k]) for k in keep]
            if not wide and len(words[0]) > NAME_WIDTH:  # broken between the parts of a stack, before options
                words[0] = words[0].replace("+", "+\n").replace("(", "\n(").replace(" \n(", "\n(")
            table.add_row(*(Text(word, style=STYLES.get(look_of(word), "")) for word in words))
        console.print(table)
    console.print()
    for line in FOOT:
        console.print(Text(line, style="dim"))
    for line in _notes(board):
        console.print(Text(f"note: {untrusted.plain(line)}", style="yellow"))
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


STYLES = {"better": "bold green", "worse": "red", "warn": "yellow"}


def _shown(section: Section, wide: bool) -> list[int]:
    return [k for k, column in enumerate(section.columns) if wide or not column.wide]


def as_markdown(board: BoardContent) -> str:
    """Returns GitHub Markdown tables."""
    lines = [f"{untrusted.markdown(line)}  " for line in head(board.data)]
    for section in sections(board.data):
        lines += ["", f"### {untrusted.markdown(section.title)}", ""]
        lines += [f"{untrusted.markdown(line)}  " for line in section.about] + [""]
        lines.append("| " + " | ".join(c.title for c in section.columns) + " |")
        lines.append("|" + "|".join("---:" if c.numeric else "---" for c in section.columns) + "|")
        lines += ["| " + " | ".join(untrusted.markdown(cell) for cell in row) + " |" for row in section.rows]
    lines += ["", *(f"{line}  " for line in FOOT)]
    lines += ["", *(f"- {untrusted.markdown(line)}" for line in _notes(board))] if board.notes else []
    return "\n".join(lines) + "\n"


def as_latex(board: BoardContent) -> str:
    """Returns booktabs tables, shrunk where wider than the text; the document needs the four packages of its head."""
    lines = ["% needs \\usepackage{booktabs,graphicx,textcomp} and \\usepackage[T1]{fontenc}"]
    for line in [*head(board.data), *FOOT, *_notes(board)]:
        lines.append(f"% {untrusted.plain(line)}")
    for section in sections(board.data):
        keep = _shown(section, False)
        lines += ["\\begin{table}", "\\centering\\footnotesize", f"\\caption{{{untrusted.latex(section.title)}.}}"]
        lines.append("\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%")
        lines.append("\\begin{tabular}{" + "".join("r" if section.columns[k].numeric else "l" for k in keep) + "}")
        lines += [
            "\\toprule",
            " & ".join(untrusted.latex(section.columns[k].title) for k in keep) + " \\\\",
            "\\midrule",
        ]
        # braces keep a cell that starts with a bracket from being read as an option of the row before
        lines += [" & ".join(f"{{{untrusted.latex(row[k])}}}" for k in keep) + " \\\\" for row in section.rows]
        lines += ["\\bottomrule", "\\end{tabular}}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def as_csv(board: BoardContent) -> str:
    """Returns one line for each row, the overall rows first (their `task` is empty), with every column there is."""
    varied = tuple(board.data.get("varied", ()))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["kind", *varied, *(name for column in columns.COLUMNS for name in column.names)])
    for kind, rows in ((OVERALL, board.data["overall"]), (CELLS, board.data["rows"])):
        for row in rows:
            settings = [(row.get("varied") or {}).get(name) for name in varied]
            values = [value for column in columns.COLUMNS for value in column.values(row)]
            writer.writerow([_csv_cell(value) for value in (kind, *settings, *values)])
    return out.getvalue()


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, int | float) else untrusted.spreadsheet(value)
