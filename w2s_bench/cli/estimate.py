"""What `--dry-run` prints of hours and memory."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from w2s_bench.errors import UsageError
from w2s_bench.estimate import machine as machines
from w2s_bench.estimate.remedy import remedy
from w2s_bench.estimate.stages import Estimate, Line, estimate

if TYPE_CHECKING:
    from w2s_bench.cells import Cell, Run
    from w2s_bench.estimate.machine import Machine
    from w2s_bench.registry import Registry

COLUMNS = 100
WIDTH = 36
"""Of the column of models."""


def lines(run: Run, trials: Sequence[Cell], registry: Registry) -> Iterator[str]:
    """Yields a table of all stages of a run and its trials, with what it rests on; a sentence without a card."""
    from w2s_bench.referee.engines import make_engine

    machine = machine_of(run)
    if machine is None:
        names = ", ".join(machines.CARDS)
        yield f"hours and memory: no known card is seen here; name one with hardware.card=NAME, out of {names}"
        return
    workers = make_engine(run, ()).room
    taken = estimate([*run.cells, *trials], registry, machine)
    yield from table(taken)
    sentences = [total(taken, machine, workers), assumptions(taken, machine)]
    for what, kinds in problems(taken, registry, machine, workers).items():
        sentences.append(f"{' and '.join(kinds)} of {what}")
    for sentence in sentences:
        yield from textwrap.wrap(
            sentence, COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )


def machine_of(run: Run) -> Machine | None:
    """Returns the card that the run names or sees, or the processor; None where no known card is named or seen."""
    from w2s_bench.referee.provenance import gpu

    name = run.hardware.get("card")
    if run.hardware.get("accelerator") != "gpu":
        if name is not None:
            raise UsageError(f"hardware.card={name}: this run is on the processor; add hardware=gpu")
        return machines.processor(max(1, int(run.hardware.get("threads", 1))))
    return machines.card_called(gpu()) if name is None else machines.card(name)


def table(taken: Estimate) -> Iterator[str]:
    """Yields the lines of the table."""
    yield f"{'stage':<10} {'model':<{WIDTH}} {'stages':>6} {'hours':>9} {'memory of one':>14}"
    for line in taken.lines:
        model = line.model if len(line.model) <= WIDTH else f"{line.model[: WIDTH - 1]}…"
        figures = f"{hours(line.seconds):>9} {size(line.memory):>14}" if not line.unknown else f"{'size unknown':>24}"
        yield f"{line.kind:<10} {model:<{WIDTH}} {line.stages:>6} {figures}"


def total(taken: Estimate, machine: Machine, workers: int) -> str:
    """Returns the sentence about the hours of all stages."""
    at_once = 1 if machine.is_card else workers
    many = f"{workers} worker{'s' * (workers > 1)}" + (" on one card" if machine.is_card and workers > 1 else "")
    without = f"; without {taken.left_out} stages of unknown size" if taken.left_out else ""
    known = any(not line.unknown for line in taken.lines)
    return (
        f"total: {hours(taken.seconds / at_once) if known else 'unknown'} hours with {many} on {machine.name} "
        f"({size(machine.memory)}){without}; from an empty cache, the preparation of data not counted"
    )


def assumptions(taken: Estimate, machine: Machine) -> str:
    """Returns the sentence about what the hours rest on."""
    used = sorted({line.largest.recipe.precision for line in taken.lines if line.largest is not None})
    speeds = " and ".join(f"{100 * machine.reached[p]:g} % of {machine.peak[p] / 1e12:.3g} TFLOP/s ({p})" for p in used)
    once = sorted(taken.counted_as_one)
    return (
        f"assumed: splits are full and every text is as long as max_length lets it be, so shorter ones take less; "
        f"training reaches {speeds or 'what is not known'}, {machine.source}"
        + (f"; one fit each for {', '.join(once)}, whose options decide" if once else "")
    )


def problems(taken: Estimate, registry: Registry, machine: Machine, workers: int) -> dict[str, list[str]]:
    """Returns what is wrong with a model's stages, and the kinds of stage that it is true of."""
    wrong: dict[str, list[str]] = {}
    for line in taken.lines:
        unknown = f"size unknown: {line.unknown}" if line.unknown else ""
        what = unknown or _too_large(line, registry, machine, workers)
        if what:
            wrong.setdefault(f"{line.model}: {what}", []).append(line.kind)
    return wrong


def _too_large(line: Line, registry: Registry, machine: Machine, workers: int) -> str:
    """Returns that a stage does not fit, and the remedy; nothing where it fits."""
    room = machine.memory / workers
    if line.largest is None or line.memory <= room:
        return ""
    beside = f" beside {workers - 1} other workers" if workers > 1 else ""
    needs = f"{size(line.memory)} for one do not fit into {size(machine.memory)}{beside}"
    if line.memory <= machine.memory:
        return f"{needs}; engine.workers={int(machine.memory // line.memory)} does"
    change = remedy(line.largest, registry, room)
    if change is None:
        return f"{needs}, nor does any tuning here; take a smaller model or max_length"
    return f"{needs}; {change[0]} takes {size(change[1])}"


def hours(seconds: float) -> str:
    """Returns hours for people: `0.004`, `1.25`, `203`."""
    value = seconds / 3600
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def size(number: float) -> str:
    """Returns bytes for people."""
    return f"{number / 1e9:.1f} GB"
