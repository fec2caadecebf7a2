"""Finding plugins: built-ins, installed distributions, files and modules. A broken one never stops the others."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import w2s_bench
from w2s_bench.errors import UsageError
from w2s_bench.store.escape import of_error, plain

OURS = "w2s_bench"
GROUP = "w2s_bench"
"""Entry-point group."""
BUILT_INS = "w2s_bench.plugins"
DEFAULT_PLUGINS = (
    "w2s_bench.plugins",
    "w2s_bench.plugins.tasks",
    "w2s_bench.plugins.supervisors",
    "w2s_bench.plugins.students",
    "w2s_bench.plugins.mitigations",
    "w2s_bench.plugins.ladder.command",
)
"""Built-in plugins. A package means all its modules, so that adding a plugin is adding a file."""


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that could be imported."""

    name: str
    """Dotted name, or the file's name."""
    plugin: Any
    """Nearly always a module."""
    distribution: str
    version: str
    file: Path | None
    requested: str | None = None
    """The path or module that the user named; None for what loads by itself."""


@dataclass(frozen=True)
class Broken:
    """A plugin, or one name that it registers, that cannot be used."""

    name: str
    distribution: str
    reason: str
    entries: tuple[str, ...] = ()
    """Names that its source registers, as far as they can be read off it."""
    requested: bool = False
    """Whether the user named it."""


def our_version() -> str:
    """Returns the version of w2s_bench."""
    return w2s_bench.__version__


def discover(extra: Sequence[str], installed: Collection[str] | None = None) -> Iterator[LoadedPlugin | Broken]:
    """Yields every plugin in the order in which it is registered: built-ins, entry points, W2S_PLUGINS, `extra`.

    Where `installed` is not None, of the entry points only those of these names.

    Where W2S_PLUGINS is set and empty, no installed distribution is loaded: built-ins and `extra` alone. With
    W2S_TRACE_PLUGINS=1 each plugin gets a line on stderr: how long it took, what it is and where it comes from.
    """
    began = time.perf_counter()
    for result in _discovered(extra, installed):
        result = replace(result, name=plain(result.name, 200), distribution=plain(result.distribution, 100))
        if isinstance(result, LoadedPlugin):
            result = replace(result, version=plain(result.version, 50))
        if is_traced():
            milliseconds = 1000 * (time.perf_counter() - began)
            end = f": broken: {result.reason}" if isinstance(result, Broken) else ""
            print(f"{milliseconds:7.1f} ms  {result.name} of {result.distribution}{end}", file=sys.stderr)
        yield result
        began = time.perf_counter()


def is_traced() -> bool:
    """Returns whether W2S_TRACE_PLUGINS asks for a line for each plugin."""
    return os.environ.get("W2S_TRACE_PLUGINS", "") not in ("", "0")


def _discovered(extra: Sequence[str], installed: Collection[str] | None) -> Iterator[LoadedPlugin | Broken]:
    for name in built_ins():
        yield _module(name, OURS, our_version())
    named = os.environ.get("W2S_PLUGINS")
    points = () if named == "" else importlib.metadata.entry_points(group=GROUP)
    for point in sorted(points, key=lambda p: (p.dist.name if p.dist else "", p.name)):
        if installed is None or plain(point.value, 200) in installed:
            yield _entry_point(point)
    from_environment = [p.strip() for p in (named or "").split(",")]
    seen: set[str] = set()
    for name, strict in [*((p, False) for p in from_environment), *((p, True) for p in extra)]:
        key = os.path.realpath(name) if _is_path(name) else name
        if name and key not in seen:
            seen.add(key)
            yield _file(name, strict) if _is_path(name) else _named_module(name, strict)


def built_ins() -> Iterator[str]:
    """Yields the names of the modules of the built-in plugins."""
    for name in DEFAULT_PLUGINS:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            modules = sorted(m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if not m.ispkg)
            yield from (f"{name}.{m}" for m in modules if not m.startswith("_"))
        else:
            yield name


