"""The engine `ray`: each stage is a task of a Ray cluster, or of a Ray that is started here and ends with the sweep."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from w2s_bench.cells import Run
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.referee.engines import node
from w2s_bench.referee.engines.contract import Ended, Submission
from w2s_bench.referee.engines.local import cores
from w2s_bench.store.escape import of_error

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS": "0"}
"""Read by Ray when it starts: it reports to nobody, and does not warn of what will change in it."""
STORE_BYTES = 100 << 20
"""Of Ray's object store, which nothing goes through: stages leave files."""
COUNT_S = 10.0
"""How often the nodes of the cluster are counted."""
PATIENCE_S = 10.0
"""How long cancelled stages have to end."""


@dataclass
class RayEngine:
    """Stages as Ray tasks. A node or a worker of Ray that dies loses its stage, which is submitted again elsewhere."""

    settings: node.Settings
    resources: dict[str, Any]
    """What Ray is asked to keep free for a stage: num_cpus, num_gpus, memory in bytes."""
    address: str
    workers: int
    resubmit: int
    slots: int = 1
    room: int = 1
    """How many stages can run at a time, as the cluster is now."""
    _ray: Any = None
    _run: Any = None
    _submitted: dict[Any, Submission] = field(default_factory=dict)
    _counted: float = 0.0
    _works: bool = False
    name: ClassVar[str] = "ray"
    walled: ClassVar[bool] = True
    remote: ClassVar[bool] = True
    outlives: ClassVar[bool] = False

    @staticmethod
    def of(run: Run, preload: tuple[str, ...]) -> RayEngine:
        """Returns the engine of a run's settings."""
        settings, engine = node.Settings.of(run, preload), run.engine
        gpus = engine.get("gpus")
        on_gpu = settings.accelerator == "gpu"
        resources = {"num_cpus": settings.threads, "num_gpus": (1 if on_gpu else 0) if gpus is None else gpus}
        if engine.get("memory_gb") is not None:
            resources["memory"] = int(float(engine["memory_gb"]) * (1 << 30))
        address, workers = engine.get("address") or "local", int(engine.get("workers", 0))
        return RayEngine(settings, resources, address, workers, int(engine.get("resubmit", 3)))

    def submit(self, submission: Submission) -> None:
        """Makes a stage a task of Ray; the first call connects to the cluster."""
        if self._ray is None:
            self._start()
        self._submitted[self._run.remote(submission, self.settings)] = submission

    def adopt(self, key: str) -> Path | None:
        """Returns None: Ray ends what it runs for a referee with the referee."""
        return None

    def running(self) -> list[str]:
        """Returns the keys of the stages whose workers have begun to write their logs."""
        return [submission.key for submission in self._submitted.values() if (submission.folder / "log.txt").exists()]

    def wait(self, seconds: float) -> list[Ended]:
        """Returns what has ended, waiting at most so long for the first."""
        self._count()
        if not self._submitted:
            return []
        ready, _ = self._ray.wait(list(self._submitted), num_returns=1, timeout=seconds)
        if ready:  # and whatever else has ended meanwhile
            ready, _ = self._ray.wait(list(self._submitted), num_returns=len(self._submitted), timeout=0)
        return [self._ended(reference) for reference in ready]

    def close(self) -> None:
        """Ends all stages and leaves the cluster; a Ray that was started here ends."""
        if self._ray is None:
            return
        for reference in self._submitted:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference)
        if self._submitted:
            self._ray.wait(list(self._submitted), num_returns=len(self._submitted), timeout=PATIENCE_S)
        self._submitted = {}
        self._ray.shutdown()
        self._ray = None

    def _start(self) -> None:
        with _untouched():
            os.environ.update(QUIET)
            import ray
            import ray._private.worker

            logging.getLogger("ray").setLevel(logging.ERROR)
            # Nothing public keeps Ray from printing on standard output that a node died; the sweep says what it lost.
            ray._private.worker.print_to_stdstream = lambda *_, **__: None
            local: dict[str, Any] = {}
            if self.address == "local":
                threads = self.settings.threads
                cpus = threads * (self.workers or max(1, cores() // threads))
                local = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
            try:
                _knock(self.address)
                ray.init(
                    self.address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR, **local
                )
            except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
                raise UsageError(f"engine.address={self.address}: no Ray cluster answers there: {error}") from error
            self._ray = ray
            self._run = ray.remote(max_retries=0, max_calls=0, **self.resources)(node.run)
        self._count()

    def _count(self) -> None:
        """Reckons how much the cluster has room for: nodes come and go."""
        if self._ray is None or time.monotonic() - self._counted < COUNT_S:
            return
        self._counted = time.monotonic()
        kinds = {"CPU": self.resources["num_cpus"], "GPU": self.resources["num_gpus"]}
        kinds["memory"] = self.resources.get("memory", 0)
        nodes = [n["Resources"] for n in self._ray.nodes() if n["Alive"]]
        room = sum(min(int(n.get(kind, 0) // need) for kind, need in kinds.items() if need) for n in nodes)
        self.room = max(1, min(room, self.workers or room))
        self.slots = self.workers or 2 * self.room  # as many again wait, so that no node has to

    def _ended(self, reference: Any) -> Ended:
        submission = self._submitted.pop(reference)
        try:
            ended = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if not self._works:
                raise W2SError(f"a node of the Ray cluster cannot run a stage: {of_error(error.cause)}") from error
            return Ended(submission.key, "lost", f"its node could not run it: {of_error(error.cause)}")
        except self._ray.exceptions.RayError as error:
            return Ended(submission.key, "lost", f"was lost with its worker or node of Ray ({type(error).__name__})")
        self._works = True
        return ended


def _knock(address: str) -> None:
    """Raises OSError where nobody answers at HOST:PORT, which Ray itself would find out in minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


@contextlib.contextmanager
def _untouched() -> Iterator[None]:
    """Keeps this process's environment and its handling of signals from what Ray does to them."""
    environment = dict(os.environ)
    main = threading.current_thread() is threading.main_thread()
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)} if main else {}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)
