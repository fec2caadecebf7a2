"""Typed Hydra configs: the settings of a run, and one for each registered entry, under its group and package."""

from __future__ import annotations

import copy
import dataclasses
import functools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.config_store import ConfigStore

from w2s_bench.cells import ENTRY_RECIPE_FIELDS, Protocol
from w2s_bench.interfaces import Recipe
from w2s_bench.registry import PLUGIN_KINDS, Registry
from w2s_bench.registry.options import Option, declared

CONF = "pkg://w2s_bench.conf"
MULTI_VALUE_GROUPS = ("supervisor", "mitigation")
"""Groups that take several names; the key of an option there is `group.name.option`."""


@dataclass
class Trainer:
    """Arguments for Lightning's Trainer that cannot change a number in a table; null leaves Lightning's default."""

    accelerator: Any = None
    devices: Any = None
    strategy: Any = None
    num_nodes: Any = None
    profiler: Any = None
    benchmark: Any = None
    detect_anomaly: Any = None
    log_every_n_steps: Any = None
    enable_progress_bar: Any = None
    enable_model_summary: Any = None


def recipe_options() -> dict[str, Option]:
    """Returns the options of a recipe that belong to the protocol."""
    return {name: option for name, option in declared(Recipe).items() if name not in ENTRY_RECIPE_FIELDS}


def register(registry: Registry) -> None:
    """Puts the settings and all entries into Hydra's ConfigStore, in place of those of an earlier registry."""
    store = ConfigStore.instance()
    for kind in PLUGIN_KINDS:
        store.repo.pop(kind, None)
        for entry in registry.entries(kind):
            package = f"{kind}.{entry.name}" if kind in MULTI_VALUE_GROUPS else kind
            values = {"name": entry.name, **entry.options}
            options = {"name": Option("name", str, entry.name), **entry.declared}
            node = _dataclass(f"{kind}_{entry.name}", options, values)
            store.store(name=entry.name, node=node, group=kind, package=package, provider="w2s_bench")
    protocol = Protocol()
    recipes = {
        n: _dataclass(n, recipe_options(), dataclasses.asdict(getattr(protocol, n)))
        for n in ("training", "supervision")
    }
    store.store(
        name="settings",
        node={
            "seed": 0,
            "store": None,
            "cache": None,
            "secret": None,
            "protocol": {"metric": protocol.metric, **recipes},
            "trainer": Trainer,
        },
        provider="w2s_bench",
    )


def start_hydra(config_dirs: Sequence[str | Path]) -> Any:
    """Returns a Hydra over our conf/ and the user's folders, which come first."""
    from hydra._internal.hydra import Hydra  # what @hydra.main itself calls; the public API takes no --config-dir
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import setbase

    setbase("1.3")
    path = create_config_search_path(CONF)
    for folder in reversed(config_dirs):
        path.prepend(provider="command-line", path=f"file://{Path(folder).resolve()}")
    GlobalHydra.instance().clear()
    return Hydra.create_main_hydra2(task_name="w2s", config_search_path=path)


def _dataclass(name: str, options: Mapping[str, Option], values: dict[str, Any]) -> type:
    fields = []
    for option in options.values():
        value = values[option.name]
        default = dataclasses.field(default_factory=functools.partial(copy.deepcopy, value))
        fields.append((option.name, _hydra_type(option.type), default))
    return dataclasses.make_dataclass(name, fields)


def _hydra_type(kind: Any) -> Any:
    """Returns the type as OmegaConf knows it: texts with choices are texts there, checked by `Option.coerce`."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return str
    if origin in (list, dict):
        return origin[tuple(_hydra_type(a) for a in args)] if origin is dict else list[_hydra_type(args[0])]  # type: ignore[misc]
    if origin is not None:
        return _hydra_type(next(a for a in args if a is not type(None))) | None
    return kind
