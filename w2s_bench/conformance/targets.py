"""What `w2s check TARGET` means: a registered name, a file, a folder with a plugin in it, or a module."""

from __future__ import annotations

import importlib.util
import os
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from w2s_bench.errors import UsageError
from w2s_bench.registry import PLUGIN_KINDS, Registration, Registry, loading
from w2s_bench.registry.loading import Broken, LoadedPlugin


@dataclass
class Target:
    """What is to be checked."""

    entries: list[Registration] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    suites: list[str] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    registry: Registry = field(default_factory=Registry)
    """Where the names above are registered."""
    loaded: list[LoadedPlugin] = field(default_factory=list)
    """Modules that were named and can be imported."""


def resolve(target: str, everything: Registry) -> Target:
    """Returns what a target names; UsageError where it names nothing."""
    named = _named(target, everything)
    if named is not None:
        return named
    path = Path(target).expanduser()
    if path.is_dir():
        return _alone(_of_folder(path))
    if path.is_file():
        return _alone([str(path.resolve())])
    if target.endswith(".py") or os.sep in target:
        raise UsageError(f"{target}: there is no such file and no such folder")
    if _spec(target):
        return _alone([target])
    known = [n for k in PLUGIN_KINDS for n in everything.names(k)] + [*everything.metrics, *everything.suites]
    sentence = everything.missing("name", target, known).replace("`w2s list names`", "`w2s list`")
    raise UsageError(f"{sentence}; nor is there a file, a folder or a module of this name")


def _named(name: str, everything: Registry) -> Target | None:
    entries = [everything.get(k, name) for k in PLUGIN_KINDS if name in everything.names(k)]
    metrics, suites = ([name] if name in known else [] for known in (everything.metrics, everything.suites))
    broken = [b for b in everything.broken if name == b.name.rpartition(".")[2] or name in b.entries]
    if not (entries or metrics or suites or broken):
        return None
    return Target(entries, metrics, suites, broken, everything)


def _of_folder(folder: Path) -> list[str]:
    """Returns the modules that a distribution's folder names as entry points, importable from now on."""
    project = folder / "pyproject.toml"
    if not project.is_file():
        raise UsageError(f"{folder}: no pyproject.toml here; name a .py file, or a folder with a distribution in it")
    try:
        points = tomllib.loads(project.read_text())["project"]["entry-points"][loading.GROUP]
        modules = [str(value).partition(":")[0] for value in points.values()]
    except (KeyError, AttributeError, ValueError) as e:
        raise UsageError(
            f'{project}: it needs a table [project.entry-points.{loading.GROUP}] with NAME = "MODULE" ({e})'
        ) from e
    for module in modules:
        first = module.partition(".")[0]
        roots = (folder, folder / "src")
        root = next((r for r in roots if (r / first).is_dir() or (r / f"{first}.py").is_file()), None)
        if root is None:
            raise UsageError(f"{project}: its entry point names the module {module}, which is neither here nor in src/")
        if str(root.resolve()) not in sys.path:
            sys.path.insert(0, str(root.resolve()))
        importlib.invalidate_caches()
        spec = _spec(module)
        if spec is None or spec.origin is None or not Path(spec.origin).is_relative_to(folder.resolve()):
            came = spec.origin if spec else "nowhere"
            raise UsageError(
                f"{folder}: the module {module} comes from {came}; install the folder (pip install -e {folder}) "
                "or uninstall the other"
            )
    return modules


def _alone(names: list[str]) -> Target:
    """Returns what these files or modules register, away from all others."""
    registry, target = Registry(), Target()
    for name in names:
        for result in loading.discover([name]):
            if isinstance(result, LoadedPlugin) and result.requested == name:
                registry.add(result)
                target.loaded.append(result)
            elif isinstance(result, Broken) and result.requested and result.name in (name, Path(name).name):
                registry.broken.append(result)
    registry.register_all()
    target.registry = registry
    target.entries = [e for kind in PLUGIN_KINDS for e in registry.entries(kind)]
    target.metrics, target.suites, target.broken = [*registry.metrics], [*registry.suites], registry.broken
    return target


def _spec(module: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
