"""Tuned suites: each stack's options are chosen on seeds of their own, by weak validation labels alone.

A mitigation declares what is to be tried, `search = {"alpha_max": [0.25, 0.5, 0.75]}`; a suite gives each the same
budget:

tune:
  configurations: 8
  seeds: [200, 201]
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_bench.cells import Cell, Entry, Tuning
from w2s_bench.errors import UsageError
from w2s_bench.registry.search import space_of

if TYPE_CHECKING:
    from w2s_bench.cells import Run
    from w2s_bench.registry import Registry

RULE = (
    "highest share of validation examples on which the student answers as the reference supervisor, mean over the "
    "tuning seeds; of equals the lowest log-loss against its labels, then the first"
)


def parse(content: Any, suite: str) -> Tuning:
    """Returns what a suite's `tune:` says; UsageError names what is wrong with it."""
    if not isinstance(content, dict) or set(content) != {"configurations", "seeds"}:
        raise UsageError(f"suite '{suite}': `tune:` needs `configurations:` and `seeds:`, and nothing else")
    count, seeds = content["configurations"], content["seeds"]
    if type(count) is not int or count < 2:
        raise UsageError(f"suite '{suite}': tune.configurations: expects a whole number from 2, not {count!r}")
    if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
        raise UsageError(f"suite '{suite}': tune.seeds: expects a list of whole numbers from 0, not {seeds!r}")
    return Tuning(count, tuple(seeds))


def configurations(stack: Sequence[Entry], count: int, registry: Registry) -> list[tuple[Entry, ...]]:
    """Returns at most `count` versions of a stack: as it is, then others out of its mitigations' declared values.

    Which others is drawn once and for all, the same for every task and pair of models.
    """
    spaces = [(k, option, values) for k, e in enumerate(stack) for option, values in _space(e, registry).items()]
    versions = []
    for choice in itertools.product(*(values for _, _, values in spaces)):
        options = [dict(e.options) for e in stack]
        for (k, option, _), value in zip(spaces, choice, strict=True):
            options[k][option] = value
        version = tuple(Entry(e.name, o) for e, o in zip(stack, options, strict=True))
        if version != tuple(stack):
            versions.append(version)
    if len(versions) >= count:
        versions = random.Random(0).sample(versions, count - 1)
    return [tuple(stack), *versions]


def trials(run: Run, tuning: Tuning, registry: Registry) -> Run:
    """Returns the run that tries them: every version of every stack that has several, on the tuning seeds.

    Its records go to `trials/` below the store.
    """
    published = {c.seed for c in run.cells} & set(tuning.seeds)
    if published:
        raise UsageError(f"suite '{run.suite}': seed {min(published)} is published and may not be one of tune.seeds")
    cells = {}
    for cell in _once_a_seed(run.cells):
        versions = configurations(cell.mitigations, tuning.configurations, registry)
        for version, seed in itertools.product(versions if len(versions) > 1 else (), tuning.seeds):
            trial = replace(cell, mitigations=version, seed=seed)
            cells[trial.key] = trial
    return replace(
        run,
        cells=list(cells.values()),
        store=str(Path(run.store) / "trials"),
        suite=None,
        tuning=None,
        commands=_commands(cells.values(), registry),
    )


def settled(run: Run, tuning: Tuning, tried: Mapping[Any, dict[str, Any]], registry: Registry) -> Run:
    """Returns the suite's run with the options that did best; `tried` are the trials' records by the cell's key."""
    chosen: dict[Any, tuple[tuple[Entry, ...], dict[str, Any]]] = {}
    for cell in _once_a_seed(run.cells):
        versions = configurations(cell.mitigations, tuning.configurations, registry)
        if len(versions) == 1:
            continue
        results = [_result(cell, version, tuning, tried, registry) for version in versions]
        best = min(range(len(results)), key=lambda k: _order(results[k]))
        choice = {"rule": RULE, "seeds": list(tuning.seeds), "trials": results, "chosen": best}
        chosen[replace(cell, seed=0).key] = versions[best], choice
    cells = []
    for cell in run.cells:
        stack, how = chosen.get(replace(cell, seed=0).key, (cell.mitigations, None))
        cells.append(replace(cell, mitigations=stack, tuning=how))
    return replace(run, cells=cells, tuning=None, commands=_commands(cells, registry))


def _commands(cells: Iterable[Cell], registry: Registry) -> list[str]:
    from w2s_bench.compose.commands import Commands  # loads Hydra, which listing suites does without

    commands = Commands(registry)
    return [commands.line(cell) for cell in cells]


def _space(entry: Entry, registry: Registry) -> dict[str, list[Any]]:
    return space_of(registry.get("mitigation", entry.name))


def _once_a_seed(cells: Sequence[Cell]) -> list[Cell]:
    return list({replace(c, seed=0).key: c for c in cells}.values())


def _result(
    cell: Cell, version: tuple[Entry, ...], tuning: Tuning, tried: Mapping[Any, dict[str, Any]], registry: Registry
) -> dict[str, Any]:
    searched = {e.name: {o: e.options[o] for o in _space(e, registry)} for e in version}
    records = [tried[key] for s in tuning.seeds if (key := replace(cell, mitigations=version, seed=s).key) in tried]
    done = [r["validation"] for r in records if r["status"] == "ok"]
    whole = len(done) == len(tuning.seeds)
    mean = {
        k: sum(v[k] for v in done) / len(done) if whole and None not in [v[k] for v in done] else None for k in SEEN
    }
    return {"options": {name: options for name, options in searched.items() if options}, **mean}


SEEN = ("agreement", "log_loss")
"""What the choice rests on, of a record's `validation`."""


def _order(result: dict[str, Any]) -> tuple[float, float]:
    """Returns what is smallest for the best; a version that failed on a seed comes last."""
    agreement, loss = result["agreement"], result["log_loss"]
    return (-agreement if agreement is not None else 1.0, loss if loss is not None else float("inf"))
