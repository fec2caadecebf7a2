"""Overrides in Hydra's language, and the sweeps they span."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Glob, Override, OverrideType, Sweep, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from w2s_bench.compose.schemas import MULTI_VALUE_GROUPS
from w2s_bench.compose.values import BLANK, Value, hydra_text, is_call, parse_hydra, read, split, write
from w2s_bench.errors import UsageError


@dataclass(frozen=True)
class Axis:
    """One override with all the values that it goes through; a single one where it is not swept."""

    key: str
    values: tuple[Value, ...]
    """Interpolations into the environment are resolved."""
    text: str
    """As the user wrote it."""
    swept: bool

    @property
    def owner(self) -> str:
        """Returns the key's first part: a group or a setting."""
        return self.key.partition(".")[0]


def parse(args: Sequence[str], multirun: bool, choices: Callable[[str], list[str]]) -> list[Axis]:
    """Returns the axes in the order of the overrides, the last of two with one key; UsageError for what is no override.

    `choices(group)` lists a group's names, for `glob(...)`.
    """
    axes: dict[str, Axis] = {}
    for text in args:
        try:
            axis = _axis(text, choices)
        except HydraException as e:
            raise UsageError(_syntax(text, e)) from e
        if axis.swept and not multirun:
            stack = f" (one stack of several is written {axis.key}=[a,b])" if axis.key in MULTI_VALUE_GROUPS else ""
            raise UsageError(f"{text}: several values are a sweep, which needs -m{stack}; quote a value with a comma")
        axes[axis.key] = axis
    return list(axes.values())


def _axis(text: str, choices: Callable[[str], list[str]]) -> Axis:
    override = _head(text)
    key = override.key_or_group.replace("/", ".")
    value = text.partition("=")[2].strip(BLANK)
    if override.is_hydra_override():
        raise UsageError(f"{text}: w2s plans sweeps and folders itself and reads no hydra.* settings; leave it out")
    if override.package is not None:
        raise UsageError(f"{text}: a package (@{override.package}) cannot be chosen; write {key}=...")
    if override.type is OverrideType.DEL:
        raise UsageError(f"{text}: settings cannot be deleted; give {key} another value")
    if override.type is OverrideType.ADD:
        hint = f"`w2s suite {value}` runs a suite" if key == "suite" else f"write {text.lstrip('+')}"
        raise UsageError(f"{text}: settings cannot be added, all are declared; {hint}")
    if not value:
        return Axis(key, (Value("", ""),), text, False)
    elements = split(value)
    if len(elements) == 1 and is_call(value):
        call = parse_hydra(f"k={hydra_text(value)}")
        if call.is_sweep_override():
            return Axis(key, tuple(_resolved(Value(v, v), text) for v in _called(call, key, text, choices)), text, True)
    return Axis(key, tuple(_resolved(read(e), text) for e in elements), text, len(elements) > 1)


def _head(text: str) -> Override:
    """Returns the override without its value: a key may contain letters that Hydra does not read."""
    key, equals, _ = text.partition("=")
    try:
        return parse_hydra(f"{key}=0" if equals else text)
    except HydraException:
        if not equals or not re.fullmatch(r"[\w$-]+([./][\w$-]+)*", key):
            raise
        return Override(OverrideType.CHANGE, key, ValueType.ELEMENT, 0)


def _called(override: Override, key: str, text: str, choices: Callable[[str], list[str]]) -> list[Any]:
    """Returns the values that one of Hydra's functions spans."""
    if override.value_type is ValueType.INTERVAL_SWEEP:
        raise UsageError(f"{text}: an interval has no values to go through; use range(...) or a list")
    if isinstance(override._value, Glob):
        values: list[Any] = override._value.filter(choices(key))
    else:
        assert isinstance(override._value, Sweep)
        values = [Override._convert_value(v) for v in override.sweep_iterator()]  # type: ignore[arg-type]
    if not values:
        raise UsageError(f"{text}: matches nothing")
    return values


def _resolved(value: Value, text: str) -> Value:
    if "${" not in str(value.typed):
        return value
    try:
        plain = OmegaConf.to_container(OmegaConf.create({"v": [value.parsed, value.typed]}), resolve=True)
    except OmegaConfBaseException as e:
        raise UsageError(f"{text}: only the environment can be interpolated here, as ${{oc.env:NAME}}") from e
    return Value(*plain["v"])  # type: ignore[index,call-overload]


def _syntax(text: str, error: Exception) -> str:
    if "=" not in text:
        return f"'{text}' is not an override; write KEY=VALUE, such as seed=1 (`w2s run --help` shows the keys)"
    lines = [line.strip() for line in str(error).splitlines()]
    reason = ", ".join(line for line in lines if line and not line.startswith(("See http", "Error parsing")))
    return f"{text}: not in Hydra's override language ({reason}); quote special characters inside the value"


def as_override(key: str, value: Any) -> str:
    """Returns `key=value` in Hydra's override language, so that parsing gives the value again."""
    return f"{key}={write(value)}"


def for_hydra(text: str) -> str:
    """Returns an override that Hydra itself reads; one that nobody can read comes back as it is."""
    key, equals, value = text.partition("=")
    try:
        return f"{key}{equals}{hydra_text(value)}"
    except HydraException:
        return text
