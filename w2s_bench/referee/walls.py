"""What the workers of a sweep may reach, for `confinement` to keep them to, and whether that is in force.

A worker reads libraries, its plugins' sources, models and its job folder. Stores, the cache, tasks' data and a run's
secret are hidden: nothing that a plugin or an option names opens a way to them. Only `prepare`, whose plugin makes the
truth, reads its own data.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import w2s_bench
from w2s_bench import hub
from w2s_bench.cells import Run
from w2s_bench.errors import UsageError
from w2s_bench.referee import confinement
from w2s_bench.referee.confinement import WHOLE, Walls
from w2s_bench.referee.handover import absolute
from w2s_bench.referee.plan import Plan, Stage
from w2s_bench.referee.sources import plugins_of

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/proc", "/sys")
"""/proc too: libraries ask it for processors and memory, and what is another process's there the kernel refuses."""
SETTINGS = (
    "alternatives", "ca-certificates", "fonts", "gai.conf", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "magic", "mime.types", "nsswitch.conf", "nvidia", "OpenCL", "os-release", "passwd",
    "pki", "protocols", "resolv.conf", "services", "ssl", "timezone", "vulkan",
)  # fmt: skip
"""Of /etc, what libraries read."""
DEVICES = ("null", "zero", "full", "random", "urandom", "kfd", "dri")
"""Of /dev, beside all that begins with `nvidia`. Not `shm`: what one stage leaves there another one could read."""
FOLDERS = ("out", "tmp", "cache", "saved")
"""Of a job's folder, what its worker may write to."""


def in_force(confine: str, walled: bool) -> str:
    """Returns what a record says of its workers, such as `landlock-7`, or `none: ` and why.

    UsageError where `engine.confine=required` and they would not be walled in all ways.
    """
    version = confinement.abi()
    if not walled:
        why, remedy = "inline engine", "use engine=local"
    elif confine == "off":
        return "none: engine.confine=off"
    elif not version:
        system = platform.system()
        why = "kernel offers no Landlock" if system == "Linux" else f"{system} has no Landlock"
        remedy = "run on Linux 6.12 or newer with Landlock enabled, or with engine.confine=auto"
    elif confine == "required" and version < WHOLE:
        why, remedy = (
            f"Landlock {version} lacks walls of {WHOLE}",
            "run on Linux 6.12 or newer, or with engine.confine=auto",
        )
    else:
        return f"landlock-{version}"
    if confine == "required":
        raise UsageError(f"engine.confine=required: workers cannot be confined here ({why}); {remedy}")
    return f"none: {why}"


def check_secret(plan: Plan, confined: str, walled: bool, note: Callable[[str], None]) -> None:
    """Notes where workers can read the secret of a plan's cells; UsageError where it is in their memory."""
    if not any(cell.cell.secret for cell in plan.cells):
        return
    if not walled:
        raise UsageError("secret: engine=inline runs plugins in the process that has the secret; use engine=local")
    if confined.startswith("none"):
        note(f"no walls around workers ({confined}): a plugin can read the secret's file and the truth")


def of_nodes(confine: str) -> str:
    """Returns the same of workers on other machines, before one of these says what is in force there."""
    return "none: engine.confine=off" if confine == "off" else f"as its node can: engine.confine={confine}"


def is_confined(confined: str) -> bool:
    """Returns whether a record says that there were walls."""
    return confined.startswith("landlock-")


