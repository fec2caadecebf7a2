"""Ends running sweeps from another terminal."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from w2s_bench.compose.settings import store_folder
from w2s_bench.errors import W2SError
from w2s_bench.referee.store import RUNNING, running_sweeps

PATIENCE_S = 60.0
"""A sweep ends its workers and writes what has come in before it goes."""


def cancel_sweeps(store: str | None) -> Iterator[str]:
    """Yields a line for each sweep on a store that has ended, as an interrupt from the keyboard ends it.

    W2SError where none runs, where one runs on another machine, or does not end within a minute.
    """
    root = Path(store_folder(store))
    sweeps = running_sweeps(root / RUNNING)
    if not sweeps:
        raise W2SError(f"nothing is running on store {root}")
    here = platform.node()
    for sweep in (s for s in sweeps if s["host"] == here):
        os.kill(sweep["pid"], signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_S
        while any(s["pid"] == sweep["pid"] for s in running_sweeps(root / RUNNING)):
            if time.monotonic() > deadline:
                pid = sweep["pid"]
                raise W2SError(f"process {pid} has not ended within {PATIENCE_S:.0f} s; `kill -9 {pid}` ends it")
            time.sleep(0.1)
        cells = sweep["cells"]
        yield f"ended: {cells['done']} cells done, {cells['left']} left; the same command goes on from here"
    if elsewhere := sorted({s["host"] for s in sweeps} - {here}):
        raise W2SError(f"a sweep on store {root} runs on {', '.join(elsewhere)}; cancel it there")
