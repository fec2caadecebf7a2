"""From the axes of a sweep to cells: Hydra composes each value once, and cells are put together from the values."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from w2s_bench.cells import Cell, Entry, Protocol
from w2s_bench.compose import schemas
from w2s_bench.compose.axes import CHOICES, RECIPES, SHARED, check_key, seed_of, set_protocol, set_shared, with_names
from w2s_bench.compose.entries import Assignment, Entries
from w2s_bench.compose.overrides import Axis, parse
from w2s_bench.compose.schemas import MULTI_VALUE_GROUPS
from w2s_bench.compose.settings import unknown_option
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import Recipe
from w2s_bench.registry import PLUGIN_KINDS, Registry
from w2s_bench.registry.stacking import check_asked, check_gold, check_kind, check_stack


@dataclass
class Sweep:
    """What one list of overrides spans."""

    cells: list[Cell]
    shared: dict[str, Any]
    """`hardware`, `engine`, `trainer`, `store`, `cache`, `secret`."""
    unused: set[str] = field(default_factory=set)
    """Options, as the user wrote them, whose plugin is in no cell."""


@contextlib.contextmanager
def open_composer(registry: Registry, config_dirs: Sequence[str | Path]) -> Iterator[Composer]:
    """Yields a composer over the package's configs, the user's folders and all entries; Hydra runs while it is open."""
    from hydra.core.global_hydra import GlobalHydra

    for folder in config_dirs:
        if not Path(folder).is_dir():
            raise UsageError(f"--config-dir {folder}: there is no such folder")
    before = GlobalHydra.instance().hydra
    level = logging.root.level
    schemas.register(registry)
    try:
        yield Composer(registry, schemas.start_hydra(config_dirs))
    finally:
        logging.root.setLevel(level)
        GlobalHydra.instance().hydra = before


class Composer:
    """Composes axis values, each once, and builds cells from them."""

    def __init__(self, registry: Registry, hydra: Any) -> None:
        self.registry = registry
        self.entries = Entries(registry, hydra)
        self._protocols: dict[str, Protocol] = {}
        self._checked: set[tuple[Any, ...]] = set()

    def sweep(self, args: Sequence[str], multirun: bool) -> Sweep:
        """Returns the cells that a list of overrides spans, in Hydra's order: the last override changes fastest."""
        axes = [with_names(a) for a in parse(args, multirun, self.entries.choices)]
        for axis in axes:
            check_key(axis)
        values = {a.key: a.values for a in axes}
        names = {k: {n for value in values.get(k, ()) for n in value.typed} for k in PLUGIN_KINDS}
        hardware, engine = (values[k][0].typed if k in values else None for k in CHOICES)
        base = self.entries.base(names, hardware, engine)
        shared = {k: copy.deepcopy(base[k]) for k in SHARED}
        for axis in axes:
            if axis.owner in SHARED and axis.key not in CHOICES:
                set_shared(shared, axis)
        cells, used = self._product(axes, base)
        options = [a for a in axes if a.owner in PLUGIN_KINDS and a.key not in PLUGIN_KINDS]
        for axis in options:
            if axis.text not in used:
                self._check_known(axis, set(names[axis.owner] or base["choices"][axis.owner]))
        return Sweep(cells, shared, {a.text for a in options} - used)

    def _product(self, axes: list[Axis], base: dict[str, Any]) -> tuple[list[Cell], set[str]]:
        """Returns the cells, and the texts of the options that one of them has used."""
        used: set[str] = set()
        cells: list[Cell] = []
        position = {a.key: i for i, a in enumerate(axes)}
        of_entries = [(i, a) for i, a in enumerate(axes) if a.owner in PLUGIN_KINDS and a.key not in PLUGIN_KINDS]
        of_protocol = [(i, a) for i, a in enumerate(axes) if a.owner == "protocol"]
        for values in itertools.product(*(a.values for a in axes)):
            assignments = [(a, values[i]) for i, a in of_entries]
            entries = {}
            for kind in PLUGIN_KINDS:
                names = values[position[kind]].typed if kind in position else base["choices"][kind]
                entries[kind] = tuple(self.entries.entry(kind, n, assignments, used) for n in names)
            seed = values[position["seed"]].parsed if "seed" in position else base["seed"]
            protocol = self._protocol(base["protocol"], [(a, values[i]) for i, a in of_protocol])
            cells.append(self._cell(entries, seed_of(seed), protocol))
        return cells, used

    def _cell(self, entries: dict[str, tuple[Entry, ...]], seed: int, protocol: Protocol) -> Cell:
        supervisors, mitigations = entries["supervisor"], entries["mitigation"]
        key = tuple(e.name for e in supervisors), tuple(e.name for e in mitigations)
        self._check_kind(entries, protocol.metric)
        check_gold(entries["task"][0].options["n_gold"], [self.registry.get("mitigation", n) for n in key[1]])
        if key not in self._checked:
            for name in key[0]:
                if key[0].count(name) > 1:
                    raise UsageError(f"supervisor=[{','.join(key[0])}]: '{name}' is named twice; leave one out")
            stack = [self.registry.get("mitigation", n) for n in key[1]]
            check_stack(stack, len(supervisors))
            registrations = [self.registry.get("supervisor", n) for n in key[0]]
            check_asked(stack, registrations, self.registry.entries("supervisor"))
            self._checked.add(key)
        return Cell(
            entries["task"][0], supervisors, entries["student"][0], mitigations, seed, protocol,
            self._intermediate(mitigations),
        )  # fmt: skip

    def _check_kind(self, entries: dict[str, tuple[Entry, ...]], metric: str) -> None:
        task = entries["task"][0]
        names = tuple((kind, e.name) for kind in PLUGIN_KINDS[1:] for e in entries[kind])
        if (task.key, metric, names) in self._checked:
            return
        kind = self.registry.get("task", task.name).kind_under(task.options)
        check_kind(task.name, kind, [self.registry.get(*name) for name in names])
        if kind == "generation" and metric != "accuracy":
            raise UsageError(f"protocol.metric={metric}: answers of task={task.name} are right or wrong; use accuracy")
        self._checked.add((task.key, metric, names))

    def _intermediate(self, mitigations: tuple[Entry, ...]) -> dict[str, Entry]:
        students = {}
        for entry in mitigations:
            needs = getattr(self.registry.get("mitigation", entry.name).cls, "needs", ())
            if "intermediate_students" not in needs:
                continue
            key = f"mitigation.{entry.name}.intermediate"
            names = entry.options.get("intermediate", [])
            if not names:
                raise UsageError(f"{key}: '{entry.name}' needs intermediate students, weakest first: {key}=[NAME]")
            for name in names:
                if name not in self.registry.names("student"):
                    raise UsageError(f"{key}: {self.registry.missing('student', name, self.registry.names('student'))}")
                students[name] = self.entries.default_student(name)
        return students

    def _protocol(self, base: dict[str, Any], assignments: list[Assignment]) -> Protocol:
        key = json.dumps([[a.key, v.parsed] for a, v in assignments], sort_keys=True)
        if key not in self._protocols:
            node = copy.deepcopy(base)
            for axis, value in assignments:
                set_protocol(node, axis, value)
            self.registry.metric(node["metric"])
            recipes = {n: Recipe(**{**asdict(getattr(Protocol(), n)), **node[n]}) for n in RECIPES}
            self._protocols[key] = Protocol(metric=node["metric"], **recipes)
        return self._protocols[key]

    def _check_known(self, axis: Axis, names: set[str]) -> None:
        """Raises UsageError if no plugin at all has an option; `nobody_has` is for plugins that no sweep contains."""
        kind, _, rest = axis.key.partition(".")
        if kind in MULTI_VALUE_GROUPS:
            name, _, option = rest.partition(".")
            if name not in self.entries.choices(kind):
                raise UsageError(f"{axis.text}: {self.registry.missing(kind, name, self.entries.choices(kind))}")
            if name in self.registry.names(kind) and option.partition(".")[0] not in (
                known := self.registry.get(kind, name).declared
            ):
                raise UsageError(f"{axis.text}: {unknown_option(f'{kind}.{name}', option, known)}")
        else:
            option = rest.partition(".")[0]
            known_to_any = {o for n in self.registry.names(kind) for o in self.registry.get(kind, n).declared}
            if option not in known_to_any:
                chosen = {o for n in names for o in self.entries.registration(kind, n).declared}
                raise UsageError(unknown_option(axis.key, option, chosen))

    def nobody_has(self, text: str, cells: list[Cell]) -> str:
        """Returns the sentence for an option whose plugin is in no cell."""
        kind, _, rest = text.partition("=")[0].lstrip("+").partition(".")
        if kind in MULTI_VALUE_GROUPS:
            name = rest.partition(".")[0]
            return f"{text}: no cell has the {kind} '{name}'; add it to {kind}=[...] or leave the option out"
        names = sorted({c.task.name if kind == "task" else c.student.name for c in cells})
        known = {o for n in names for o in self.registry.get(kind, n).declared}
        return f"{text}: {unknown_option(f'{kind} {chr(39)}{names[0]}{chr(39)}', rest, known)}"
