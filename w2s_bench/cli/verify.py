"""The verbs that check stores and put them together: verify, merge."""

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

    from w2s_bench.referee.rerun import Rerun, RerunReport


def add_commands(cli: click.Group) -> None:
    """Adds this room's verbs to the `w2s` group."""
    cli.add_command(verify)
    cli.add_command(merge)


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--rerun", "k", type=click.IntRange(1), metavar="K", help="Run K cells drawn at random again, and compare."
)
@click.option("--seed", type=int, help="Draw the cells that this number drew.  [default: a new draw, shown]")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="OVERRIDE",
    help="For reruns, what records do not contain: task.path=FILE, hardware=gpu. Can be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
@click.pass_obj
def verify(
    session: Session, path: Path, k: int | None, seed: int | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Checks a store: digests, scores against predictions, numbers against counts. Reruns cells of it, where asked."""
    from w2s_bench.store.verify import verify_store

    if k is None and (overrides or seed is not None):
        raise UsageError("--seed and --set go with --rerun K")
    report = verify_store(path)
    result: dict[str, Any] = {**vars(report), "ok": report.ok}
    if not as_json:
        for line in report.problems:
            write_line(line)
        for line in report.notes:
            write_line(f"note: {line}")
        counts = f"{report.records} records, {report.predictions} prediction files, {report.scores} score files"
        click.echo(f"{counts}: {'no problems' if report.ok else f'{len(report.problems)} problems'}")
    ok, interrupted = report.ok, False
    if k is not None:
        from w2s_bench.referee.rerun import ACCURACY, CHANGED, rerun_cells

        rerun = rerun_cells(path, k, secrets.randbelow(10**6) if seed is None else seed, session.registry, overrides)
        ok, interrupted = ok and rerun.ok, rerun.interrupted
        tolerance = {"changed": CHANGED, "accuracy": ACCURACY}
        result["rerun"] = {**asdict(rerun), "ok": rerun.ok, "tolerance": tolerance}
        if not as_json:
            for line in _lines(rerun):
                write_line(line)
    if as_json:
        write_json(result)
    if not ok:
        sys.exit(130 if interrupted else 1)


MARKS = {"equal": "equal  ", "within": "within ", "out": "OUT    ", "not rerun": "NOT RUN"}


def _lines(report: RerunReport) -> Iterator[str]:
    from w2s_bench.referee.rerun import ACCURACY, CHANGED

    for row in report.cells:
        yield f"{MARKS[row.state]}  {row.cell}: {_outcome(row)}"
    yield f"{len(report.cells)} of {report.of} cells drawn; --seed {report.seed} draws them again"
    yield (
        "equal: every published bit; within: at most "
        f"{CHANGED:.0%} of the answers and {ACCURACY} of floor, student and ceiling accuracy differ"
    )
    differences = {name: values for row in report.cells for name, values in row.differs.items()}
    for name, (before, now) in differences.items():
        yield f"note: other {name}: {_short(before)} in the record, {_short(now)} here"
    if any(row.state == "not rerun" for row in report.cells):
        yield "Paths are cut to their last part in records: give them with --set, plugins with --plugins."


def _outcome(row: Rerun) -> str:
    if row.changed is None:
        return str(row.reason)
    accuracy = ", ".join(f"{side} {old:.4f} -> {new:.4f}" for side, (old, new) in row.accuracy.items() if old != new)
    return f"{row.changed:.2%} of the answers differ; {accuracy or 'accuracies are the same'}"


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{32,64}", text) else text


@click.command()
@click.argument("stores", metavar="STORE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--store", metavar="DIR", help="Store to put them into.  [W2S_STORE, else w2s-runs]")
def merge(stores: tuple[Path, ...], store: str | None) -> None:
    """Puts the stores of several machines into one: equal cells once, contradictions named."""
    from w2s_bench.store import merging
    from w2s_bench.store.files import stores_of

    target = stores_of((store,) if store else ())[0]
    done = merging.merge(stores, target)
    for line in done.contradictions:
        write_line(line)
    click.echo(
        f"{done.taken} records taken, {done.equal} there already, {done.replaced} in place of a failure, "
        f"{len(done.contradictions)} contradictions; see them with: w2s board --store {target}"
    )
    if done.contradictions:
        sys.exit(1)
