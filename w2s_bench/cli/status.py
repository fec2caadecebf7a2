"""The verbs of this room: status, cancel and doctor."""

from __future__ import annotations

import sys

import click

from w2s_bench.cli.main import write_json, write_line


def add_commands(cli: click.Group) -> None:
    """Adds this room's verbs to the `w2s` group."""
    cli.add_command(status)
    cli.add_command(cancel)
    cli.add_command(doctor)


@click.command()
@click.option("--store", metavar="DIR", help="Store to look into. [W2S_STORE, else ./w2s-runs]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(store: str | None, as_json: bool) -> None:
    """What is done, running, failed and to do; time and cost so far and left."""
    from w2s_bench.referee.status import describe, look

    state = look(store)
    if as_json:
        write_json(state)
    else:
        click.echo(describe(state))


@click.command()
@click.option("--store", metavar="DIR", help="Store whose sweeps end. [W2S_STORE, else ./w2s-runs]")
def cancel(store: str | None) -> None:
    """Ends the sweeps that run on a store, as Ctrl-C does, and their jobs of SLURM; the same command goes on."""
    from w2s_bench.referee.cancel import cancel_sweeps

    for line in cancel_sweeps(store):
        write_line(line)


@click.command()
@click.option("--store", metavar="DIR", help="Store to check. [W2S_STORE, else ./w2s-runs]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(store: str | None, as_json: bool) -> None:
    """Versions, devices, caches, plugins, hub access: what works and what to do about what doesn't."""
    from w2s_bench.referee.doctor import examine

    findings = examine(store)
    if as_json:
        write_json([vars(f) for f in findings])
    else:
        for f in findings:
            mark = {"ok": "ok  ", "note": "note", "wrong": "FAIL"}[f.state]
            write_line(f"{mark}  {f.what}: {f.description}")
            if f.remedy:
                write_line(f"      {f.remedy}")
    if any(f.state == "wrong" for f in findings):
        sys.exit(1)
