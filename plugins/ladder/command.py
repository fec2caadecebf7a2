"""The verb `w2s pretrain`: grows a rung of the ladder."""

from __future__ import annotations

from pathlib import Path

import click

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError
from w2s_bench.plugins.ladder import rungs


@hookimpl
def register_commands(cli: click.Group) -> None:
    cli.add_command(pretrain)


@click.command()
@click.option("--size", type=click.Choice(list(rungs.SIZES)), help="A rung's shape by name.")
@click.option("--width", type=int, help="Width of a shape of your own, with --layers and --heads.")
@click.option("--layers", type=int, help="Number of its blocks.")
@click.option("--heads", type=int, help="Attention heads, a divisor of the width.")
@click.option("--saliency", default=0.3, show_default=True, help="How often the text names the class of a digit.")
@click.option("--seed", default=0, show_default=True, help="Of the first weights and of the text.")
@click.option("--steps", default=rungs.STEPS, show_default=True, help=f"Optimiser steps of {rungs.BATCH} sequences.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new rung.")
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]), help="Where to train.")
def pretrain(
    size: str | None,
    width: int | None,
    layers: int | None,
    heads: int | None,
    saliency: float,
    seed: int,
    steps: int,
    out: Path,
    device: str,
) -> None:
    """Pretrain a rung of the ladder, or go on with one that was stopped.

    The folder can be given to the ladder's students and supervisors as `path`, and to transformers as it is.
    """
    shape = _shape(size, width, layers, heads)
    from w2s_bench.plugins.ladder.pretrain import PretrainConfig
    from w2s_bench.plugins.ladder.pretrain import pretrain as train

    plan = PretrainConfig(*shape, saliency=saliency, seed=seed, steps=steps, device=device)
    chosen = f"--size {size}" if size else f"--width {width} --layers {layers} --heads {heads}"
    command = f"w2s pretrain {chosen} --saliency {saliency:g} --seed {seed} --steps {steps} --out {out.name}"
    if device != "cpu":
        command += f" --device {device}"
    with _progress(steps) as report:
        card = train(plan, out, command, report)
    click.echo(f"{out}: {card['parameters']:,} parameters, loss {card['loss']:.3f} on fresh text")


def _shape(size: str | None, width: int | None, layers: int | None, heads: int | None) -> tuple[int, int, int]:
    if size and (width, layers, heads) == (None, None, None):
        named = rungs.SIZES[size]
        return named.width, named.layers, named.heads
    if size or width is None or layers is None or heads is None:
        raise UsageError(f"give either --size ({', '.join(rungs.SIZES)}) or all of --width, --layers and --heads")
    return width, layers, heads


def _progress(steps: int):
    """Returns a context that gives `report(step, loss)`: a bar on a terminal, a line every 500 steps elsewhere."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)

    @contextmanager
    def lines():
        def report(step: int, loss: float) -> None:
            if step % 500 == 0:
                click.echo(f"step {step} of {steps}, loss {loss:.3f}", err=True)

        yield report

    @contextmanager
    def bar():
        columns = (TextColumn("loss {task.fields[loss]:.3f}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
            job = progress.add_task("pretrain", total=steps, loss=float("nan"))
            yield lambda step, loss: progress.update(job, completed=step, loss=loss)

    return bar() if console.is_terminal else lines()
