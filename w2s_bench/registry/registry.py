"""The registry: every task, supervisor, student, mitigation, metric and suite that plugins brought, and their checks.

registry = load(["my_method.py"])
registry.get("mitigation", "aux_confidence").build({"alpha_max": 0.5})
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from w2s_bench import hookspecs, interfaces
from w2s_bench.errors import UsageError, W2SError, nearest
from w2s_bench.registry import loading
from w2s_bench.registry.checks import problem_of_class, problem_of_plugin
from w2s_bench.registry.loading import Broken, LoadedPlugin
from w2s_bench.registry.options import Option, first_line, options_for
from w2s_bench.registry.source import Source
from w2s_bench.store.escape import of_error, plain

PLUGIN_KINDS = ("task", "supervisor", "student", "mitigation")
"""Kinds of plugin that cells are made of."""
PLURALS = {k: f"{k}s" for k in PLUGIN_KINDS}
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Registration:
    """A registered name: a plugin's class with all its options resolved."""

    kind: str
    name: str
    cls: type
    options: dict[str, Any]
    """Defaults of the harness and of the plugin, with what the registration changed."""
    summary: str
    """First line of the class's docstring."""
    distribution: str
    version: str
    module: str
    source: Source = field(repr=False)
    declared: Mapping[str, Option] = field(default_factory=dict, repr=False)
    """Name, type and the plugin's own default of each option."""

    @property
    def source_sha256(self) -> str:
        """Of all source that belongs to the plugin."""
        return self.source.sha256

    def kind_under(self, options: dict[str, Any]) -> Any:
        """Returns the kind of a task, which may depend on its options."""
        kind = self.cls.kind  # type: ignore[attr-defined]
        return kind if isinstance(kind, str) else self.build(options).kind

    def build(self, options: dict[str, Any] | None = None) -> Any:
        """Returns a fresh plugin object; options that are not given keep the entry's values."""
        return interfaces.build(self.cls, {**self.options, **(options or {})})


