"""The benchmark from Python: `w2s_bench.run(...)` and `w2s_bench.suite(...)`; boards are `w2s_bench.board(STORE)`.

Overrides are those of the command line, composed by the same code, so what runs here runs there:

    results = w2s_bench.run("mitigation=[naive],[aux_confidence]", "seed=0,1,2", multirun=True)
    results.board()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from w2s_bench.board.build import Board
    from w2s_bench.cells import Run
    from w2s_bench.referee.sweep import Outcome
    from w2s_bench.registry import Registry

Folder = str | Path


@dataclass(frozen=True)
class Results:
    """What became of the cells of one call; equal cells count once."""

    ok: int
    """Done now."""
    failed: int
    """Without a result, now or since an earlier run that was not to be retried."""
    skipped: int
    """Done before."""
    interrupted: bool
    store: Path
    records: list[dict[str, Any]]
    """One for each cell that has a record, in the order of the cells; `w2s board` is made of the same."""
    suite: str | None = None

    def board(self) -> Board:
        """Returns the board of the store that these cells are in, of their suite where they belong to one."""
        from w2s_bench.board.build import board

        return board(self.store, suite=self.suite)


def run(
    *overrides: str,
    multirun: bool = False,
    plugins: Sequence[Folder] = (),
    store: Folder | None = None,
    config_dir: Folder | None = None,
    retry_failed: bool = False,
) -> Results:
    """Returns what became of one cell, or with `multirun` of the product of all values: `w2s run [-m] OVERRIDES`.

    Cells that are done already are not run again. A cell that fails does not raise: it counts in `failed`, and its
    record in `records` has the reason.

    Args:
        overrides: As on the command line: `"task=facts"`, `"mitigation=[easy_to_hard,aux_confidence]"`, `"seed=0,1"`.
        multirun: A sweep over all values, like `-m`.
        plugins: Files or modules to load too, like `--plugins`; workers are processes of their own, so a plugin
            lives in a file.
        store: Where records go; by default W2S_STORE, else ./w2s-runs.
        config_dir: Config groups of your own, like `--config-dir`.
        retry_failed: Run cells again that failed before, like `--retry failed`.

    Raises:
        UsageError: An override, a plugin or a folder cannot be used; the message names it and what to do.
        W2SError: The run could not be carried out.
    """
    from w2s_bench.compose.runs import cells

    registry = _registry(plugins)
    composed = cells(overrides, multirun, registry, _folders(config_dir), store=_text(store), retry_failed=retry_failed)
    return _run(composed, registry)


def suite(
    name: str,
    *overrides: str,
    plugins: Sequence[Folder] = (),
    store: Folder | None = None,
    config_dir: Folder | None = None,
    retry_failed: bool = False,
) -> Results:
    """Returns what became of a suite's cells, run or resumed: `w2s suite NAME OVERRIDES`; arguments as for `run`.

    Raises:
        UsageError: There is no such suite, or an override cannot be used; the message has the nearest valid name.
        W2SError: The run could not be carried out.
    """
    from w2s_bench.compose import suites

    registry, folders = _registry(plugins), _folders(config_dir)
    chosen = suites.find(name, registry, folders)
    composed = suites.compose(
        chosen, overrides, registry, folders, store=_text(store), retry_failed=retry_failed
    )  # fmt: skip
    return _run(composed, registry)


def _registry(plugins: Sequence[Folder]) -> Registry:
    from w2s_bench.errors import UsageError
    from w2s_bench.registry import load

    registry = load([str(p) for p in ([plugins] if isinstance(plugins, str | Path) else plugins)])
    for broken in registry.broken:
        if broken.requested:
            raise UsageError(f"plugin {broken.name} is broken: {broken.reason}")
    return registry


def carry_out(composed: Run, registry: Registry) -> Outcome:
    """Returns what became of a run's cells; where the suite tunes options, its trials come first."""
    from w2s_bench.compose import tuning
    from w2s_bench.referee.store import Store
    from w2s_bench.referee.sweep import run_cells

    if composed.tuning is None:
        return run_cells(composed, registry)
    attempts = tuning.trials(composed, composed.tuning, registry)
    first = run_cells(attempts, registry)
    if first.interrupted:
        return replace(first, store=Path(composed.store))
    store = Store(first.store)
    tried = {c.key: store.read(digest) for c, digest in zip(attempts.cells, first.digests, strict=True)}
    settled = tuning.settled(composed, composed.tuning, {k: r for k, r in tried.items() if r is not None}, registry)
    outcome = run_cells(settled, registry)
    return replace(outcome, failed=outcome.failed + first.failed)


def _run(composed: Run, registry: Registry) -> Results:
    from w2s_bench.referee.store import Store

    outcome = carry_out(composed, registry)
    store = Store(outcome.store)
    records = [record for digest in outcome.digests if (record := store.read(digest)) is not None]
    return Results(
        outcome.ok, outcome.failed, outcome.skipped, outcome.interrupted, outcome.store, records, composed.suite
    )


def _folders(config_dir: Folder | None) -> list[str]:
    return [] if config_dir is None else [str(config_dir)]


def _text(store: Folder | None) -> str | None:
    return None if store is None else str(store)
