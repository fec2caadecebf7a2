"""The verbs of this room: board, plot, import, verify."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

FORMATS = ("table", "json", "md", "csv", "latex", "html")
STORE = click.option(
    "--store", "stores", multiple=True, metavar="DIR", help="Store to read; may be given more than once. [W2S_STORE]"
)


def add_commands(cli: click.Group) -> None:
    """Adds this room's verbs to the `w2s` group."""
    cli.add_command(board)


def stores_of(given: tuple[str, ...]) -> list[Path]:
    """Returns the stores that were named, else W2S_STORE, else ./w2s-runs."""
    return [Path(p) for p in given or (os.environ.get("W2S_STORE") or "w2s-runs",)]


def write_or_print(text: str, out: str | None) -> None:
    """Prints, or writes a file whole."""
    if out is None:
        sys.stdout.write(text)
        return
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)


@click.command()
@STORE
@click.option("--suite", help="Only the cells of this suite.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--wide", is_flag=True, help="Every column of the table.")
@click.option("-o", "out", metavar="PATH", help="Write a file instead of printing.")
def board(stores: tuple[str, ...], suite: str | None, format_: str, wide: bool, out: str | None) -> None:
    """The board, from records and score files alone."""
    from w2s_bench.board import build_board, render

    made = build_board(stores_of(stores), suite)
    terminal = out is None and sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if terminal else 100
    colour = terminal and "NO_COLOR" not in os.environ
    write_or_print(render(made, format_, wide=wide, width=width, colour=colour), out)
