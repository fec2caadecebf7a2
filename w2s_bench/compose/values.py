"""Values in Hydra's override language, where an unquoted text may contain any character.

Hydra itself reads ASCII letters, digits and `/-\\+.$%*@?|:_`, and stops at everything else. Here `daten/größe.csv`,
`~/a=b.csv`, `it's.csv` and `data[1,2].csv` are texts too. A text ends at a comma outside its own brackets, or
at the bracket that closes the list or mapping around it. What Hydra reads is read as Hydra does, its escapes included.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from w2s_bench.registry.options import Option

CLOSING = {"[": "]", "{": "}", "(": ")"}
BLANK = " \t"
CALL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*[ \t]*\(")
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
INTERPOLATION = re.compile(r"\$\{[^}]+\}")
ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")
KEY = re.compile(r"[A-Za-z0-9_/\-+.$%*@?|]+")
"""Keys of a mapping that Hydra reads: it has no quotes for them."""


@dataclass(frozen=True)
class Value:
    """A value, twice: options that are texts take it as it was typed."""

    parsed: Any
    """As Hydra reads it."""
    typed: Any
    """The same with each unquoted number and truth value as the text that was typed."""

    def of(self, option: Option) -> Any:
        """Returns the value of an option, or raises ValueError with what was expected."""
        return option.coerce(self.typed if option.takes_text else self.parsed)


def parse_hydra(text: str) -> Override:
    """Returns an override as Hydra reads it, or raises HydraException."""
    (override,) = _parser().parse_overrides([text])
    return override


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def is_call(text: str) -> bool:
    """Returns whether the whole text is a call of one of Hydra's functions, such as `range(3)`."""
    text = text.strip(BLANK)
    opening = CALL.match(text)
    if opening is None:
        return False
    arguments = text[opening.end() - 1 :]
    return _end_of(arguments) == len(arguments) - 1


def split(text: str) -> list[str]:
    """Returns the parts of a text between its commas; commas in brackets, quotes and interpolations do not count."""
    cuts = [-1, *(at for at, char, depth in _scan(text) if char == "," and depth == 0), len(text)]
    return [text[begin + 1 : end] for begin, end in itertools.pairwise(cuts)]


def read(text: str) -> Value:
    """Returns the value of a text that `split` leaves whole; HydraException where it has none."""
    untrimmed, text = text, text.strip(BLANK)
    if not text:
        raise HydraException("a value is missing")
    if text[0] in "[{" and (end := _end_of(text)) is None:
        raise HydraException(f"the first bracket of {text} is not closed")
    if text[0] in "[{" and end == len(text) - 1:
        return _read_list(text) if text[0] == "[" else _read_mapping(text)
    if is_call(text):
        value = parse_hydra(f"k={hydra_text(text)}")
        if value.is_sweep_override():
            raise HydraException(f"{text} has several values, so it cannot be part of a value")
        return Value(value.value(), value.value())
    try:
        parsed = parse_hydra(f"k={untrimmed}").value()  # which keeps a blank after a colon
    except HydraException:
        parsed = ESCAPED.sub(r"\1", text)
    return Value(parsed, parsed if parsed is None or isinstance(parsed, str) else text)


def _read_list(text: str) -> Value:
    inside = text[1:-1].strip(BLANK)
    values = [read(element) for element in split(inside)] if inside else []
    return Value([v.parsed for v in values], [v.typed for v in values])


def _read_mapping(text: str) -> Value:
    inside = text[1:-1].strip(BLANK)
    parsed, typed = {}, {}
    for element in split(inside) if inside else ():
        colon = next((at for at, char, depth in _scan(element) if char == ":" and depth == 0), None)
        if colon is None:
            raise HydraException(f"{element} has no `:`, as in {{key:value}}")
        key, value = read(element[:colon]), read(element[colon + 1 :])
        name = element[:colon].strip(BLANK) if key.typed is None else key.typed  # `null` is a name here
        if not isinstance(name, str):
            raise HydraException(f"{name} is no key; keys are texts")
        parsed[name], typed[name] = value.parsed, value.typed
    return Value(parsed, typed)


def hydra_text(text: str) -> str:
    """Returns a text that Hydra itself reads: as it is where it does, else with quotes around what needs them."""
    try:
        parse_hydra(f"k={text}")
        return text
    except HydraException:
        return ",".join(_call(e) if is_call(e) else _write(read(e).parsed) for e in split(text))


def _call(text: str) -> str:
    name, _, rest = text.strip(BLANK).partition("(")
    arguments = []
    for argument in split(rest[:-1]):
        keyword = re.match(r"\s*[A-Za-z_]\w*\s*=", argument, re.ASCII)
        start = keyword.end() if keyword else 0
        arguments.append(argument[:start] + hydra_text(argument[start:]))
    return f"{name}({','.join(arguments)})"


def _end_of(text: str) -> int | None:
    """Returns where the bracket that a text begins with is closed, None where it is not."""
    return next((at for at, _, depth in _scan(text) if depth == 0), None)


def _scan(text: str) -> Iterator[tuple[int, str, int]]:
    """Yields position, character and depth (of brackets, after the character) outside of quotes and interpolations."""
    brackets: list[str] = []
    at, fresh = 0, True  # a quote opens only where a value begins
    while at < len(text):
        char = text[at]
        if fresh and (quoted := QUOTED.match(text, at)) is not None:
            at = quoted.end()
            fresh = False
            continue
        if (skipped := INTERPOLATION.match(text, at) or ESCAPED.match(text, at)) is not None:
            at = skipped.end()
            fresh = False
            continue
        if char in CLOSING:
            brackets.append(CLOSING[char])
        elif brackets and char == brackets[-1]:
            brackets.pop()
        yield at, char, len(brackets)
        fresh = char in "[{(,:=" or (fresh and char in BLANK)
        at += 1


def write(value: Any) -> str:
    """Returns the value in Hydra's language, so that reading it gives the value again."""
    return _write(_literal(value))


def _literal(value: Any) -> Any:
    """Returns the value with OmegaConf's escape before what would be interpolated."""
    if isinstance(value, list):
        return [_literal(v) for v in value]
    if isinstance(value, dict):
        return {k: _literal(v) for k, v in value.items()}
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", value) if isinstance(value, str) else value


def _write(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_write(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_key(k)}:{_write(v)}' for k, v in value.items())}}}"
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    return repr(value)


def _key(key: str) -> str:
    return key if KEY.fullmatch(key) else _quoted(key)


def _is_plain(text: str) -> bool:
    # a last backslash would escape the comma or the bracket that follows in a list, and outer blanks are trimmed
    if not text or text[-1] == "\\" or text != text.strip(BLANK):
        return False
    try:
        override = parse_hydra(f"k={text}")
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
