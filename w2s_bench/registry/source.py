"""The source that a registered name comes from, and its digest: equal source gives equal stages."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from w2s_bench.registry.loading import BUILT_INS, OURS, LoadedPlugin, python_file


class Source:
    """The source that an entry comes from, looked into when somebody asks: listing plugins reads none of it.

    A single file counts by itself, a built-in by its module, a module of an installed package with every .py file
    of its top-level package. Where the class, or what it inherits from other plugins, is elsewhere, that counts
    too; and so does what any of these import out of the built-in plugins, and what that imports there.
    """

    def __init__(self, loaded: LoadedPlugin, cls: type) -> None:
        self._loaded, self._cls = loaded, cls

    @functools.cached_property
    def files(self) -> tuple[Path, ...]:
        """All files, sorted."""
        loaded, cls = self._loaded, self._cls
        modules = {c.__module__ for c in cls.__mro__} & {m for m in sys.modules if _is_plugin_module(m)}
        files = {f for m in modules for f in _sources(m)}
        if loaded.file is not None:
            name = getattr(loaded.plugin, "__name__", None)
            files |= set(_sources(name)) if isinstance(name, str) and name in sys.modules else {loaded.file}
        if loaded.distribution != OURS or cls.__module__.partition(".")[0] != OURS:
            files |= set(_sources(cls.__module__))
        pending = list(files)
        while pending:
            more = set(_built_ins_imported_by(pending.pop())) - files
            files |= more
            pending += more
        return tuple(sorted(files))

    @functools.cached_property
    def sha256(self) -> str:
        """A SHA-256 over the files."""
        return _digest(self.files)


def _built_ins_imported_by(file: Path) -> Iterator[Path]:
    """Yields the modules of the built-in plugins that a source imports, read off it: importing them may load torch."""
    text = file.read_text()
    if BUILT_INS not in text:
        return
    names: set[str] = set()
    for node in ast.walk(ast.parse(text, str(file))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    root = Path(str(importlib.import_module(BUILT_INS).__file__)).parent
    for name in names:
        package, _, rest = name.partition(f"{BUILT_INS}.")
        path = root / rest.replace(".", "/")
        if rest and not package:
            yield from (f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file())


def _is_plugin_module(name: str) -> bool:
    return name.startswith((f"{BUILT_INS}.", "w2s_file_"))


def _sources(module: str) -> tuple[Path, ...]:
    file = python_file(getattr(sys.modules.get(module), "__file__", None))
    top = module.partition(".")[0]
    if file is None:
        return ()
    package = python_file(getattr(sys.modules.get(top), "__file__", None))
    if top in (OURS, "w2s_bench") or package is None or package.name != "__init__.py":
        return (file,)
    return tuple(sorted(package.parent.rglob("*.py")))


def _digest(files: tuple[Path, ...]) -> str:
    contents = [(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]
    if len(contents) == 1:
        return contents[0][1]
    lines = sorted(f"{name} {digest}" for name, digest in contents)  # their folders do not matter
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
