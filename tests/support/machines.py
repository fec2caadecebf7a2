"""Owners of leases on machines that are not there, by a clock that a test sets."""

from __future__ import annotations

import json
import os
from pathlib import Path

from w2s_bench.referee.leases import Claims, Watch


class Clock:
    """Seconds; `then` happens when somebody asks for the time."""

    def __init__(self):
        self.now, self.then = 0.0, None

    def __call__(self):
        then, self.then = self.then, None
        if then is not None:
            then()
        return self.now


class Machine:
    """An owner on a machine of its own; it lives as long as its lease is renewed."""

    def __init__(self, root: Path, name: str, clock=None):
        self.clock = clock or Clock()
        self.lease, self.renewed = root / "owners" / name, 0
        self.lease.parent.mkdir(exist_ok=True)
        self.lease.write_text(json.dumps({"machine": name, "pid": os.getpid(), "began": "1"}))
        self.watch = Watch(self.clock, lambda: name)
        self.claims = Claims(root / "claims", root, name, lambda owner: self.watch.is_dead(self.lease.parent / owner))

    def renew(self):
        self.renewed += 1
        os.utime(self.lease, ns=(self.renewed, self.renewed))
