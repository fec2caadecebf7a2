"""Looks at what runs rest on, and says what to do about what does not work."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import w2s_bench
from w2s_bench.compose.settings import cache_folder, store_folder
from w2s_bench.referee import confinement
from w2s_bench.referee.engines import cores
from w2s_bench.referee.plan import STAGE_KINDS
from w2s_bench.referee.provenance import gpu, version_of
from w2s_bench.referee.walls import in_force

LOW_DISK = 2 << 30
"""Bytes of free space below which a sweep may not end."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    state: str
    """ok, note or wrong."""
    description: str
    remedy: str = ""


def examine(store: str | None = None) -> list[Finding]:
    """Returns all findings."""
    return [
        *_versions(),
        _torch(),
        _folder("store", store_folder(store), "--store DIR or W2S_STORE"),
        _folder("cache", cache_folder(), "W2S_CACHE"),
        _cache_content(Path(cache_folder())),
        *_plugins(),
        confined_workers(),
        _hub(),
    ]


def _versions() -> list[Finding]:
    python = platform.python_version()
    known = (3, 11) <= sys.version_info[:2] < (3, 14)
    findings = [
        Finding("w2s_bench", "ok", w2s_bench.__version__),
        Finding("python", "ok" if known else "wrong", python, "" if known else "use Python 3.11, 3.12 or 3.13"),
    ]
    missing = []
    for requirement in importlib.metadata.requires("w2s_bench") or []:
        name = re.match(r"[\w.-]+", requirement)
        if name and "extra ==" not in requirement and version_of(name[0]) is None:
            missing.append(name[0])
    wanted = ", ".join(f"{n} {version_of(n)}" for n in ("torch", "lightning", "transformers", "datasets"))
    remedy = f"pip install {' '.join(missing)}" if missing else ""
    return [*findings, Finding("libraries", "wrong" if missing else "ok", wanted, remedy)]


def _torch() -> Finding:
    """A process of its own, since importing torch can itself be what does not work."""
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    card = gpu()
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return Finding("devices", "wrong", "importing torch took longer than 2 minutes", "reinstall torch")
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding("devices", "wrong", f"torch does not start: {words}", "reinstall torch: pip install -U torch")
    cards = done.stdout.strip()
    description = f"{cores()} CPU cores, {cards} GPUs" + (f" ({card})" if card else "")
    if card and cards == "0":
        return Finding(
            "devices", "note", description, "torch sees no GPU: install a CUDA build of torch that fits the driver"
        )
    return Finding("devices", "ok", description, "" if cards == "0" else "hardware=gpu uses them")


def _folder(what: str, path: str, option: str) -> Finding:
    folder = Path(path)
    there = next(p for p in [folder, *folder.absolute().parents] if p.exists())
    state = "" if folder.exists() else ", made when first used"
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(what, "wrong", f"{folder}: {error.strerror}", f"give another with {option}")
    description = f"{folder}{state}, {free / 2**30:.1f} GiB free"
    if free < LOW_DISK:
        return Finding(what, "note", description, f"little space left: make some, or give another with {option}")
    return Finding(what, "ok", description)


def _cache_content(root: Path) -> Finding:
    sizes = _size_by_kind(root)
    held = ", ".join(f"{n} {kind} ({size / 2**20:.0f} MiB)" for kind, (n, size) in sizes.items() if n)
    return Finding("cached stages", "ok", held or "none yet", "can be deleted at any time" if held else "")


def _plugins() -> list[Finding]:
    from w2s_bench.registry import PLUGIN_KINDS, load

    registry = load()
    counts = ", ".join(f"{len(registry.names(k))} {k}s" for k in PLUGIN_KINDS)
    broken = [
        Finding(f"plugin {b.name}", "wrong", b.reason, f"mend or uninstall {b.distribution}") for b in registry.broken
    ]
    return [Finding("plugins", "ok", counts), *broken]


def confined_workers() -> Finding:
    """Returns what this kernel can keep workers from."""
    version = confinement.abi()
    description = in_force("auto", walled=True)
    if not version:
        remedy = "plugins can read and change what you can: read their code, or run them on Linux 6.12 or newer"
        return Finding("confined workers", "note", description, remedy)
    if version < confinement.WHOLE:
        walls = "files and TCP" if version >= 4 else "files"
        remedy = "Linux 6.12 or newer confines signals and sockets too"
        return Finding("confined workers", "note", f"{description}: {walls} alone", remedy)
    return Finding("confined workers", "ok", f"{description}: files, TCP, signals, abstract sockets")


def _hub() -> Finding:
    if os.environ.get("HF_HUB_OFFLINE"):
        return Finding("Hugging Face hub", "note", "HF_HUB_OFFLINE is set", "only what is in its cache can be used")
    try:
        from huggingface_hub import constants

        address = re.sub(r"^https?://", "", constants.ENDPOINT).split("/")[0]
    except ImportError:
        address = "huggingface.co"
    try:
        with socket.create_connection((address.split(":")[0], 443), timeout=3):
            pass
    except OSError as error:
        remedy = "the embedded suite and local files work; for a hub name, download it where there is a network"
        return Finding("Hugging Face hub", "note", f"{address} cannot be reached ({error})", remedy)
    return Finding("Hugging Face hub", "ok", f"{address} can be reached")


def _size_by_kind(root: Path) -> dict[str, tuple[int, int]]:
    """Returns (artefacts, bytes) of each kind of stage in the cache at `root`."""
    out = {}
    for kind in STAGE_KINDS:
        files = [p for p in (root / "referee" / kind).glob("*/*/**/*") if p.is_file()]
        artefacts = sum(p.name == "manifest.json" for p in files)
        out[kind] = (artefacts, sum(p.stat().st_size for p in files))
    return out
