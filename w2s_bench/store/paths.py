"""What gets published names things, never places: one rule for what a path on this machine is, and how it is cut."""

from __future__ import annotations

import os
import re
from typing import Any

ROOTED = re.compile(r"~[^/\\]*[/\\]|/|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\")
"""The beginning of a path that works on one machine only: home, root, relative folder, drive or network share."""
WINDOWS = re.compile(r"[A-Za-z]:[/\\]|\\\\|\.{1,2}\\|~[^/\\]*\\")


def is_local_path(value: Any) -> bool:
    """Returns whether an option's value is a path on this machine, and not a name that means the same everywhere.

    `org/model` is a name, unless there is such a folder here.
    """
    if not isinstance(value, str) or not value or "\n" in value or "\0" in value:
        return False
    path = value.removeprefix("file://")
    if path != value or ROOTED.match(path):
        return True
    if path.startswith("~"):
        return os.path.expanduser(path) != path
    return any(s in path for s in "/\\") and os.path.exists(path)


def strip_local_paths(value: Any) -> Any:
    """Returns a JSON-able value fit to be published: local paths are cut to their last part, keys of mappings too."""
    if isinstance(value, dict):
        return _strip_mapping(value)
    if isinstance(value, list | tuple):
        return [strip_local_paths(v) for v in value]
    return _last_part(value) if is_local_path(value) else value


def _strip_mapping(mapping: dict[str, Any]) -> dict[str, Any]:
    stripped: dict[str, Any] = {}
    for key, value in mapping.items():
        name = base = strip_local_paths(key)
        number = 1
        while name in stripped:  # files of two folders may have one name
            number += 1
            name = f"({number}) {base}"
        stripped[name] = strip_local_paths(value)
    return stripped


def _last_part(value: str) -> str:
    path = value.removeprefix("file://")
    parts = re.split(r"[/\\]" if WINDOWS.match(path) else "/", path)
    if path.startswith("~"):
        parts[0] = ""  # `~name` is a user's
    named = [part for part in parts if part not in ("", ".", "..")]
    last = named[-1] if named else path[:1]
    # a file may be called `~name`; what was cut must stay as it is when it is cut again
    return last if last == value else str(strip_local_paths(last))
