"""Composition: overrides in Hydra's language become typed cells.

Hydra composes each axis value once, not each cell: ten thousand cells take seconds. What it composes is what
`w2s run --cfg job` shows.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from w2s_bench.cells import ENTRY_RECIPE_FIELDS, Cell, Entry, Protocol, Run
from w2s_bench.compose import schemas, settings
from w2s_bench.compose.commands import Commands
from w2s_bench.compose.entries import Entries, unknown_option
from w2s_bench.compose.overrides import Axis, parse
from w2s_bench.compose.schemas import MULTI_VALUE_GROUPS, recipe_options
from w2s_bench.compose.settings import check_range, check_trainer
from w2s_bench.compose.values import Value
from w2s_bench.errors import UsageError, nearest
from w2s_bench.interfaces import Recipe
from w2s_bench.registry import PLUGIN_KINDS, Registry
from w2s_bench.registry.options import SCALARS, Option
from w2s_bench.registry.stacking import check_asked, check_kind, check_stack

CHOICES = ("hardware", "engine")
SHARED = (*CHOICES, "store", "cache", "trainer")
"""What is the same for all cells of a run."""
KEYS = (*PLUGIN_KINDS, "seed", "protocol", *SHARED)


@dataclass
class Sweep:
    """What one list of overrides spans."""

    cells: list[Cell]
    shared: dict[str, Any]
    """`hardware`, `engine`, `trainer`, `store`, `cache`."""
    unused: set[str] = field(default_factory=set)
    """Options, as the user wrote them, whose plugin is in no cell."""


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
    with _hydra(registry, config_dirs) as composer:
        done = [composer.sweep([*args, *appended], multirun) for args in lists]
        for args, sweep in zip(lists, done, strict=True):
            # An appended option may miss some of the sweeps, but not all of them.
            lost = {a for a in sweep.unused if a in args or all(a in s.unused for s in done)}
            if lost:
                raise UsageError(composer.nobody_holds(min(lost), sweep.cells))
        unique = {composer.key(c): c for sweep in done for c in sweep.cells}
        shared = done[0].shared
        if any(s.shared != shared for s in done):
            raise UsageError(f"suite '{suite}': its sweeps differ in {', '.join(SHARED)}, which a run has but once")
        commands = Commands(registry)
        return Run(
            cells=list(unique.values()),
            store=settings.store_folder(store or shared["store"]),
            cache=settings.cache_folder(shared["cache"]),
            engine=shared["engine"],
            hardware=shared["hardware"],
            trainer={k: v for k, v in shared["trainer"].items() if v is not None},
            plugins=list(registry.extra),
            suite=suite,
            varies=varies,
            commands=[commands.line(c) for c in unique.values()],
            retry_failed=retry_failed,
        )


@contextlib.contextmanager
def _hydra(registry: Registry, config_dirs: Sequence[str | Path]) -> Iterator[Composer]:
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
        axes = [_with_names(a) for a in parse(args, multirun, self.entries.choices)]
        for axis in axes:
            _check_key(axis)
        given = {a.key: a.values for a in axes}
        names = {k: {n for value in given.get(k, ()) for n in value.typed} for k in PLUGIN_KINDS}
        hardware, engine = (given[k][0].typed if k in given else None for k in CHOICES)
        base = self.entries.base(names, hardware, engine)
        shared = {k: copy.deepcopy(base[k]) for k in SHARED}
        for axis in axes:
            if axis.owner in SHARED and axis.key not in CHOICES:
                _set_shared(shared, axis)
        found, used = self._product(axes, base)
        options = [a for a in axes if a.owner in PLUGIN_KINDS and a.key not in PLUGIN_KINDS]
        for axis in options:
            if axis.text not in used:
                self._check_known(axis, {n for k in (axis.owner,) for n in names[k] or base["choices"][k]})
        return Sweep(found, shared, {a.text for a in options} - used)

    def _product(self, axes: list[Axis], base: dict[str, Any]) -> tuple[list[Cell], set[str]]:
        used: set[str] = set()
        found: list[Cell] = []
        position = {a.key: i for i, a in enumerate(axes)}
        of_entries = [(i, a) for i, a in enumerate(axes) if a.owner in PLUGIN_KINDS and a.key not in PLUGIN_KINDS]
        of_protocol = [(i, a) for i, a in enumerate(axes) if a.owner == "protocol"]
        for values in itertools.product(*(a.values for a in axes)):
            given = [(a, values[i]) for i, a in of_entries]
            built = {}
            for kind in PLUGIN_KINDS:
                names = values[position[kind]].typed if kind in position else base["choices"][kind]
                built[kind] = tuple(self.entries.entry(kind, n, given, used) for n in names)
            seed = values[position["seed"]].parsed if "seed" in position else base["seed"]
            protocol = self._protocol(base["protocol"], [(a, values[i]) for i, a in of_protocol])
            found.append(self._cell(built, _seed(seed), protocol))
        return found, used

    def _cell(self, built: dict[str, tuple[Entry, ...]], seed: int, protocol: Protocol) -> Cell:
        supervisors, mitigations = built["supervisor"], built["mitigation"]
        key = tuple(e.name for e in supervisors), tuple(e.name for e in mitigations)
        self._check_kind(built, protocol.metric)
        if key not in self._checked:
            for name in key[0]:
                if key[0].count(name) > 1:
                    raise UsageError(f"supervisor=[{','.join(key[0])}]: '{name}' stands there twice; leave one out")
            stack = [self.registry.get("mitigation", n) for n in key[1]]
            check_stack(stack, len(supervisors))
            asked = [self.registry.get("supervisor", n) for n in key[0]]
            check_asked(stack, asked, self.registry.entries("supervisor"))
            self._checked.add(key)
        return Cell(
            built["task"][0], supervisors, built["student"][0], mitigations, seed, protocol,
            self._intermediate(mitigations),
        )  # fmt: skip

    def _check_kind(self, built: dict[str, tuple[Entry, ...]], metric: str) -> None:
        task = built["task"][0]
        names = tuple((kind, e.name) for kind in PLUGIN_KINDS[1:] for e in built[kind])
        if (id(task), metric, names) in self._checked:  # entries are kept, so that an id stays its own
            return
        registration = self.registry.get("task", task.name)
        kind: Any = registration.cls.kind  # type: ignore[attr-defined]
        if not isinstance(kind, str):  # it depends on the options
            kind = registration.build(task.options).kind
        check_kind(task.name, kind, [self.registry.get(*name) for name in names])
        if kind == "generation" and metric != "accuracy":
            raise UsageError(f"protocol.metric={metric}: answers of task={task.name} are right or wrong; use accuracy")
        self._checked.add((id(task), metric, names))

    def _intermediate(self, mitigations: tuple[Entry, ...]) -> dict[str, Entry]:
        found = {}
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
                found[name] = self.entries.default_student(name)
        return found

    def _protocol(self, base: dict[str, Any], given: list[tuple[Axis, Value]]) -> Protocol:
        key = json.dumps([[a.key, v.parsed] for a, v in given], sort_keys=True)
        if key not in self._protocols:
            node = copy.deepcopy(base)
            for axis, value in given:
                _set_protocol(node, axis, value)
            self.registry.metric(node["metric"])
            recipes = {n: Recipe(**{**asdict(getattr(Protocol(), n)), **node[n]}) for n in RECIPES}
            protocol = Protocol(metric=node["metric"], **recipes)
            self._protocols[key] = next((p for p in self._protocols.values() if p == protocol), protocol)
        return self._protocols[key]

    def _check_known(self, axis: Axis, names: set[str]) -> None:
        """Raises where an option is of no plugin at all; one whose plugin is absent is judged over all sweeps."""
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
            everyones = {o for n in self.registry.names(kind) for o in self.registry.get(kind, n).declared}
            if option not in everyones:
                chosen = {o for n in names for o in self.entries.registration(kind, n).declared}
                raise UsageError(unknown_option(axis.key, option, chosen))

    def nobody_holds(self, text: str, cells: list[Cell]) -> str:
        """Returns the sentence for an option whose plugin is in no cell."""
        kind, _, rest = text.partition("=")[0].lstrip("+").partition(".")
        if kind in MULTI_VALUE_GROUPS:
            name = rest.partition(".")[0]
            return f"{text}: no cell holds the {kind} '{name}'; add it to {kind}=[...] or leave the option out"
        names = sorted({c.task.name if kind == "task" else c.student.name for c in cells})
        known = {o for n in names for o in self.registry.get(kind, n).declared}
        return f"{text}: {unknown_option(f'{kind} {chr(39)}{names[0]}{chr(39)}', rest, known)}"

    def key(self, cell: Cell) -> tuple[Any, ...]:
        """Returns what tells two cells apart: equal entries are the same object here."""
        several = tuple(id(e) for e in cell.supervisors), tuple(id(e) for e in cell.mitigations)
        return id(cell.task), id(cell.student), cell.seed, id(cell.protocol), several


RECIPES = ("training", "supervision")


def _with_names(axis: Axis) -> Axis:
    """Returns the axis of a group with lists of names as values; other axes as they are."""
    if axis.key not in (*PLUGIN_KINDS, *CHOICES):
        return axis
    values: list[Value] = []
    for value in axis.values:
        listed = value.typed if isinstance(value.typed, list) else [value.typed]
        if not listed or not all(isinstance(n, str) for n in listed):
            raise UsageError(
                f"{axis.text}: expects a name" + (" or a list of names" if axis.key in MULTI_VALUE_GROUPS else "")
            )
        if axis.key not in MULTI_VALUE_GROUPS and len(listed) > 1:
            raise UsageError(f"{axis.text}: a {axis.key} is one name; sweep over several with -m {axis.key}=a,b")
        names = listed if axis.key in PLUGIN_KINDS else listed[0]
        values.append(Value(names, names))
    return replace(axis, values=tuple(values))


def _seed(value: Any) -> int:
    try:
        seed = Option("seed", int, 0).coerce(value)
    except ValueError as e:
        raise UsageError(f"seed: {e}") from e
    if seed < 0:
        raise UsageError(f"seed: expects 0 or more, not {seed}")
    return seed


def _check_key(axis: Axis) -> None:
    if axis.owner not in KEYS:
        hint = nearest(axis.owner, KEYS) or ";"
        raise UsageError(f"{axis.text}: no such setting '{axis.owner}'{hint} there are {', '.join(KEYS)}")
    if axis.owner in SHARED and len(axis.values) > 1:
        raise UsageError(f"{axis.text}: {axis.owner} is the same for a whole sweep; give one value")
    if axis.owner in ("seed", "store", "cache") and axis.key != axis.owner:
        raise UsageError(f"{axis.text}: {axis.owner} has no parts; write {axis.owner}=...")


def _set_shared(shared: dict[str, Any], axis: Axis) -> None:
    group, _, option = axis.key.partition(".")
    if group in ("store", "cache"):
        shared[group] = axis.values[0].typed
        return
    value = axis.values[0].parsed
    node = shared[group]
    if group == "trainer":
        check_trainer(axis.key, node)
    elif option not in node:
        raise UsageError(unknown_option(axis.key, option, node))
    elif option == "name":
        raise UsageError(f"{axis.text}: a name is chosen with {group}={value}")
    elif type(node[option]) in SCALARS:
        try:
            value = axis.values[0].of(Option(option, type(node[option]), None))
        except ValueError as e:
            raise UsageError(f"{axis.key}: {e}") from e
    check_range(group, axis.key, option, value)
    node[option] = value


def _set_protocol(node: dict[str, Any], axis: Axis, value: Value) -> None:
    parts = axis.key.split(".")[1:]
    if parts == ["metric"]:
        node["metric"] = str(value.typed)
        return
    if len(parts) != 2 or parts[0] not in RECIPES:
        known = ["protocol.metric", *(f"protocol.{r}.{o}" for r in RECIPES for o in recipe_options())]
        close = nearest(axis.key, known) or ";"
        raise UsageError(f"{axis.key}: no such setting{close} `w2s run --cfg job --package protocol` shows them")
    recipe, option = parts
    if option in ENTRY_RECIPE_FIELDS:
        whose = "student" if recipe == "training" else "supervisor.NAME"
        raise UsageError(f"{axis.key}: {option} belongs to the entry, not to the protocol; set {whose}.{option}")
    known_options = recipe_options()
    if option not in known_options:
        raise UsageError(unknown_option(axis.key, option, known_options))
    try:
        node[recipe][option] = value.of(known_options[option])
    except ValueError as e:
        raise UsageError(f"{axis.key}: {e}") from e
    check_range("recipe", axis.key, option, node[recipe][option])