def _module(name: str, distribution: str, version: str, requested: str | None = None) -> LoadedPlugin | Broken:
    try:
        module = importlib.import_module(name)
    except BaseException as e:
        return _failed(e, name, distribution, _file_of(name), requested is not None)
    return LoadedPlugin(name, module, distribution, version, python_file(getattr(module, "__file__", None)), requested)


def _entry_point(point: importlib.metadata.EntryPoint) -> LoadedPlugin | Broken:
    distribution, version = (point.dist.name, point.dist.version) if point.dist else (point.value, "")
    try:
        plugin = point.load()
    except BaseException as e:
        return _failed(e, point.value, distribution, _file_of(point.module))
    return LoadedPlugin(point.value, plugin, distribution, version, _file_of(point.module))


def _named_module(name: str, strict: bool) -> LoadedPlugin | Broken:
    if strict and _file_of(name) is None and name not in sys.modules:
        raise UsageError(f"--plugins {name}: there is no such file and no such module")
    top = name.partition(".")[0]
    owners = importlib.metadata.packages_distributions().get(top, [])
    distribution, version = (owners[0], importlib.metadata.version(owners[0])) if owners else (top, "")
    return _module(name, distribution, version, requested=name)


def _file(name: str, strict: bool) -> LoadedPlugin | Broken:
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        what = "is a folder; name a .py file in it, or a module" if path.is_dir() else "there is no such file"
        if strict:
            raise UsageError(f"--plugins {name}: {what}")
        return Broken(path.name, path.name, f"W2S_PLUGINS: {what}", requested=True)
    module_name = f"w2s_file_{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}"
    while module_name in sys.modules and sys.modules[module_name].__file__ != str(path):
        module_name += "_"  # another file of the same name
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        return Broken(path.name, path.name, "is not a Python file; give a .py file or a module's name", requested=True)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException as e:
        del sys.modules[module_name]
        return _failed(e, path.name, path.name, path, True)
    return LoadedPlugin(path.name, module, path.name, "", path, requested=str(path))


def _is_path(name: str) -> bool:
    return name.endswith(".py") or os.sep in name or (os.path.exists(name) and _file_of(name) is None)


def _failed(error: BaseException, name: str, distribution: str, file: Path | None, requested: bool = False) -> Broken:
    if isinstance(error, KeyboardInterrupt):
        raise error
    return Broken(name, distribution, first_line_of(error, file), names_in(file), requested)


def first_line_of(error: BaseException, file: Path | None = None) -> str:
    """Returns one line for an exception: its type, its message, and where in the plugin it came up."""
    line = plain(of_error(error).strip().partition("\n")[0], 500)
    frames = traceback.extract_tb(error.__traceback__)
    at = [f for f in frames if file and f.filename == str(file)] or [f for f in frames if "w2s_bench" not in f.filename]
    return f"{line} ({Path(at[-1].filename).name}, line {at[-1].lineno})" if at and file else line


def names_in(file: Path | None) -> tuple[str, ...]:
    """Returns the names that a source file seems to register, so that asking for one can name the broken plugin."""
    try:
        text = file.read_text() if file else ""
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(dict.fromkeys(re.findall(r"register\w*\(\s*f?[\"']([a-z][a-z0-9_]*)[\"']", text)))


def _file_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return python_file(spec.origin) if spec and spec.has_location else None


def python_file(name: str | None) -> Path | None:
    """Returns the path of a module's source; None for what has none, such as an extension."""
    return Path(name) if name and inspect.getmodulename(name) else None


def built_in_suites() -> dict[str, Path]:
    """Returns the suites that travel in the package."""
    import w2s_bench.conf

    return suites_in(Path(w2s_bench.conf.__file__ or "").parent)


def suites_in(folder: Path) -> dict[str, Path]:
    """Returns the suites of a config folder, by name."""
    return {p.stem: p for p in sorted(folder.joinpath("suite").glob("*.yaml"))}
