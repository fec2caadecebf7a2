"""The verb that checks stores: verify."""

from __future__ import annotations

import re
import secrets
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from w2s_bench.cli.main import Session, write_json, write_line
from w2s_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from w2s_bench.referee.rerun import Rerun, Rerunning


def add_commands(cli: click.Group) -> None:
    """Adds verify to the `w2s` group."""
    cli.add_command(verify)


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--rerun", "k", type=click.IntRange(1), metavar="K", help="Run K cells drawn at random again, and compare."
)
@click.option("--seed", type=int, help="Draw the cells that this number drew.  [default: a new draw, shown]")
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="OVERRIDE",
    help="For reruns, what records do not hold: task.path=FILE, hardware=gpu. May be given more than once.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
@click.pass_obj
def verify(
    session: Session, path: Path, k: int | None, seed: int | None, given: tuple[str, ...], as_json: bool
) -> None:
    """Checks a store: digests, scores against predictions, numbers against counts. Reruns cells of it, where asked."""
    from w2s_bench.store.verify import verify_store

    if k is None and (given or seed is not None):
        raise UsageError("--seed and --set go with --rerun K")
    done = verify_store(path)
    found: dict[str, Any] = {**vars(done), "sound": done.sound}
    if not as_json:
        for line in done.problems:
            write_line(line)
        for line in done.notes:
            write_line(f"note: {line}")
        counts = f"{done.records} records, {done.predictions} prediction files, {done.scores} score files"
        click.echo(f"{counts}: {'all hold' if done.sound else f'{len(done.problems)} problems'}")
    sound, interrupted = done.sound, False
    if k is not None:
        from w2s_bench.referee.rerun import ACCURACY, CHANGED, rerun_cells

        again = rerun_cells(path, k, secrets.randbelow(10**6) if seed is None else seed, session.registry, given)
        sound, interrupted = sound and again.sound, again.interrupted
        tolerance = {"changed": CHANGED, "accuracy": ACCURACY}
        found["rerun"] = {**asdict(again), "sound": again.sound, "tolerance": tolerance}
        if not as_json:
            for line in _lines(again):
                write_line(line)
    if as_json:
        write_json(found)
    if not sound:
        sys.exit(130 if interrupted else 1)


MARKS = {"equal": "equal  ", "within": "within ", "out": "OUT    ", "not rerun": "NOT RUN"}


def _lines(again: Rerunning) -> Iterator[str]:
    from w2s_bench.referee.rerun import ACCURACY, CHANGED

    for row in again.cells:
        yield f"{MARKS[row.state]}  {row.cell}: {_said(row)}"
    yield f"{len(again.cells)} of {again.of} cells drawn; --seed {again.seed} draws them again"
    yield (
        "equal: every published bit; within: at most "
        f"{CHANGED:.0%} of the answers and {ACCURACY} of floor, student and ceiling accuracy differ"
    )
    others = {name: words for row in again.cells for name, words in row.differs.items()}
    for name, (before, now) in others.items():
        yield f"note: other {name}: {_short(before)} in the record, {_short(now)} here"
    if any(row.state == "not rerun" for row in again.cells):
        yield "Paths are cut to their last part in records: give them with --set, plugins with --plugins."


def _said(row: Rerun) -> str:
    if row.changed is None:
        return str(row.reason)
    accuracy = ", ".join(f"{side} {old:.4f} -> {new:.4f}" for side, (old, new) in row.accuracy.items() if old != new)
    return f"{row.changed:.2%} of the answers differ; {accuracy or 'accuracies are the same'}"


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{32,64}", text) else text
