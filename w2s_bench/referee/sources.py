"""Notices when what a digest was made of changes while the sweep runs: an edited plugin, a rewritten data file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee.plan import Plan, Stage


class Changed(W2SError):
    """Something is no longer what was planned; going on would keep its results under the wrong name."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} changed while the sweep ran; run the same command again: what was done before is kept"
        )


class Sources:
    """The files of the plugins that a plan uses, as they were when it was made."""

    def __init__(self, registry: Any, plan: Plan) -> None:
        keys = {key for stage in plan.stages.values() for key in plugins_of(stage)}
        self._files: dict[tuple[str, str], tuple[Path, ...]] = {key: registry.get(*key).source.files for key in keys}
        self._stamps = {path: _stamp(path) for files in self._files.values() for path in files}

    def digests(self, stage: Stage) -> tuple[tuple[str, str], ...]:
        """Returns the files of a stage's plugins, each with its SHA-256."""
        files = dict.fromkeys(path for key in plugins_of(stage) for path in self._files[key])
        return tuple((str(path), exchange.file_sha256(path)) for path in files)

    def check(self, stage: Stage) -> None:
        """Raises Changed where a plugin of a stage that has just run was edited since it was planned."""
        for key in plugins_of(stage):
            for path in self._files[key]:
                if _stamp(path) != self._stamps[path]:
                    raise Changed(f"the source of {key[0]} {key[1]!r}, {path},")


def plugins_of(stage: Stage) -> list[tuple[str, str]]:
    """Returns (kind, name) of the entries that a stage's worker runs."""
    kind = {"prepare": "task", "supervise": "supervisor"}.get(stage.kind, "student")
    return [
        (kind, stage.entry.name),
        *(("mitigation", m.name) for m in stage.mitigations),
        *(("supervisor", s.name) for s in stage.supervisors),
        *(("student", e.name) for e in stage.intermediate.values()),
    ]


def _stamp(path: Path) -> tuple[int, int]:
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_mtime_ns, status.st_size
    return 0, 0