class Registry:
    """All registered names, by kind. What failed is in `broken`, with its reason."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("w2s_bench")
        self.manager.add_hookspecs(hookspecs)
        self.metrics: dict[str, Callable[..., float]] = {}
        self.suites: dict[str, Path] = {}
        self.broken: list[Broken] = []
        self.extra: list[str] = []
        """Plugins named by `--plugins` and W2S_PLUGINS, which workers must load too."""
        self._entries: dict[str, dict[str, Registration]] = {k: {} for k in PLUGIN_KINDS}
        self._origin: dict[tuple[str, str], LoadedPlugin] = {}
        self._plugins: list[LoadedPlugin] = []
        self._has_commands = False
        self._source = functools.cache(Source)  # sources are read once a registry

    def get(self, kind: str, name: str) -> Registration:
        """Returns the entry, or raises UsageError with the nearest valid name or the reason why it is broken."""
        if kind not in PLUGIN_KINDS:
            raise UsageError(f"no plugin kind '{kind}'; the kinds are {', '.join(PLUGIN_KINDS)}")
        entry = self._entries[kind].get(name)
        if entry is None:
            raise UsageError(self.missing(kind, name, self._entries[kind]))
        return entry

    def names(self, kind: str) -> list[str]:
        """Returns the names of a kind, sorted."""
        return sorted(self._entries[kind])

    def entries(self, kind: str) -> list[Registration]:
        """Returns the entries of a kind, sorted by name."""
        return [self._entries[kind][n] for n in self.names(kind)]

    def metric(self, name: str) -> Callable[..., float]:
        """Returns the metric, or raises UsageError with the nearest valid name."""
        if name not in self.metrics:
            raise UsageError(self.missing("metric", name, self.metrics))
        return self.metrics[name]

    def missing(self, kind: str, name: str, known: Iterable[str]) -> str:
        """Returns the sentence for a name that is not there; a broken plugin that has it is named with its reason."""
        for b in self.broken:
            if name == b.name.rpartition(".")[2] or name in b.entries:
                origin = f" of {b.distribution}" if b.distribution != b.name else ""
                return f"{kind} '{name}' is not available: plugin {b.name}{origin} is broken: {b.reason}"
        close = nearest(name, known)
        return f"no {kind} '{name}'{close or ';'} `w2s list {PLURALS.get(kind, f'{kind}s')}` shows all"

    def observe(self, event: Any) -> None:
        """Tells every observer of an event out of `events`; one that raises costs a warning, never the run."""
        import warnings

        hook = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
        for loaded in self._plugins:
            try:
                self._only(hook, loaded.plugin)(event=event)
            except Exception as e:
                warning = plain(f"plugin {loaded.name}: {hook}: {of_error(e)}", 500)
                warnings.warn(warning, RuntimeWarning, stacklevel=2)

    def add_commands(self, cli: Any, taken: Iterable[str] = ()) -> None:
        """Lets plugins add their verbs to the click group, once; a verb that is `taken` stays as it was."""
        if self._has_commands:
            return
        self._has_commands = True
        for loaded in list(self._plugins):
            before = dict(cli.commands)
            self._call("register_commands", loaded, cli=cli)
            for name, command in list(cli.commands.items()):
                if command is before.get(name):
                    continue
                if name in before or name in taken:
                    cli.commands.pop(name)
                    cli.commands.update({n: c for n, c in before.items() if n == name})
                    self._break(loaded, name, f"verb '{name}' is there already; the first stays, rename this one")
                else:
                    self._origin["verb", name] = loaded

    def add(self, loaded: LoadedPlugin) -> None:
        """Takes in one loaded plugin, or remembers why not."""
        problem = problem_of_plugin(loaded.plugin)
        if problem is None:
            try:
                self.manager.register(loaded.plugin)
            except Exception as e:  # what pluggy itself refuses, such as the same plugin twice
                problem = loading.first_line_of(e)
        if problem:
            self._break(loaded, loaded.name, problem, loading.names_in(loaded.file))
        else:
            self._plugins.append(loaded)

    def register_all(self) -> None:
        """Asks every plugin for what it registers, plugin by plugin, so that one that raises costs only itself."""
        for kind in PLUGIN_KINDS:
            self._call_each(f"register_{PLURALS[kind]}", functools.partial(self._registrar, kind))
        self._call_each("register_metrics", lambda loaded: functools.partial(self._register_metric, loaded))
        self._call_each("register_suites", lambda loaded: functools.partial(self._register_suite, loaded))

    def _break(self, loaded: LoadedPlugin, name: str, reason: str, entries: tuple[str, ...] = ()) -> None:
        requested = loaded.requested is not None
        self.broken.append(Broken(plain(name, 200), loaded.distribution, plain(reason, 1000), entries, requested))

    def _only(self, hook: str, plugin: Any) -> Any:
        others = [f.plugin for f in self._plugins if f.plugin is not plugin]
        return self.manager.subset_hook_caller(hook, others)

    def _call_each(self, hook: str, value: Callable[[LoadedPlugin], Any]) -> None:
        for loaded in list(self._plugins):
            self._call(hook, loaded, register=value(loaded))

    def _call(self, hook: str, loaded: LoadedPlugin, **arguments: Any) -> None:
        try:
            self._only(hook, loaded.plugin)(**arguments)
        except Exception as e:
            reason = f"{hook}: {loading.first_line_of(e, loaded.file)}"
            self._break(loaded, loaded.name, reason, loading.names_in(loaded.file))

    def _registrar(self, kind: str, loaded: LoadedPlugin) -> Callable[..., None]:
        def register(name: str, cls: type, **options: Any) -> None:
            try:
                entry = self._checked(kind, loaded, name, cls, options)
            except W2SError as e:
                # The plugin's other entries go on: only this name is lost.
                self._break(loaded, str(name), str(e))
            else:
                self._entries[kind][name] = entry
                self._origin[kind, name] = loaded

        return register

    def _check_name(self, kind: str, name: Any, loaded: LoadedPlugin) -> None:
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            raise W2SError(
                f"{kind} {name!r}: a name is lower-case letters, digits and _, 64 at most, beginning with a letter"
            )
        if (kind, name) in self._origin:
            other = self._origin[kind, name]
            raise W2SError(
                f"{kind} '{name}' is registered twice, by {other.distribution} ({other.name}) and by "
                f"{loaded.distribution} ({loaded.name}); the first stays, rename the other"
            )

    def _checked(self, kind: str, loaded: LoadedPlugin, name: str, cls: Any, options: dict[str, Any]) -> Registration:
        self._check_name(kind, name, loaded)
        who = f"{kind} '{name}'"
        if not isinstance(cls, type):
            raise W2SError(f"{who}: register takes a class, not {type(cls).__name__} {cls!r}"[:200])
        try:
            declared = options_for(kind, cls)
        except ValueError as e:
            raise W2SError(f"{who}: {e}") from e
        resolved = {o.name: copy.deepcopy(o.default) for o in declared.values()}
        for option, value in options.items():
            if option not in declared:
                raise W2SError(f"{who}: registered with the unknown option '{option}'{nearest(option, declared)}")
            try:
                resolved[option] = declared[option].coerce(value)
            except ValueError as e:
                raise W2SError(f"{who}: registered with {option}={value!r}: {e}") from e
        problem = problem_of_class(kind, cls)
        if problem:
            raise W2SError(f"{who}: {problem}")
        return Registration(
            kind, name, cls, resolved, first_line(cls), loaded.distribution, loaded.version, cls.__module__,
            self._source(loaded, cls), declared,
        )  # fmt: skip

    def _register_metric(self, loaded: LoadedPlugin, name: str, function: Callable[..., float]) -> None:
        try:
            self._check_name("metric", name, loaded)
            if not callable(function):
                raise W2SError(f"metric '{name}': register takes a function(probabilities [N, C], truth [N]) -> float")
        except W2SError as e:
            self._break(loaded, str(name), str(e))
        else:
            self.metrics[name] = function
            self._origin["metric", name] = loaded

    def _register_suite(self, loaded: LoadedPlugin, name: str, path: str | Path) -> None:
        try:
            self._check_name("suite", name, loaded)
            if name in self.suites:
                raise W2SError(f"suite '{name}' is there already; the first stays, rename {loaded.distribution}'s")
            if not Path(path).is_file():
                raise W2SError(f"suite '{name}': {path} is not a file; register_suites takes the path of a YAML file")
        except W2SError as e:
            self._break(loaded, str(name), str(e))
        else:
            self.suites[name] = Path(path)
            self._origin["suite", name] = loaded

    def brought_by(self, keys: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
        """Returns what `load` needs for these entries, by (kind, name): paths and modules, and installed plugins."""
        loaded = [self._origin[key] for key in keys]
        requested = dict.fromkeys(one.requested for one in loaded if one.requested)
        others = dict.fromkeys(one.name for one in loaded if not one.requested and one.distribution != loading.OURS)
        return list(requested), list(others)

    def requested(self, kind: str, name: str) -> str | None:
        """Returns the path or module that brought an entry, where the user named it; None for what loads by itself."""
        loaded = self._origin.get((kind, name))
        return loaded.requested if loaded else None

    def origin(self, kind: str, name: str) -> tuple[str, str]:
        """Returns distribution and version of a registered name; ours for what no plugin registered."""
        loaded = self._origin.get((kind, name))
        return (loaded.distribution, loaded.version) if loaded else (loading.OURS, loading.our_version())


def load(extra: Sequence[str] = (), installed: Collection[str] | None = None) -> Registry:
    """Returns the registry of built-ins, installed distributions, W2S_PLUGINS and `extra` paths or modules.

    `installed` names the plugins of installed distributions that are loaded, None all.
    """
    registry = Registry()
    registry.suites.update(loading.built_in_suites())
    for result in loading.discover(extra, installed):
        if isinstance(result, Broken):
            registry.broken.append(result)
        else:
            registry.add(result)
            if result.requested:
                registry.extra.append(result.requested)
    registry.register_all()
    return registry
