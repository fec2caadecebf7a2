"""Imports Lightning without the libraries that it loads along and nobody here asks it for.

Lightning imports torchmetrics, whose plots, text and audio metrics import matplotlib, transformers and SciPy: more than
half of the processor time of `import lightning.pytorch`, paid before the first cell of every run.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

HEAVY = ("matplotlib", "scipy", "transformers")
"""What torchmetrics takes to be missing while Lightning is imported."""


def import_lightning() -> None:
    """Imports `lightning.pytorch`; who imports torchmetrics later gets the whole of it."""
    if "lightning.pytorch" in sys.modules or "torchmetrics" in sys.modules:
        return
    from lightning_utilities.core import imports as module

    imports: Any = module
    requirement = imports.RequirementCache
    is_met, is_there = requirement.__bool__, imports.package_available
    requirement.__bool__ = lambda self: not str(self.requirement).startswith(HEAVY) and is_met(self)
    imports.package_available = lambda name: name not in HEAVY and is_there(name)
    try:
        importlib.import_module("torchmetrics")
    finally:
        requirement.__bool__, imports.package_available = is_met, is_there
    importlib.import_module("lightning.pytorch")
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchmetrics"]:
        del sys.modules[name]  # Lightning keeps what it has of it
