"""Where a record comes from: versions, sources, machine. Never a path, a user or a host name."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import w2s_bench
from w2s_bench.cells import Cell


def of_cell(cell: Cell, registry: Any, command: str, accelerator: str) -> dict[str, Any]:
    """Returns the record's `provenance`, but for what stages know (task_fingerprint, backbones)."""
    return {
        "w2s_bench": w2s_bench.__version__,
        "git": _git(),
        "python": platform.python_version(),
        "torch": version_of("torch"),
        "lightning": version_of("lightning"),
        "plugins": _plugins(cell, registry),
        "host": host(accelerator),
        "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
    }


def _plugins(cell: Cell, registry: Any) -> list[dict[str, str]]:
    asked = [("task", cell.task), *(("supervisor", s) for s in cell.supervisors), ("student", cell.student)]
    asked += [("mitigation", m) for m in cell.mitigations]
    asked += [("student", e) for e in cell.intermediate.values()]
    out = []
    for kind, entry in asked:
        r = registry.get(kind, entry.name)
        row = {"kind": kind, "name": entry.name, "distribution": r.distribution, "version": r.version}
        row["source_sha256"] = r.source_sha256
        if row not in out:
            out.append(row)
    return out


def version_of(distribution: str) -> str | None:
    """Returns an installed distribution's version, without importing it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _git() -> dict[str, Any] | None:
    """Returns the commit that w2s_bench itself runs from, None where it is no checkout."""
    here = Path(w2s_bench.__file__).parent
    if not (here.parent / ".git").exists():
        return None
    try:
        commit = _output("git", "-C", str(here), "rev-parse", "HEAD")
        dirty = _output("git", "-C", str(here), "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(dirty)}


@functools.cache
def host(accelerator: str) -> dict[str, Any]:
    """Returns what the machine is, not which."""
    machine: dict[str, Any] = {"system": platform.system(), "cpu": _cpu(), "cores": os.cpu_count()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        machine["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if accelerator != "cpu":
        machine["gpu"] = gpu()
    return machine


def gpu() -> str | None:
    """Returns the names of the NVIDIA cards, None where there are none."""
    try:
        return ", ".join(_output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()) or None
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str:
    try:
        model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        model = None
    return model[1].strip() if model else platform.machine()


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def without_machine(text: str, *folders: Path | str) -> str:
    """Returns a message in which this machine's folders are cut down to what they are."""
    known = [*map(str, folders), os.getcwd(), tempfile.gettempdir(), os.path.expanduser("~")]
    for folder in sorted({k for k in known if len(k) > 1}, key=len, reverse=True):
        text = re.sub(re.escape(folder) + r"/*", "", text)
    return text
