"""The workers' cache: frozen features, tokens and fits to weak labels, keyed by content.

    <cache>/workers/built-in/     added by stages that ran nothing but what comes with w2s_bench; every stage reads it
    <cache>/workers/<32 digits>/  added by stages with other plugins, and read by those with just the same ones

No worker writes to it. What a worker adds is in its own folder, and the referee moves it here when the stage has
ended well. Nobody can check that features are those of a text but by computing them, so what a plugin added serves
that plugin alone. And where a stage with such a plugin had truth that training has not, nothing is kept of it: features
would carry it from one stage to the next.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import Any

from w2s_bench.cells import digest
from w2s_bench.referee.plan import Stage
from w2s_bench.referee.sources import plugins_of
from w2s_bench.registry.loading import OURS

ADDED = "cache"
"""Of a job's folder, the one with what its worker adds."""
NAMES = re.compile(r"[\w-]+\.npz|features-[\w-]+/[\w-]+\.(features|index|places)")
"""Of what is taken in: no folder can get a file's name."""


def shelves_of(stage: Stage, registry: Any, root: Path) -> list[Path]:
    """Returns the folders that a stage's worker reads; what it adds goes into the first."""
    foreign = _foreign(stage, registry)
    built_in = root / "built-in"
    return [root / digest(foreign), built_in] if foreign else [built_in]


def take_in(stage: Stage, registry: Any, root: Path, folder: Path) -> None:
    """Moves what a stage's worker added in its folder into the workers' cache: plain files, and no others."""
    if _foreign(stage, registry) and (stage.kind == "ceiling" or stage.truth[1]):
        return
    added, target = folder / ADDED, shelves_of(stage, registry, root)[0]
    for parent, _, names in os.walk(added):
        for name in sorted(names):  # an index after its features, which it declares to be complete
            path = Path(parent, name)
            place = path.relative_to(added)
            with contextlib.suppress(OSError):  # its rights were changed, or the disk is full: the cache does without
                if NAMES.fullmatch(place.as_posix()) and stat.S_ISREG(path.lstat().st_mode):
                    (target / place).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target / place)


def _foreign(stage: Stage, registry: Any) -> list[str]:
    """Returns the sources of what a stage's worker runs beside what comes with w2s_bench."""
    entries = [registry.get(*key) for key in plugins_of(stage)]
    return sorted({entry.source_sha256 for entry in entries if entry.distribution != OURS})
