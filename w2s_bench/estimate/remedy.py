"""Which options make a stage fit into memory, the least change first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from w2s_bench.cells import Entry
from w2s_bench.estimate.shape import Shape
from w2s_bench.estimate.stages import Stage, shape_of
from w2s_bench.registry import Registry


def remedy(stage: Stage, registry: Registry, memory: float) -> tuple[str, float] | None:
    """Returns overrides under which a stage takes at most so many bytes, and what it takes then; None without any."""
    for overrides, changed in _changes(stage):
        shape = shape_of(registry, changed.role, changed.entry)
        if isinstance(shape, Shape) and (needed := changed.work(shape).memory) <= memory:
            return overrides, needed
    return None


def _changes(stage: Stage) -> Iterator[tuple[str, Stage]]:
    """Yields overrides and the stage under them: of tuning, numbers and micro-batches, the last changing fastest."""
    recipe, options = stage.recipe, stage.entry.options
    owner = "student" if stage.role == "student" else f"supervisor.{stage.entry.name}"
    protocol = "protocol.training" if stage.role == "student" else "protocol.supervision"
    precisions = [recipe.precision, *({"bf16-mixed"} - {recipe.precision})]
    tunes = [recipe.tune, *(t for t in ("lora", "probe") if "tune" in options and t != recipe.tune != "probe")]
    for tune in tunes:
        for dtype in ["", *(["bfloat16"] if options.get("dtype", "bfloat16") != "bfloat16" and tune != "full" else [])]:
            entry = Entry(stage.entry.name, {**options, **({"dtype": dtype} if dtype else {})})
            for precision in precisions:
                for accumulate in _micro_batches(stage, tune):
                    parts = {
                        f"{owner}.tune": "" if tune == recipe.tune else tune,
                        f"{owner}.dtype": dtype,
                        f"{protocol}.precision": "" if precision == recipe.precision else precision,
                        f"{protocol}.accumulate": "" if accumulate == recipe.accumulate else accumulate,
                    }
                    new = replace(recipe, tune=tune, precision=precision, accumulate=accumulate)
                    yield (
                        " ".join(f"{key}={value}" for key, value in parts.items() if value != ""),
                        replace(stage, entry=entry, recipe=new),
                    )


def _micro_batches(stage: Stage, tune: str) -> list[int]:
    """Returns the numbers of micro-batches worth a try: a probe's training reads no text."""
    now, most = stage.recipe.accumulate, stage.recipe.batch_size
    if tune == "probe" or not stage.trained:
        return [now]
    return [now, *(n for n in (2**k for k in range(1, 12)) if now < n <= most)]
