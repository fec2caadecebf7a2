"""The verbs that run cells: run and suite."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from w2s_bench.cli.main import Session
from w2s_bench.errors import UsageError

if TYPE_CHECKING:
    from w2s_bench.cells import Cell, Run

STORE = click.option("--store", metavar="DIR", help="Where records go. [W2S_STORE, else ./w2s-runs]")
RETRY = click.option("--retry", type=click.Choice(["failed"]), help="Run cells again that failed before.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print commands, hours and memory; run nothing.")
CONFIG = click.option("--config-dir", "-cd", "config_dir", metavar="DIR", help="Config groups of your own.")


def add_commands(cli: click.Group) -> None:
    """Adds run and suite to the `w2s` group."""
    cli.add_command(run)
    cli.add_command(suite)


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("-m", "--multirun", is_flag=True, help="A sweep over all values given.")
@DRY_RUN
@RETRY
@STORE
@CONFIG
@click.pass_obj
def run(
    session: Session,
    overrides: tuple[str, ...],
    multirun: bool,
    dry_run: bool,
    retry: str | None,
    store: str | None,
    config_dir: str | None,
) -> None:
    """Run one cell, or a sweep with -m; `w2s run --help` is answered by Hydra."""
    flags = [o for o in overrides if o.startswith("-")]
    if flags:
        _hand_over(session, flags, overrides, multirun, config_dir)
        return
    from w2s_bench.compose.runs import cells

    folders = [config_dir] if config_dir else []
    composed = cells(overrides, multirun, session.registry, folders, store=store, retry_failed=retry is not None)
    if dry_run:
        _preview(session, composed)
        return
    outcome = _carry_out(session, composed)
    where = "" if composed.store == "w2s-runs" else f" --store {shlex.quote(composed.store)}"
    click.echo(f"{outcome.ok + outcome.skipped} of {len(composed.cells)} cells are done; `w2s board{where}` shows them")
    _leave(outcome)


@click.command()
@click.argument("name")
@click.argument("overrides", nargs=-1)
@DRY_RUN
@RETRY
@STORE
@CONFIG
@click.pass_obj
def suite(
    session: Session,
    name: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    retry: str | None,
    store: str | None,
    config_dir: str | None,
) -> None:
    """Run or resume the suite NAME, then print its board. Overrides replace its own: `w2s suite quick seed=0,1`."""
    from w2s_bench.compose import suites

    folders = [config_dir] if config_dir else []
    chosen = suites.find(name, session.registry, folders)
    composed = suites.compose(
        chosen, overrides, session.registry, folders, store=store, retry_failed=retry is not None
    )  # fmt: skip
    if dry_run:
        _preview(session, composed)
        return
    outcome = _carry_out(session, composed)
    _print_board(composed)
    _leave(outcome)


def _hand_over(
    session: Session, flags: list[str], overrides: tuple[str, ...], multirun: bool, config_dir: str | None
) -> None:
    from w2s_bench.compose import hydra_cli
    from w2s_bench.errors import nearest

    known = (*hydra_cli.FLAGS, *hydra_cli.COMPANION_FLAGS)
    ours = ("--multirun", "--retry", "--store", "--plugins", "--debug")
    for flag in (f.partition("=")[0] for f in flags):
        if flag not in known:
            raise UsageError(f"no such option '{flag}'{nearest(flag, (*known, *ours)) or ';'} `w2s run --help`")
    if not any(f.partition("=")[0] in hydra_cli.FLAGS for f in flags):
        raise UsageError(f"{flags[0]} goes with --cfg or --info; `w2s run --help`")
    folder = [f"--config-dir={config_dir}"] if config_dir else []
    hydra_cli.show([*overrides, *folder, *(["--multirun"] if multirun else [])], session.registry)


def _preview(session: Session, composed: Run) -> None:
    """Prints the commands of the cells; on stderr what they will take and what they can find."""
    from w2s_bench.cli import estimate

    trials = _announce_trials(session, composed)
    for command in composed.commands:
        click.echo(command)
    click.echo(f"{len(composed.cells)} cells; nothing was run", err=True)
    for line in estimate.lines(composed, trials, session.registry):
        click.echo(line, err=True)
    click.echo(_power(composed), err=True)


def _carry_out(session: Session, composed: Run) -> Any:
    from w2s_bench.api import carry_out

    _announce_trials(session, composed)
    return carry_out(composed, session.registry)


def _announce_trials(session: Session, composed: Run) -> list[Cell]:
    if composed.tuning is None:
        return []
    from w2s_bench.compose.tuning import trials

    tried = trials(composed, composed.tuning, session.registry).cells
    seeds = ", ".join(map(str, composed.tuning.seeds))
    click.echo(f"{len(tried)} trials on seeds {seeds} choose the options first, by weak validation labels", err=True)
    return tried


def _power(composed: Run) -> str:
    from w2s_bench.board.power import plan_of, sentence

    plan = plan_of(composed.cells)
    return sentence(plan) if plan else "power: none; nothing is compared with naive on two seeds or more"


def _print_board(composed: Run) -> None:
    from w2s_bench import exchange
    from w2s_bench.board import build_board
    from w2s_bench.board.render import render

    board = build_board([composed.store], composed.suite)
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if terminal else 100
    click.echo(render(board, "table", width=width, colour=terminal and "NO_COLOR" not in os.environ))
    page = Path(composed.store) / "board.html"
    exchange.write_bytes(page, render(board, "html").encode())
    click.echo(f"page: {page}")


def _leave(outcome: Any) -> None:
    if outcome.interrupted:
        sys.exit(130)
    if outcome.failed:
        sys.exit(1)
