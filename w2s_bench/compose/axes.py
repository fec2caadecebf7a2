"""The overrides of a sweep that concern no entry's options: names, the seed, the protocol, the run's own settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from w2s_bench.cells import ENTRY_RECIPE_FIELDS
from w2s_bench.compose.overrides import Axis
from w2s_bench.compose.schemas import MULTI_VALUE_GROUPS, recipe_options
from w2s_bench.compose.settings import check_range, check_trainer, unknown_option
from w2s_bench.compose.values import Value
from w2s_bench.errors import UsageError, nearest
from w2s_bench.registry import PLUGIN_KINDS
from w2s_bench.registry.options import SCALARS, Option

CHOICES = ("hardware", "engine")
PATHS = ("store", "cache", "secret")
SHARED = (*CHOICES, *PATHS, "trainer")
"""What is the same for all cells of a run."""
KEYS = (*PLUGIN_KINDS, "seed", "protocol", *SHARED)
RECIPES = ("training", "supervision")


def with_names(axis: Axis) -> Axis:
    """Returns the axis of a group with lists of names as values; other axes as they are."""
    if axis.key not in (*PLUGIN_KINDS, *CHOICES):
        return axis
    values: list[Value] = []
    for value in axis.values:
        names = value.typed if isinstance(value.typed, list) else [value.typed]
        if not names or not all(isinstance(n, str) for n in names):
            raise UsageError(
                f"{axis.text}: expects a name" + (" or a list of names" if axis.key in MULTI_VALUE_GROUPS else "")
            )
        if axis.key not in MULTI_VALUE_GROUPS and len(names) > 1:
            raise UsageError(f"{axis.text}: a {axis.key} is one name; sweep over several with -m {axis.key}=a,b")
        choice = names if axis.key in PLUGIN_KINDS else names[0]
        values.append(Value(choice, choice))
    return replace(axis, values=tuple(values))


def seed_of(value: Any) -> int:
    """Returns the seed; UsageError if it is not a whole number from 0."""
    try:
        seed = Option("seed", int, 0).coerce(value)
    except ValueError as e:
        raise UsageError(f"seed: {e}") from e
    if seed < 0:
        raise UsageError(f"seed: expects 0 or more, not {seed}")
    return seed


def check_key(axis: Axis) -> None:
    """Raises UsageError if there is no such setting, or if it cannot have several values or parts."""
    if axis.owner not in KEYS:
        hint = nearest(axis.owner, KEYS) or ";"
        raise UsageError(f"{axis.text}: no such setting '{axis.owner}'{hint} there are {', '.join(KEYS)}")
    if axis.owner in SHARED and len(axis.values) > 1:
        raise UsageError(f"{axis.text}: {axis.owner} is the same for a whole sweep; give one value")
    if axis.owner in ("seed", *PATHS) and axis.key != axis.owner:
        raise UsageError(f"{axis.text}: {axis.owner} has no parts; write {axis.owner}=...")


def set_shared(shared: dict[str, Any], axis: Axis) -> None:
    """Changes one of the settings that all cells of a run share."""
    group, _, option = axis.key.partition(".")
    if group in PATHS:
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


def set_protocol(node: dict[str, Any], axis: Axis, value: Value) -> None:
    """Changes one of the protocol's settings."""
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
