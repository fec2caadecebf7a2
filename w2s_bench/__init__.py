"""Weak-to-strong generalization, measured under one protocol.

`run`, `suite` and `board` are the benchmark from Python. A plugin needs `hookimpl`, and what it builds with is here
too: `Round`, `Inputs`, `Split`, `Backbone`. All but `hookimpl` are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from w2s_bench.api import run as run
    from w2s_bench.api import suite as suite
    from w2s_bench.board.build import Board as Board
    from w2s_bench.board.build import board as board
    from w2s_bench.interfaces import Backbone as Backbone
    from w2s_bench.interfaces import Inputs as Inputs
    from w2s_bench.interfaces import Round as Round
    from w2s_bench.interfaces import Split as Split

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("w2s_bench")
hookspec = pluggy.HookspecMarker("w2s_bench")

LAZY = {
    "run": "w2s_bench.api",
    "suite": "w2s_bench.api",
    "Board": "w2s_bench.board.build",
    "Backbone": "w2s_bench.interfaces",
    "Inputs": "w2s_bench.interfaces",
    "Round": "w2s_bench.interfaces",
    "Split": "w2s_bench.interfaces",
}
"""Names of this package and the modules that have them. `board` is the package of that name, which can be called."""


def __getattr__(name: str) -> Any:
    if name == "board":
        return importlib.import_module("w2s_bench.board")
    if name not in LAZY:
        raise AttributeError(f"module 'w2s_bench' has no attribute {name!r}")
    return getattr(importlib.import_module(LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY, "board"})
