"""State that outlives a fit: what a plugin keeps in its modules and classes, seen by comparing before and after."""

from __future__ import annotations

import collections
import random
import sys
import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

PLAIN = (type(None), bool, int, float, complex, str, bytes, range)


def kept(cls: type) -> dict[str, str]:
    """Returns a description of what classes and modules of a plugin have, by name; caches of functions are not seen.

    A module of w2s_bench or a single file is taken alone, any other with all modules of its package.
    """
    modules = {m.__name__: m for c in cls.__mro__ for m in _modules(c.__module__)}
    descriptions: dict[str, str] = {}
    for name, module in modules.items():
        short = name.rpartition(".")[2].removeprefix("w2s_file_")
        held = dict(vars(module))
        classes = [v for v in held.values() if isinstance(v, type) and v.__module__ == name]
        for holder, values in [(short, held), *((c.__name__, dict(vars(c))) for c in classes)]:
            describe = _Describer(set(modules))
            descriptions |= {f"{holder}.{k}": describe(v) for k, v in values.items() if not k.startswith("__")}
    return descriptions


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Returns the names whose description is another one now, or was not there; an import is no state."""
    return sorted(
        name for name, description in after.items() if description != "module" and before.get(name) != description
    )


def _modules(name: str) -> list[types.ModuleType]:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return []
    if top == "w2s_bench":
        return [sys.modules[name]] if name in sys.modules else []
    return [m for n, m in list(sys.modules.items()) if n.partition(".")[0] == top and isinstance(m, types.ModuleType)]


class _Describer:
    """Turns values into text that differs where they do; instances count where their class is the plugin's own."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules
        self.seen: dict[int, Any] = {}
        """By id; kept here, for the id of what is gone is given to the next."""

    def __call__(self, value: Any) -> str:
        if isinstance(value, PLAIN):
            return repr(value)
        if isinstance(value, types.ModuleType):
            return "module"
        if id(value) in self.seen:
            return "seen above"
        self.seen[id(value)] = value
        if isinstance(value, types.FunctionType):
            return f"function {self((value.__defaults__, value.__kwdefaults__))}"
        if isinstance(value, Mapping):
            return str({self(k): self(v) for k, v in value.items()})
        if isinstance(value, AbstractSet):
            return f"set {sorted(self(v) for v in value)}"
        if isinstance(value, (Sequence, collections.deque)):
            return str([self(v) for v in value])
        if isinstance(value, random.Random):
            return repr(value.getstate())
        if isinstance(value, np.random.Generator):
            return repr(value.bit_generator.state)
        if isinstance(value, np.ndarray):
            return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Generator):
            return self(value.get_state())
        if torch is not None and isinstance(value, torch.Tensor):
            return self(value.detach().cpu().double().numpy())
        of_plugin = type(value).__module__ in self.modules or (torch is not None and isinstance(value, torch.nn.Module))
        if of_plugin and hasattr(value, "__dict__") and not isinstance(value, type):
            return f"{type(value).__name__} {self(vars(value))}"
        return repr(value) if type(value).__module__ == "itertools" else type(value).__name__
