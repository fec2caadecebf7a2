"""Names chosen in a config become entries with every option resolved, each resolved once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from w2s_bench import interfaces
from w2s_bench.cells import Entry
from w2s_bench.compose.overrides import Axis, as_override
from w2s_bench.compose.schemas import MULTI_VALUE_GROUPS
from w2s_bench.compose.settings import check_range, unknown_option
from w2s_bench.compose.values import Value
from w2s_bench.errors import UsageError, nearest
from w2s_bench.registry import PLUGIN_KINDS, Registration, Registry
from w2s_bench.store.escape import message_of

Assignment = tuple[Axis, Value]
"""An override with the value that it has in one cell."""


class Entries:
    """What Hydra composes for names, and the entries made from it."""

    def __init__(self, registry: Registry, hydra: Any) -> None:
        self.registry = registry
        self.composed = 0
        """How often Hydra composed."""
        self._hydra = hydra
        self._choices: dict[str, list[str]] = {}
        self._bases: dict[tuple[str | None, ...], dict[str, Any]] = {}
        self._nodes: dict[str, dict[str, dict[str, Any]]] = {k: {} for k in PLUGIN_KINDS}
        self._entries: dict[tuple[Any, ...], tuple[Entry, frozenset[str]]] = {}
        self._defaults: dict[str, Entry] = {}

    def choices(self, group: str) -> list[str]:
        """Returns the names of a group: what plugins registered, and the files of config folders."""
        if group not in self._choices:
            # Not the loader's own get_group_options, which copies every config for each call.
            self._choices[group] = self._hydra.config_loader.repository.get_group_options(group, ObjectType.CONFIG)
        return self._choices[group]

    def base(self, names: dict[str, set[str]], hardware: str | None, engine: str | None) -> dict[str, Any]:
        """Returns the composed settings, with the defaults' names by kind under `choices`.

        Afterwards `entry` knows all these names and the defaults.
        """
        key = (hardware, engine, *(k for k in PLUGIN_KINDS if not names[k]))
        settings = {g: {n} for g, n in (("hardware", hardware), ("engine", engine)) if n is not None}
        for group, group_names in {**names, **settings}.items():
            for name in sorted(group_names):
                if name not in self.choices(group):
                    raise UsageError(self._missing(group, name))
        while key not in self._bases or any(names[k] - self._nodes[k].keys() for k in PLUGIN_KINDS):
            missing = {k: sorted(names[k] - self._nodes[k].keys()) for k in PLUGIN_KINDS}
            overrides = [as_override(g, n) for g, n in (("hardware", hardware), ("engine", engine)) if n is not None]
            chosen: dict[str, list[str]] = {}
            for kind in PLUGIN_KINDS:
                # One compose takes any number of supervisors and mitigations, but one task and one student.
                composable = missing[kind] or sorted(names[kind])[:1]
                chosen[kind] = composable if kind in MULTI_VALUE_GROUPS else composable[:1]
                if composable:
                    overrides.append(as_override(kind, composable if kind in MULTI_VALUE_GROUPS else composable[0]))
            self._bases.setdefault(key, self._compose(overrides, chosen))
        return self._bases[key]

    def entry(self, kind: str, name: str, assignments: Sequence[Assignment], used: set[str]) -> Entry:
        """Returns the entry with the overrides that concern it; their texts are added to `used`."""
        prefix = f"{kind}.{name}." if kind in MULTI_VALUE_GROUPS else f"{kind}."
        matching = [(a, v) for a, v in assignments if a.key.startswith(prefix)]
        key = (kind, name, tuple((a.key, json.dumps([v.parsed, v.typed], sort_keys=True)) for a, v in matching))
        if key not in self._entries:
            self._entries[key] = self._resolve(kind, name, [(a.key[len(prefix) :], a, v) for a, v in matching])
        entry, keys = self._entries[key]
        used |= {a.text for a, _ in matching if a.key in keys}  # which another sweep may write in another way
        return entry

    def registration(self, kind: str, name: str) -> Registration:
        """Returns the plugin behind a chosen name; a YAML file in a config folder gives it as `name:`."""
        return self.registry.get(kind, self._node(kind, name)["name"])

    def _resolve(self, kind: str, name: str, assigned: list[tuple[str, Axis, Value]]) -> tuple[Entry, frozenset[str]]:
        """Returns the entry, and the keys of the overrides that it has used."""
        registration = self.registration(kind, name)
        owner = f"{kind}.{name}" if kind in MULTI_VALUE_GROUPS else kind
        options = dict(registration.options)
        changed = {k: v for k, v in self._node(kind, name).items() if k != "name"}
        keys = set()
        for path, axis, value in assigned:
            option, _, inner = path.partition(".")
            if option == "name":
                raise UsageError(f"{axis.text}: a name is chosen with {kind}={value.typed}")
            if option not in registration.declared:
                if kind in MULTI_VALUE_GROUPS:
                    raise UsageError(unknown_option(f"{owner}.{option}", option, registration.declared))
                continue  # of another task or student of the sweep; the composer checks that one of them has it
            assigned_value = value.typed if registration.declared[option].takes_text else value.parsed
            changed[option] = (
                _put(changed.get(option, options[option]), inner, assigned_value, axis) if inner else assigned_value
            )
            keys.add(axis.key)
        for option, value in changed.items():
            if option not in registration.declared:
                raise UsageError(unknown_option(f"{owner}.{option}", option, registration.declared))
            try:
                options[option] = registration.declared[option].coerce(value)
            except ValueError as e:
                raise UsageError(f"{owner}.{option}: {e}") from e
            check_range(kind, f"{owner}.{option}", option, options[option])
        self._check(registration, options)
        return Entry(registration.name, options), frozenset(keys)

    def _check(self, registration: Registration, options: dict[str, Any]) -> None:
        cls = interfaces.options_of(registration.cls)
        if cls is None:
            return
        try:  # the plugin's own checks, in its __post_init__
            cls(**{k: v for k, v in options.items() if k in cls.__dataclass_fields__})  # type: ignore[attr-defined]
        except Exception as e:
            raise UsageError(f"{registration.kind} '{registration.name}': {message_of(e)}") from e

    def default_student(self, name: str) -> Entry:
        """Returns a student entry as it is registered."""
        return self._defaults.setdefault(name, Entry(name, self.registry.get("student", name).options))

    def _node(self, kind: str, name: str) -> dict[str, Any]:
        return self._nodes[kind][name]

    def _missing(self, group: str, name: str) -> str:
        if group in PLUGIN_KINDS:
            return self.registry.missing(group, name, self.choices(group))
        known = self.choices(group)
        return f"no {group} '{name}'{nearest(name, known) or ';'} there are {', '.join(known)}"

    def _compose(self, overrides: list[str], chosen: dict[str, list[str]]) -> dict[str, Any]:
        from hydra.types import RunMode

        self.composed += 1
        try:
            cfg = self._hydra.compose_config("run", overrides, RunMode.RUN, from_shell=False)
            choices = {str(k): str(v) for k, v in cfg.hydra.runtime.choices.items()}
            OmegaConf.set_struct(cfg, False)
            del cfg["hydra"]
            composed = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException) as e:
            raise UsageError(f"the configuration does not compose: {' '.join(str(e).split())}") from e
        base: dict[str, Any] = {str(k): v for k, v in composed.items()}  # type: ignore[union-attr]
        # Hydra reports no choice for groups of several names; there the package is the name.
        nodes = {k: base[k] if k in MULTI_VALUE_GROUPS else {choices[k]: base[k]} for k in PLUGIN_KINDS}
        for kind in PLUGIN_KINDS:
            for name in chosen[kind] or nodes[kind]:
                self._nodes[kind][name] = _named(kind, name, nodes[kind].get(name))
        base["choices"] = {k: list(nodes[k]) for k in PLUGIN_KINDS}
        return base


def _named(kind: str, name: str, node: Any) -> dict[str, Any]:
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        package = f"`# @package {kind}.{name}` and " if kind in MULTI_VALUE_GROUPS else ""
        raise UsageError(
            f"{kind}/{name}.yaml: it needs {package}`name: PLUGIN`, the registered name that it configures"
        )
    return node


def _put(mapping: Any, path: str, value: Any, axis: Axis) -> dict[str, Any]:
    if not isinstance(mapping, dict):
        raise UsageError(f"{axis.text}: {axis.key.rpartition('.')[0]} is not a mapping")
    head, _, rest = path.partition(".")
    return {**mapping, head: _put(mapping.get(head, {}), rest, value, axis) if rest else value}
