"""Commands that rerun a cell; they contain names, never paths of this machine."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

from w2s_bench.cells import ENTRY_RECIPE_FIELDS, Cell, Entry, Protocol
from w2s_bench.compose.overrides import as_override
from w2s_bench.compose.schemas import MULTI_VALUE_GROUPS
from w2s_bench.errors import UsageError
from w2s_bench.registry import Registry
from w2s_bench.store.paths import strip_local_paths


class Commands:
    """Writes `w2s run ...` for cells; what cells share is written once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._option_words: dict[tuple[str, str], list[str]] = {}
        self._protocol_words: dict[str, list[str]] = {}

    def line(self, cell: Cell) -> str:
        """Returns the command, with every option that differs from the entry's default."""
        kinds = {
            "task": (cell.task,),
            "supervisor": cell.supervisors,
            "student": (cell.student,),
            "mitigation": cell.mitigations,
        }
        words = ["w2s", "run"]
        plugins = [self.registry.requested(k, e.name) for k, entries in kinds.items() for e in entries]
        for plugin in dict.fromkeys(p for p in plugins if p):
            words += ["--plugins", shlex.quote(strip_local_paths(plugin))]
        for kind, entries in kinds.items():
            names = ",".join(e.name for e in entries)
            words.append(shlex.quote(f"{kind}=[{names}]" if kind in MULTI_VALUE_GROUPS else f"{kind}={names}"))
            for entry in entries:
                words += self._options(kind, entry)
        words += self._protocol(cell.protocol)
        return " ".join([*words, f"seed={cell.seed}"])

    def _options(self, kind: str, entry: Entry) -> list[str]:
        if (kind, entry.key) not in self._option_words:
            defaults = self.registry.get(kind, entry.name).options
            owner = f"{kind}.{entry.name}" if kind in MULTI_VALUE_GROUPS else kind
            self._option_words[kind, entry.key] = [
                shlex.quote(as_override(f"{owner}.{option}", strip_local_paths(value)))
                for option, value in entry.options.items()
                if value != defaults[option]
            ]
        return self._option_words[kind, entry.key]

    def _protocol(self, protocol: Protocol) -> list[str]:
        if protocol.key not in self._protocol_words:
            settings, defaults = _flat(asdict(protocol)), _flat(asdict(Protocol()))
            self._protocol_words[protocol.key] = [
                shlex.quote(as_override(f"protocol.{key}", value))
                for key, value in settings.items()
                if value != defaults[key] and key.rpartition(".")[2] not in ENTRY_RECIPE_FIELDS
            ]
        return self._protocol_words[protocol.key]


def overrides(record: dict[str, Any]) -> list[str]:
    """Returns a record's cell as overrides with every option of it, so that later changes of defaults do not matter.

    UsageError where the record does not have its protocol's settings.
    """
    settings = record.get("protocol_settings")
    if not settings:
        raise UsageError("the record has no protocol_settings")
    values = flat(record["cell"], settings)
    return [as_override(key, value) for key, value in values.items() if key not in FIXED]


FIXED = ("protocol.version", "protocol.selection", "protocol.optimiser", "protocol.secret")
"""Settings of a protocol that no override can change; of a secret, records have the fingerprint alone."""


def flat(cell: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of a record's `cell` and `protocol_settings` by their override keys."""
    values: dict[str, Any] = {}
    for kind, entries in (
        ("task", [cell["task"]]),
        ("supervisor", cell["supervisors"]),
        ("student", [cell["student"]]),
        ("mitigation", cell["mitigations"] or [{"name": "naive"}]),
    ):
        names = [e["name"] for e in entries]
        values[kind] = names if kind in MULTI_VALUE_GROUPS else names[0]
        for entry in entries:
            owner = f"{kind}.{entry['name']}" if kind in MULTI_VALUE_GROUPS else kind
            values |= {f"{owner}.{option}": value for option, value in entry.items() if option != "name"}
    protocol = {k: v for k, v in settings.items() if k != "sizes"}  # sizes are options of the task
    return values | _flat(protocol, "protocol.") | {"seed": cell["seed"]}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
