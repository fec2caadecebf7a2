"""Options: names, types, defaults and help, read from option dataclasses. Imports nothing heavy."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from w2s_bench import interfaces
from w2s_bench.store.escape import of_error, plain

HARNESS_OPTIONS: dict[str, type | None] = {
    "task": interfaces.TaskOptions,
    "supervisor": None,
    "student": interfaces.Tuning,
    "mitigation": None,
}
"""Options that every entry of a kind has, whatever its plugin."""
SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Option:
    """One option of an entry."""

    name: str
    type: Any
    default: Any

    @property
    def type_name(self) -> str:
        """Returns the type as people write it: `float`, `list[str]`, `full | probe`, `int | None`."""
        return _type_name(self.type)

    @property
    def takes_text(self) -> bool:
        """Returns whether its values are texts, alone, in a list or in a mapping."""
        kind = self.type
        while (args := [a for a in typing.get_args(kind) if a is not type(None)]) and typing.get_origin(
            kind
        ) is not Literal:
            kind = args[-1]
        return kind is str or typing.get_origin(kind) is Literal

    def coerce(self, value: Any) -> Any:
        """Returns the value as plain JSON data of the declared type, or raises ValueError with what was expected."""
        return _coerce(self.type, value)


def declared(cls: type) -> dict[str, Option]:
    """Returns the options that a dataclass declares; ValueError says in one sentence what is wrong with them."""
    if not (inspect.isclass(cls) and dataclasses.is_dataclass(cls)):
        raise ValueError("`Options` is not a dataclass; put @dataclass above it")
    try:
        hints = typing.get_type_hints(cls)
    except Exception as e:
        raise ValueError(f"the types of `Options` cannot be read ({of_error(e)})") from e
    options = {}
    for field in dataclasses.fields(cls):
        if field.name == "name":
            raise ValueError("an option cannot be called `name`: records show the entry's name under that key")
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            raise ValueError(f"option `{field.name}` has no default; every option needs one")
        if not _supported(hints[field.name]):
            raise ValueError(
                f"option `{field.name}` has the type {_type_name(hints[field.name])}; options are bool, int, float, "
                "str, Literal of texts, list[...], dict[str, ...], or one of these with None"
            )
        option = Option(field.name, hints[field.name], default)
        try:
            options[field.name] = dataclasses.replace(option, default=option.coerce(default))
        except ValueError as e:
            raise ValueError(f"the default of option `{field.name}`: {e}") from e
    return options


@functools.cache
def options_for(kind: str, cls: type) -> Mapping[str, Option]:
    """Returns an entry's options: the harness's for its kind, then the plugin's own, which win."""
    harness, plugin = HARNESS_OPTIONS[kind], interfaces.options_of(cls)
    options = {**(declared(harness) if harness else {}), **(declared(plugin) if plugin is not None else {})}
    return types.MappingProxyType(options)


def help_texts(kind: str, cls: type) -> dict[str, str]:
    """Returns the docstring under each option's field, or under the field that it overrides; '' where there is none."""
    texts: dict[str, str] = {}
    for holder in (HARNESS_OPTIONS[kind], interfaces.options_of(cls)):
        for owner in reversed(holder.__mro__ if holder else ()):
            if dataclasses.is_dataclass(owner):
                texts |= {name: text or texts.get(name, "") for name, text in _field_docstrings(owner).items()}
    return texts


def first_line(holder: Any) -> str:
    """Returns the first line of a docstring that was written for this very object."""
    doc = (vars(holder).get("__doc__") if inspect.isclass(holder) else getattr(holder, "__doc__", None)) or ""
    if inspect.isclass(holder) and dataclasses.is_dataclass(holder) and doc.startswith(f"{holder.__name__}("):
        return ""  # what dataclass writes itself
    return plain(doc.strip().partition("\n")[0].strip(), 200)


def _field_docstrings(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = next((n.body for n in tree.body if isinstance(n, ast.ClassDef)), [])
    texts = {}
    for i, node in enumerate(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            below = body[i + 1] if i + 1 < len(body) else None
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            texts[node.target.id] = inspect.cleandoc(text) if isinstance(text, str) else ""
    return texts


def _supported(kind: Any) -> bool:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind in SCALARS or kind is Any or kind is list or kind is dict:
        return True
    if origin is Literal:
        return all(isinstance(a, str) for a in args)
    if origin is list:
        return _supported(args[0])
    if origin is dict:
        return args[0] is str and _supported(args[1])
    if origin in (Union, types.UnionType):
        rest = [a for a in args if a is not type(None)]
        return len(rest) == 1 and len(args) == 2 and _supported(rest[0])
    return False


def _type_name(kind: Any) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return "any"
    if kind is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(str(a) for a in args)
    if origin in (Union, types.UnionType):
        return " | ".join(_type_name(a) for a in args)
    if origin is not None:
        return f"{getattr(origin, '__name__', origin)}[{', '.join(_type_name(a) for a in args)}]"
    return getattr(kind, "__name__", str(kind))


def _coerce(kind: Any, value: Any) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _plain(value)
    if origin in (Union, types.UnionType):
        return None if value is None else _coerce(next(a for a in args if a is not type(None)), value)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"expects one of {', '.join(args)}, not {_shown(value)}")
        return value
    if kind is list or origin is list:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"expects a list such as [a,b], not {_shown(value)}")
        return [_coerce(args[0] if args else Any, v) for v in value]
    if kind is dict or origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise ValueError(f"expects a mapping such as {{a:1}}, not {_shown(value)}")
        return {k: _coerce(args[1] if args else Any, v) for k, v in value.items()}
    return _coerce_scalar(kind, value)


def _coerce_scalar(kind: type, value: Any) -> Any:
    wrong = ValueError(f"expects {SCALARS[kind]}, not {_shown(value)}")
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise wrong
        return value
    if value is None or isinstance(value, (list, dict, tuple)) or (isinstance(value, bool) and kind is not str):
        raise wrong
    if kind is str:
        return str(value)
    if kind is int and isinstance(value, float):
        raise wrong
    try:
        number = kind(value)
    except (TypeError, ValueError):
        raise wrong from None
    if not math.isfinite(number):
        raise wrong
    return number


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"expects plain values, not {_shown(value)}")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)
