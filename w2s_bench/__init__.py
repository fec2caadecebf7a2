"""Weak-to-strong generalization, measured under one protocol. Plugin authors need only `hookimpl` from here."""

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("w2s_bench")
hookspec = pluggy.HookspecMarker("w2s_bench")