class Reach:
    """What the workers of one sweep may reach."""

    def __init__(self, run: Run, registry: Any, plan: Plan, cache: Path) -> None:
        self.registry = registry
        self._fetched: set[tuple[str, Any]] = set()
        tasks = {stage.task.key: stage.task for stage in plan.stages.values()}
        data = [path for task in tasks.values() for path in paths_in(task.options)]
        self._secrets = {os.path.realpath(one.cell.secret.path) for one in plan.cells if one.cell.secret}
        self._closed = [*(os.path.realpath(p) for p in (run.store, cache)), *self._secrets]
        self._hidden = [*self._closed, *map(os.path.realpath, (*data, *map(str, hub.dataset_folders())))]
        self._libraries = [
            *self._open(libraries()),
            *self._open(search_path(), only=_is_source),
            *self._open(map(os.path.expanduser, run.engine.get("readable") or [])),
        ]
        self._devices = devices()

    def of(self, stage: Stage, folder: Path, shelves: Iterable[Path]) -> Walls:
        """Returns the walls of a stage's worker in its folder; it reads these shelves of the workers' cache too."""
        writable = tuple(str(folder / name) for name in FOLDERS)
        read = [*self._libraries, str(folder), *map(str, shelves)]
        files = {file for key in plugins_of(stage) for file in self.registry.get(*key).source.files}
        folders = [str(file.parent) for file in files]
        walls = Walls((), writable, self._devices)
        if stage.kind == "prepare":
            named = paths_in(stage.task.options)
            read += self._open([*folders, *named], self._closed)
            caches = hub.dataset_caches(re.split(r"[\[@]", stage.fingerprint)[0], any(map(os.path.isdir, named)))
            walls = replace(walls, write=(*writable, *map(str, caches)), connect=not hub.is_offline())
            read += map(str, hub.settings())
        else:
            read += self._open([*folders, *map(str, files)], only=_is_source)
            entries = (stage.entry, *stage.mitigations, *stage.supervisors, *stage.intermediate.values())
            read += self._open(path for entry in entries for path in paths_in(absolute(entry).options))
            read += map(str, hub.model_folders())
        for secret in self._secrets:
            opened = next((p for p in (*read, *walls.write) if _is_in(secret, os.path.realpath(p))), None)
            if opened:
                raise UsageError(f"secret={secret}: workers read all of {opened}; move the file out of it")
        return replace(walls, read=tuple(dict.fromkeys(read)))

    def fetch(self, stage: Stage) -> Iterator[str]:
        """Yields a line for each model of the hub that a stage names and that could not be brought into the cache.

        Workers reach no network, so this process fetches for them; it runs no plugin for that. Each is asked for once.
        """
        entries = () if stage.kind == "prepare" else (stage.entry, *stage.supervisors, *stage.intermediate.values())
        for entry in entries:
            name, revision = entry.options.get("model"), entry.options.get("revision")
            if not isinstance(name, str) or not hub.NAME.fullmatch(name) or os.path.exists(os.path.expanduser(name)):
                continue
            if (name, revision) not in self._fetched:
                self._fetched.add((name, revision))
                if problem := hub.fetch_model(name, revision, f"{entry.name}.model"):
                    yield f"model {name} could not be fetched: {problem}"

    def _open(
        self, paths: Iterable[str], hidden: list[str] | None = None, only: Callable[[str], bool] = lambda _: True
    ) -> Iterator[str]:
        """Yields what of these paths may be shown; of a folder with something hidden in it, what `only` is true for."""
        hidden = self._hidden if hidden is None else hidden
        for path in dict.fromkeys(map(os.path.realpath, paths)):
            if not os.path.exists(path) or any(_is_in(path, h) for h in hidden):
                continue
            if os.path.isdir(path) and any(_is_in(h, path) for h in hidden):
                yield from self._open((e.path for e in os.scandir(path) if only(e.path)), hidden, only)
            else:
                yield path


def devices() -> tuple[str, ...]:
    """Returns the devices of this machine that a worker may use."""
    return tuple(str(p) for p in Path("/dev").glob("*") if p.name in DEVICES or p.name[:6] == "nvidia")


def of_etc() -> tuple[str, ...]:
    """Returns what libraries read of /etc."""
    return tuple(f"/etc/{name}" for name in SETTINGS)


def libraries() -> list[str]:
    """Returns what interpreter and libraries are made of, and what they ask the system for."""
    ours = [Path(w2s_bench.__file__ or "").parent]
    ours += [Path(part) for name in ("plugins", "conf") for part in getattr(_module(name), "__path__", ())]
    loader = [p for p in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if p]
    interpreter = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
    return [*interpreter, *map(str, ours), *SYSTEM, *of_etc(), *loader]


def search_path() -> list[str]:
    """Returns where modules are imported from."""
    return [os.path.abspath(p) for p in sys.path]


def paths_in(value: Any) -> list[str]:
    """Returns the paths of this machine among the texts of an entry's options, absolute."""
    if isinstance(value, dict | list | tuple):
        return [path for part in (value.values() if isinstance(value, dict) else value) for path in paths_in(part)]
    if not isinstance(value, str) or not value or "\0" in value:
        return []
    path = os.path.abspath(os.path.expanduser(value.removeprefix("file://")))
    return [path] if os.path.exists(path) else []


def _module(name: str) -> Any:
    import importlib

    return importlib.import_module(f"w2s_bench.{name}")


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_source(path: str) -> bool:
    """Returns whether Python may import it: data, which may be a task's, is none."""
    return path.endswith((".py", ".so")) or os.path.isfile(os.path.join(path, "__init__.py"))
