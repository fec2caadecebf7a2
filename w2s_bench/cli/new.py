"""The verb new."""

from __future__ import annotations

from pathlib import Path

import click

from w2s_bench.cli.main import Session
from w2s_bench.errors import UsageError


def add_commands(cli: click.Group) -> None:
    """Adds new to the `w2s` group."""
    cli.add_command(new)


@click.command()
@click.argument("kind")
@click.argument("name")
@click.option("--dir", "folder", metavar="D", default=".", help="Where the new folder goes. [the current one]")
@click.pass_context
def new(ctx: click.Context, kind: str, name: str, folder: str) -> None:
    """A plugin to start from, in a new folder NAME: one file that works, its test, and what makes it installable.

    KIND is mitigation, task, supervisor, student or metric.
    """
    from w2s_bench import starters

    session = ctx.find_object(Session)
    assert session is not None
    registry = session.registry
    taken = registry.metrics if kind == "metric" else registry.names(kind) if kind in starters.CHOICES else ()
    if name in taken:
        raise UsageError(f"NAME '{name}': {registry.origin(kind, name)[0]} has a {kind} of this name; take another")
    written = starters.write(kind, name, Path(folder))
    for path in written:
        click.echo(f"{path}  {len(path.read_text().splitlines())} lines")
    place = written[0].parent
    click.echo(f"Next: w2s check {place}, then change {written[0].name}; README.md there says more")
