"""The engine `local`: worker processes on this machine, forked from a server."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee import server
from w2s_bench.referee.engines.contract import Ended, Submission
from w2s_bench.referee.environment import of_workers
from w2s_bench.registry import loading
from w2s_bench.store.escape import of_error

LIGHT = ("w2s_bench.referee.prepare", "w2s_bench.registry", "pandas")
PRELOAD = (*LIGHT, "torch", "lightning.pytorch", "w2s_bench.training.worker", *loading.built_ins())
"""What the fork server imports, so that workers need not; pyarrow looks for pandas whenever it makes an array."""

OUTPUT = "\n--- output\n"
"""Is put between a traceback and a worker's output."""
TAIL = 20_000
"""Bytes of a worker's output that come with its end."""

KILLED = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a process from outside: a lack of memory, somebody at the keyboard, another worker."""


def cores() -> int:
    """Returns how many cores this process may use; a container's quota (cgroup v2) counts."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(usable, round(int(quota) / int(period))))
    return usable


def read_failure(folder: Path) -> tuple[str | None, str]:
    """Returns the message of a worker's error.json, if there is one, and the details for a developer."""
    message, details = None, ""
    left = folder / "out" / "error.json"
    if os.path.lexists(left):
        try:
            error = exchange.read_json(left)
            message, details = error["message"].strip() or None, str(error.get("traceback", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            message, details = f"left an error.json that cannot be read: {of_error(problem)}", ""
    if (folder / "log.txt").is_file():
        with contextlib.suppress(OSError), open(folder / "log.txt", "rb") as log:
            log.seek(-min(TAIL, log.seek(0, os.SEEK_END)), os.SEEK_END)
            details += OUTPUT + log.read().decode(errors="replace")
    return message, details


@dataclass
class _Worker:
    key: str
    folder: Path
    started: float
    deadline: float
    timed_out: bool = False


@dataclass
class LocalEngine:
    """Worker processes on this machine, `slots` at a time, each killed with its children after `timeout_s`."""

    slots: int
    timeout_s: float
    threads: int
    preload: tuple[str, ...] = PRELOAD
    path: tuple[str, ...] = ()
    """Where workers import modules from; none: from where this process does."""
    _server: subprocess.Popen[bytes] | None = None
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _next: int = 0
    _ready: bool = False
    _pending: bytes = b""
    name: ClassVar[str] = "local"
    walled: ClassVar[bool] = True
    remote: ClassVar[bool] = False
    outlives: ClassVar[bool] = False
    resubmit: ClassVar[int | None] = None

    def submit(self, submission: Submission) -> None:
        """Starts a stage; the first call starts the server."""
        if self._server is None:
            self._start()
        self._next += 1
        self._workers[self._next] = _Worker(submission.key, submission.folder, time.monotonic(), float("inf"))
        self._ask(
            id=self._next,
            target=submission.target,
            folder=str(submission.folder),
            walls=submission.walls and asdict(submission.walls),
        )

    @property
    def room(self) -> int:
        """Returns how many run at a time."""
        return self.slots

    def adopt(self, key: str) -> Path | None:
        """Returns None: what ran ended with its referee."""
        return None

    def running(self) -> list[str]:
        """Returns the keys of all that was submitted."""
        return [worker.key for worker in self._workers.values()]

    def wait(self, seconds: float) -> list[Ended]:
        """Returns what has ended, waiting at most so long for the first."""
        if self._server is None or self._server.stdout is None:
            return []
        now = time.monotonic()
        for number, worker in self._workers.items():
            if now >= worker.deadline and not worker.timed_out:
                worker.timed_out = True
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._server.pid, signal.SIGCONT)  # a plugin may have stopped its parent
                self._ask(kill=number)
        nearest = min((w.deadline - now for w in self._workers.values() if not w.timed_out), default=seconds)
        handle = self._server.stdout.fileno()
        if not select.select([handle], [], [], max(0.0, min(seconds, nearest)))[0]:
            return []
        chunk = os.read(handle, 1 << 16)
        if not chunk:
            return self._server_ended()
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        return [end for line in lines for end in self._answered(json.loads(line))]

    def close(self) -> None:
        """Ends the server, and with it every worker."""
        if self._server is None:
            return
        assert self._server.stdin is not None and self._server.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._server.stdin.close()  # the server kills its workers and goes
        try:
            self._server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._server.stdout.close()
        self._server, self._workers, self._pending = None, {}, b""

    def _start(self) -> None:
        path = json.dumps([os.path.abspath(p) for p in self.path or sys.path])
        arguments = [sys.executable, "-c", server.BOOT + "server.main()", path, json.dumps(self.preload)]
        self._ready = False
        self._server = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=of_workers(self.threads), cwd=os.path.abspath(os.sep),
            start_new_session=True,  # whoever kills the referee's group leaves it alive to end the workers
        )  # fmt: skip

    def _ask(self, **request: Any) -> None:
        assert self._server is not None and self._server.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `wait` sees that it has ended
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()

    def _answered(self, answer: dict[str, Any]) -> list[Ended]:
        self._ready = self._ready or "ready" in answer
        if "pid" in answer:  # from here on the clock runs: not while the server still loads
            worker = self._workers[answer["id"]]
            worker.started = time.monotonic()
            worker.deadline = worker.started + self.timeout_s
        if "status" not in answer:
            return []
        worker = self._workers.pop(answer["id"])
        seconds = time.monotonic() - worker.started
        message, details = read_failure(worker.folder)
        code = os.waitstatus_to_exitcode(answer["status"])
        if code == 0 and message is None:
            return [Ended(worker.key, "ok", "", details, seconds, answer["memory"])]
        if worker.timed_out and code == -signal.SIGKILL:
            reason = f"took longer than engine.timeout_s={self.timeout_s:g} and was killed"
            return [Ended(worker.key, "timeout", reason, details, seconds, answer["memory"])]
        status = "lost" if message is None and -code in KILLED else "failed"
        reason, alone = message or describe_exit(code), not self._workers
        return [Ended(worker.key, status, reason, details, seconds, answer["memory"], alone)]

    def _server_ended(self) -> list[Ended]:
        """Returns what the server took along; the next submit starts another."""
        assert self._server is not None and self._server.stdout is not None and self._server.stdin is not None
        exit_text = describe_exit(self._server.wait())
        self._server.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._server.stdin.close()
        lost = list(self._workers.values())
        self._server, self._workers, self._pending = None, {}, b""
        if not self._ready:
            raise W2SError(f"the process that starts workers {exit_text} before any worker ran; try engine=inline")
        reason = f"was lost with the process that starts workers, which {exit_text}"
        return [Ended(w.key, "lost", reason, read_failure(w.folder)[1], alone=len(lost) == 1) for w in lost]


def describe_exit(code: int) -> str:
    """Returns how a process ended, to follow its name: what its exit code tells."""
    if code == -signal.SIGKILL:
        return "was killed from outside (signal 9): most often the machine ran out of memory"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"ended with exit status {code} and no word, as `os._exit` or `sys.exit` in a plugin would do it"
