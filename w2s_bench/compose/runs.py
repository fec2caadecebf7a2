"""Composition: overrides in Hydra's language become a run of typed cells.

Hydra composes each axis value once, not each cell: ten thousand cells take seconds. What it composes is what
`w2s run --cfg job` shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from w2s_bench.cells import Run
from w2s_bench.compose import settings
from w2s_bench.compose.axes import SHARED
from w2s_bench.compose.commands import Commands
from w2s_bench.compose.composer import Composer, open_composer
from w2s_bench.errors import UsageError
from w2s_bench.registry import Registry
from w2s_bench.seeds import Secret


def cells(
    args: Sequence[str],
    multirun: bool,
    registry: Registry,
    config_dirs: Sequence[str | Path] = (),
    *,
    store: str | None = None,
    retry_failed: bool = False,
) -> Run:
    """Returns the run that overrides ask for: one cell, or with `multirun` their product."""
    return run_of([list(args)], [], multirun, registry, config_dirs, store=store, retry_failed=retry_failed)


def run_of(
    lists: Sequence[Sequence[str]],
    appended: Sequence[str],
    multirun: bool,
    registry: Registry,
    config_dirs: Sequence[str | Path] = (),
    *,
    store: str | None = None,
    retry_failed: bool = False,
    suite: str | None = None,
    varies: str | None = None,
) -> Run:
    """Returns the union of several sweeps, each with the same overrides appended, as one run without repeated cells."""
    with open_composer(registry, config_dirs) as composer:
        return union(
            composer, lists, appended, multirun,
            store=store, retry_failed=retry_failed, suite=suite, varies=varies,
        )  # fmt: skip


def union(
    composer: Composer,
    lists: Sequence[Sequence[str]],
    appended: Sequence[str],
    multirun: bool,
    *,
    store: str | None = None,
    retry_failed: bool = False,
    suite: str | None = None,
    varies: str | None = None,
) -> Run:
    """Returns the same as `run_of`, with a composer that is open already."""
    composed = [composer.sweep([*args, *appended], multirun) for args in lists]
    for args, sweep in zip(lists, composed, strict=True):
        # An appended option may miss some of the sweeps, but not all of them.
        unused = {a for a in sweep.unused if a in args or all(a in s.unused for s in composed)}
        if unused:
            raise UsageError(composer.nobody_has(min(unused), sweep.cells))
    unique = {c.key: c for sweep in composed for c in sweep.cells}
    shared = composed[0].shared
    if any(s.shared != shared for s in composed):
        raise UsageError(f"suite '{suite}': its sweeps differ in {', '.join(SHARED)}, which a run has but once")
    cells = list(unique.values())
    if shared["secret"] is not None:
        secret = Secret.read(shared["secret"])
        cells = [replace(cell, secret=secret) for cell in cells]
    commands = Commands(composer.registry)
    return Run(
        cells=cells,
        store=settings.store_folder(store or shared["store"]),
        cache=settings.cache_folder(shared["cache"]),
        engine=shared["engine"],
        hardware=shared["hardware"],
        trainer={k: v for k, v in shared["trainer"].items() if v is not None},
        plugins=list(composer.registry.extra),
        suite=suite,
        varies=varies,
        commands=[commands.line(c) for c in cells],
        retry_failed=retry_failed,
    )
