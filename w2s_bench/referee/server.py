"""The process that worker processes are forked from: it has imported the heavy libraries and run nothing.

Started by `engines.LocalEngine`. It reads one JSON object a line, {"id", "target", "folder", "walls"} or {"kill": id},
and writes {"ready"}, then {"id", "pid"} and {"id", "status", "memory"} (wait status, peak bytes) for each worker. A
worker leads a session of its own, within its walls where they are not null. What it started ends with it, before its
status is written (Linux: all descendants, elsewhere those of its process group). This process ends, and takes the
workers along, when its standard input closes, which a killed referee sees to. Killed itself, it leaves that to its
guard, the process that it came from.

Not multiprocessing's fork server: that one runs the parent's main script again in each child, leaves children alive
when the parent is killed, and says nothing about what a child used.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import json
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from w2s_bench import hub
from w2s_bench.referee import confinement
from w2s_bench.referee.lean import import_lightning
from w2s_bench.referee.processes import adopt_orphans, kill_children

BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from w2s_bench.referee import server; "
"""Makes a fresh interpreter see what the referee sees, wherever that was installed."""


MANY = 8
"""Workers after which it pays to load in advance what only some of them need."""
SOME_NEED = ("sklearn.linear_model", "transformers")


def call(target: str, folder: str) -> None:
    """Returns when the target (`module:function`) has run on the folder."""
    module, _, name = target.partition(":")
    getattr(importlib.import_module(module), name)(folder)


def main() -> None:
    """Serves until standard input closes. sys.argv: -c, the module path, the modules to preload."""
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the referee decides
    adopt_orphans()
    may_fork = sys.platform == "linux"
    if may_fork:
        _leave_guard(requests, answers)
        _preload(json.loads(sys.argv[2]))
        may_fork = threading.active_count() == 1  # a library that runs threads of its own makes forks unsafe
    _Server(requests, answers, may_fork).serve()


def _preload(modules: Iterable[str]) -> None:
    for module in modules:
        try:
            import_lightning() if module == "lightning.pytorch" else importlib.import_module(module)
        except Exception as error:  # the worker that needs it will say so
            print(f"w2s: {module} could not be loaded in advance: {error}", file=sys.stderr)


def _leave_guard(*handles: int) -> None:
    """Returns in a child process; this one waits for its end, kills what is left of the workers, and ends likewise."""
    server = os.fork()
    if server == 0:
        adopt_orphans()
        return
    for handle in handles:
        os.close(handle)
    _, status = os.waitpid(server, 0)
    kill_children()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


class _Server:
    def __init__(self, requests: int, answers: int, may_fork: bool) -> None:
        self.requests, self.answers, self.may_fork = requests, answers, may_fork
        self.workers: dict[int, int] = {}  # pid -> id
        self.started = 0
        self.wakeup_read, self.wakeup_write = os.pipe()
        os.set_blocking(self.wakeup_write, False)
        os.set_blocking(self.wakeup_read, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakeup_write, warn_on_full_buffer=False)

    def serve(self) -> None:
        self.say(ready=True, forks=self.may_fork)
        pending = b""
        try:
            while True:
                ready, _, _ = select.select([self.requests, self.wakeup_read], [], [])
                if self.wakeup_read in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wakeup_read, 4096)
                    self.reap()
                if self.requests in ready:
                    chunk = os.read(self.requests, 1 << 16)
                    if not chunk:
                        return
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        self.obey(json.loads(line))
        except BrokenPipeError:
            return
        finally:
            for pid in self.workers:
                _kill(pid)
            kill_children()

    def say(self, **answer: Any) -> None:
        os.write(self.answers, json.dumps(answer).encode() + b"\n")

    def obey(self, request: dict[str, Any]) -> None:
        if "kill" in request:
            for pid, number in self.workers.items():
                if number == request["kill"]:
                    _kill(pid)
            return
        start: Callable[[str, str, Any], int] = self.fork if self.may_fork else self.spawn
        pid = start(request["target"], request["folder"], request["walls"])
        self.workers[pid] = request["id"]
        self.say(id=request["id"], pid=pid)
        self.started += 1
        if self.started == MANY and "lightning.pytorch" in sys.modules:
            _preload(SOME_NEED)

    def fork(self, target: str, folder: str, walls: Any) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # native threads that know how to be forked
            pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for handle in (self.requests, self.answers, self.wakeup_read, self.wakeup_write):
                os.close(handle)
            run_worker(target, folder, walls)
        finally:
            os._exit(1)  # never back into the server's loop
        return 0

    def spawn(self, target: str, folder: str, walls: Any) -> int:
        code = BOOT + "server.run_worker(*sys.argv[2:4], json.loads(sys.argv[4]))"
        arguments = [sys.executable, "-c", code, json.dumps(sys.path), target, folder, json.dumps(walls)]
        return os.posix_spawn(sys.executable, arguments, os.environ)  # a Popen would wait for it, and so would `reap`

    def reap(self) -> None:
        ended = []
        for pid in self.workers:
            reaped, status, usage = os.wait4(pid, os.WNOHANG)
            if reaped:
                ended.append((pid, status, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)))
        for pid, status, memory in ended:
            number = self.workers.pop(pid)
            _kill(pid, group_only=True)
            kill_children(keep=self.workers)
            self.say(id=number, status=status, memory=memory)


def run_worker(target: str, folder: str, walls: dict[str, Any] | None) -> None:
    """Never returns: runs the target on the folder as a worker process of its own, then ends the process.

    `walls` are those of `confinement.Walls`, None for none.
    """
    parent = os.getppid()
    code = 1
    try:
        os.setsid()
        adopt_orphans()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(os.path.join(folder, "log.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        settle(folder)
        if walls is not None:
            # Python keeps what it lists here: within the walls it may import from folders that it may not list.
            importlib.machinery.PathFinder.find_spec("w2s_nothing", sys.path)
            if not walls["connect"]:
                hub.go_offline()
            confinement.enter(confinement.Walls(**walls))
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
        call(target, folder)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def settle(folder: str) -> None:
    """Makes a job folder's `tmp` this process's working directory and the place of its temporary files."""
    scratch = os.path.join(folder, "tmp")
    os.makedirs(scratch, exist_ok=True)
    os.chdir(scratch)
    os.environ["TMPDIR"] = tempfile.tempdir = scratch


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.25)
    kill_children()
    os.killpg(0, signal.SIGKILL)


def _kill(pid: int, group_only: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if not group_only:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it may not lead a session yet
