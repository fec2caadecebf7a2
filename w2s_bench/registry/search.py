"""What a mitigation declares to be tried when it is tuned: `search = {"alpha_max": [0.25, 0.5, 0.75]}`."""

from __future__ import annotations

from typing import Any

from w2s_bench.errors import UsageError, nearest
from w2s_bench.registry.registry import Registration


def space_of(entry: Registration) -> dict[str, list[Any]]:
    """Returns the values to be tried by option, none where nothing is declared; UsageError names what is wrong."""
    space = getattr(entry.cls, "search", {})
    who = f"{entry.kind} '{entry.name}': search"
    if not isinstance(space, dict):
        raise UsageError(f"{who} is {type(space).__name__}, expected a dictionary of options with lists of values")
    checked: dict[str, list[Any]] = {}
    for option, values in space.items():
        if option not in entry.declared:
            raise UsageError(f"{who} names '{option}', which is none of its options{nearest(option, entry.declared)}")
        if not isinstance(values, list | tuple) or not values:
            raise UsageError(f"{who}, {option}: expects a list of values, not {values!r:.60}")
        checked[option] = [_value(entry, option, value) for value in values]
    return checked


def _value(entry: Registration, option: str, value: Any) -> Any:
    try:
        coerced = entry.declared[option].coerce(value)
        entry.build({**entry.options, option: coerced})
    except (UsageError, ValueError) as error:
        raise UsageError(f"{entry.kind} '{entry.name}': search, {option}={value!r:.60}: {error}") from error
    return coerced
