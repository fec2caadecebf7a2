"""The verbs of this room: board, plot, import."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from w2s_bench.cli.main import write_line

FORMATS = ("table", "json", "md", "csv", "latex", "html")
KINDS = ("mitigations", "scaling", "varied", "stack", "imitation", "cost", "reliability")
STORE = click.option(
    "--store", "stores", multiple=True, metavar="DIR", help="Store to read; can be repeated. [W2S_STORE]"
)


def add_commands(cli: click.Group) -> None:
    """Adds this room's verbs to the `w2s` group."""
    for command in (board, plot, import_):
        cli.add_command(command)


def write_or_print(text: str, out: str | None) -> None:
    """Prints, or writes a file whole."""
    if out is None:
        sys.stdout.write(text)
        return
    from w2s_bench import exchange

    exchange.write_bytes(Path(out), text.encode())


@click.command()
@STORE
@click.option("--suite", help="Only the cells of this suite.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--wide", is_flag=True, help="Every column of the table.")
@click.option("-o", "out", metavar="PATH", help="Write a file instead of printing.")
def board(stores: tuple[str, ...], suite: str | None, format_: str, wide: bool, out: str | None) -> None:
    """The board, from records and score files alone."""
    from w2s_bench.board import build_board
    from w2s_bench.board.render import render
    from w2s_bench.store.files import stores_of

    made = build_board(stores_of(stores), suite)
    terminal = out is None and sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if terminal else 100
    colour = terminal and "NO_COLOR" not in os.environ
    write_or_print(render(made, format_, wide=wide, width=width, colour=colour), out)


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@STORE
@click.option("--suite", help="Only the cells of this suite.")
@click.option("-o", "out", metavar="PATH", help="File to write: .svg, .png or .pdf.  [default: KIND.svg]")
def plot(kind: str, stores: tuple[str, ...], suite: str | None, out: str | None) -> None:
    """A picture: of mitigations with intervals, scaling, stacks, imitation, cost, reliability."""
    from w2s_bench.board import build_board
    from w2s_bench.board.render.plots import draw_plot
    from w2s_bench.store.files import stores_of

    path = Path(out or f"{kind}.svg")
    made = build_board(stores_of(stores), suite)
    data = made.data
    if kind == "reliability":
        from w2s_bench.board.render.reliability import with_reliability
        from w2s_bench.board.render.text import notes_shown

        notes: list[str] = []
        data = with_reliability(made, notes)
        for line in notes_shown(notes):
            write_line(f"note: {line}", err=True)
    picture = draw_plot(kind, data, path.suffix.lstrip(".").lower())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
    click.echo(f"wrote {path}")


@click.command("import")
@click.argument("format_", metavar="FORMAT", type=click.Choice(("aar", "openai-w2s")))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--store", metavar="DIR", help="Store to write the records into.  [W2S_STORE, else w2s-runs]")
def import_(format_: str, path: Path, store: str | None) -> None:
    """Records from other tools' result files, and the PGRs that they give; FORMAT is aar or openai-w2s."""
    import tempfile

    from w2s_bench.board import build_board
    from w2s_bench.store.files import StoreFiles, stores_of
    from w2s_bench.store.importers import import_results, write_records
    from w2s_bench.store.records import read_record

    made = import_results(format_, path)
    target = stores_of((store,) if store else ())[0]
    write_records(made, target)
    with tempfile.TemporaryDirectory() as alone:
        write_records(made, Path(alone))
        data = build_board([alone]).data
    for line in [*made.notes, *data["notes"]]:
        write_line(f"note: {line}", err=True)
    for row in data["rows"]:
        where = f"{row['task']}  {'+'.join(row['supervisors'])} > {row['student']}  {row['mitigation']}"
        write_line(f"{where}: {_pgr(row)}, {len(row['seeds'])} seeds")
    files = StoreFiles(target)
    held = {r.protocol for name in files.names("records", ".json") for r in read_record(files, name, [])}
    if held - {r["protocol"] for r in made.records}:
        write_line(
            f"note: {target} has records of other protocols too, a board shows one: import into another --store", True
        )
    click.echo(f"{len(made.records)} records in {target}; see them with: w2s board --store {target}")


def _pgr(row: dict[str, Any]) -> str:
    pgr = row["pgr"]
    if pgr is None:
        return f"no PGR: {row['no_gap']}" if row.get("no_gap") else row["status"].replace("_", " ")
    return f"PGR {pgr['mean']:.3f} [{pgr['low']:.3f}, {pgr['high']:.3f}]"
