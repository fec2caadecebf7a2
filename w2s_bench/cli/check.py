"""The verb check."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from w2s_bench.cli.main import Session, prints_apart, write_json
from w2s_bench.errors import UsageError


def add_commands(cli: click.Group) -> None:
    """Adds check to the `w2s` group."""
    cli.add_command(check)


@click.command()
@click.argument("target")
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.option("--task", metavar="NAME", help="Task that supervisors and students are tried on.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def check(ctx: click.Context, target: str, options: tuple[str, ...], task: str | None, as_json: bool) -> None:
    """Conformance of a plugin. TARGET is a name, a .py file, a folder with a distribution, or a module.

    OPTION=VALUE gives a plugin what it needs, such as `w2s check table path=reviews.csv`.
    """
    from w2s_bench import conformance

    session = ctx.find_object(Session)
    assert session is not None
    registry, values = session.registry, dict(map(_pair, options))
    with prints_apart("printed by the plugin while it was tried"):
        report = conformance.check(target, options=values, task=task, registry=registry)
    if as_json:
        write_json(report.as_dict())
    else:
        click.echo(report.text(shutil.get_terminal_size((100, 24)).columns, colour=sys.stdout.isatty()))
    if not report.passed:
        sys.exit(1)


def _pair(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UsageError(f"{word}: an option is written OPTION=VALUE")
    from hydra.errors import HydraException

    from w2s_bench.compose.values import read

    try:  # options make numbers of texts where they are numbers
        return name.rpartition(".")[2], read(value).typed if value else ""
    except HydraException as e:
        raise UsageError(f"{word}: the value cannot be read: {' '.join(str(e).split())}; put it in quotes") from e
