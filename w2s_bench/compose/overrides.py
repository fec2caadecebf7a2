"""Overrides in Hydra's language, and the sweeps they span."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType, Sweep, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from w2s_bench.compose.schemas import LISTS
from w2s_bench.errors import UsageError


@dataclass(frozen=True)
class Axis:
    """One override with all the values that it goes through; a single one where it is not swept."""

    key: str
    values: tuple[Any, ...]
    """Plain Python values, interpolations into the environment resolved."""
    text: str
    """As the user wrote it."""
    swept: bool

    @property
    def owner(self) -> str:
        """Returns the key's first part: a group or a setting."""
        return self.key.partition(".")[0]


def parse(args: Sequence[str], multirun: bool, choices: Callable[[str], list[str]]) -> list[Axis]:
    """Returns the axes in the order given, the last of two with one key winning; UsageError for anything odd.

    `choices(group)` lists a group's names, for `glob(...)`.
    """
    axes: dict[str, Axis] = {}
    parser = OverridesParser.create()
    for text in args:
        try:
            (override,) = parser.parse_overrides([text])
        except HydraException as e:
            raise UsageError(_syntax(text, e)) from e
        axis = _axis(override, text, choices)
        if axis.swept and not multirun:
            stack = f" (one stack of several is written {axis.key}=[a,b])" if axis.key in LISTS else ""
            raise UsageError(f"{text}: several values are a sweep, which needs -m{stack}")
        axes[axis.key] = axis
    return list(axes.values())


def _axis(override: Override, text: str, choices: Callable[[str], list[str]]) -> Axis:
    key = override.key_or_group.replace("/", ".")
    if override.is_hydra_override():
        raise UsageError(f"{text}: w2s plans sweeps and folders itself and reads no hydra.* settings; leave it out")
    if override.package is not None:
        raise UsageError(f"{text}: a package (@{override.package}) cannot be chosen; write {key}=...")
    if override.type is OverrideType.DEL:
        raise UsageError(f"{text}: settings cannot be deleted; give {key} another value")
    if override.type is OverrideType.ADD:
        hint = f"`w2s suite {override.value()}` runs a suite" if key == "suite" else f"write {text.lstrip('+')}"
        raise UsageError(f"{text}: settings cannot be added, all are declared; {hint}")
    if not override.is_sweep_override():
        return Axis(key, (_resolved(override.value(), text),), text, False)
    if override.value_type is ValueType.INTERVAL_SWEEP:
        raise UsageError(f"{text}: an interval has no values to go through; use range(...) or a list")
    raw = override._value
    if isinstance(raw, Glob):
        values: list[Any] = raw.filter(choices(key))
    else:
        assert isinstance(raw, Sweep)
        values = [Override._convert_value(v) for v in override.sweep_iterator()]  # type: ignore[arg-type]
    if not values:
        raise UsageError(f"{text}: matches nothing")
    return Axis(key, tuple(_resolved(v, text) for v in values), text, True)


def _resolved(value: Any, text: str) -> Any:
    if "${" not in str(value):
        return value
    try:
        return OmegaConf.to_container(OmegaConf.create({"v": value}), resolve=True)["v"]  # type: ignore[index,call-overload]
    except OmegaConfBaseException as e:
        raise UsageError(f"{text}: only the environment can be interpolated here, as ${{oc.env:NAME}}") from e


def _syntax(text: str, error: Exception) -> str:
    if "=" not in text:
        return f"'{text}' is not an override; write KEY=VALUE, such as seed=1 (`w2s run --help` shows the keys)"
    lines = [line.strip() for line in str(error).splitlines()]
    reason = ", ".join(line for line in lines if line and not line.startswith(("See http", "Error parsing")))
    return f"{text}: not in Hydra's override language ({reason}); quote special characters inside the value"


def as_override(key: str, value: Any) -> str:
    """Returns `key=value` in Hydra's override language, so that parsing gives the value again."""
    return f"{key}={_as_text(value)}"


def _as_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_as_text(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_as_text(k)}:{_as_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, str):
        return value if _plain(value) else _quoted(value)
    return repr(value)


def _plain(text: str) -> bool:
    if not text:
        return False
    try:
        (override,) = OverridesParser.create().parse_overrides([f"k={text}"])
    except HydraException:
        return False
    # `1`, `true` and `null` would come back as something else, `a,b` as a sweep
    return not override.is_sweep_override() and isinstance(override._value, str) and override._value == text


def _quoted(text: str) -> str:
    # Hydra: a backslash is special only before the quote, so that a run of them before one, or at the end, is doubled.
    out, run = [], 0
    for c in text:
        if c == "\\":
            run += 1
            continue
        out.append("\\" * (2 * run + 1 if c == "'" else run) + c)
        run = 0
    return f"'{''.join(out)}{chr(92) * (2 * run)}'"
