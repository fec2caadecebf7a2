"""Parts that many records have alike, kept once: they are most of what a store takes in memory."""

from __future__ import annotations

import json
from typing import Any

ALIKE = ("backbones", "git", "host", "plugins", "task_notes")
"""Of a record's provenance, what other records have too."""


class Shared:
    """What the records of some stores have in common; nobody may change it."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def replace_in(self, raw: dict[str, Any]) -> None:
        """Puts the parts already known in the place of a record's equal ones."""
        cell, provenance = raw["cell"], raw.get("provenance") or {}
        for owner, keys in ((raw, ("protocol_settings",)), (cell, ("task", "student")), (provenance, ALIKE)):
            for key in keys:
                if key in owner:
                    owner[key] = self._once(owner[key])
        for key in ("supervisors", "mitigations"):
            cell[key] = [self._once(entry) for entry in cell[key]]

    def _once(self, value: Any) -> Any:
        return self._known.setdefault(json.dumps(value), value)
