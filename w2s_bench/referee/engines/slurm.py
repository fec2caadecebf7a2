"""The engine `slurm`: ready stages go in bundles into jobs of SLURM, by submitit; jobs go on without the referee."""

from __future__ import annotations

import getpass
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from w2s_bench.cells import Run
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.referee.engines import node
from w2s_bench.referee.engines.contract import Ended, Submission
from w2s_bench.referee.submitted import Note, Submitted
from w2s_bench.store.escape import of_error

LOOK_S = 1.0
"""How often the referee looks which stages have ended."""
ASK_S = 15.0
"""How often SLURM is asked which jobs are there, all by one call."""
GRACE_S = 30.0
"""How long after a job's end its last files may take to be seen here, over a network's file system."""
UNKNOWN = 8
"""How many stages go into one job where none like them has ended yet."""
AT_ONCE, MORE = 1000, 100
"""How many stages are submitted at most, and between two looks: each has a folder that the referee fills."""


def run_bundle(root: str, submissions: list[Submission], settings: node.Settings, bundle_s: float) -> None:
    """Runs stages one after another in a job of SLURM, and leaves for the referee how each ended.

    What has not begun after twice the time that the bundle was to take is left to other jobs.
    """
    for number in (signal.SIGUSR2, signal.SIGTERM):  # by submitit's way to say that time is up, and by SLURM's
        signal.signal(number, signal.default_int_handler)
    submitted, began = Submitted(Path(root)), time.monotonic()
    job = job_id()
    try:
        for submission in submissions:
            if time.monotonic() - began > 2 * bundle_s:
                return
            if not submitted.begin(submission.folder, job):
                continue
            try:
                ended = node.run(submission, settings)
            except (KeyboardInterrupt, W2SError) as error:
                preempted = "its job was ended: preempted, or its time was up"
                reason = str(error) if isinstance(error, W2SError) else preempted
                submitted.end(submission.folder, Ended(submission.key, "lost", reason))
                raise
            submitted.end(submission.folder, ended)
    finally:
        node.close()


def job_id() -> str:
    """Returns the id of the job that this process is, as submitit calls it."""
    import submitit

    return str(submitit.JobEnvironment().job_id)


def living_jobs() -> set[str] | None:
    """Returns the jobs of this user that SLURM has not done with, None where it does not answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())


def end_jobs(jobs: Collection[str]) -> None:
    """Has SLURM end jobs, waiting ones too; W2SError where it does not."""
    try:
        subprocess.run(["scancel", *sorted(jobs)], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise W2SError(f"scancel did not end {len(jobs)} jobs of SLURM: {of_error(error)}") from error


@dataclass
class _Out:
    """A stage in a job."""

    folder: Path
    job: str
    submission: Submission | None
    """None: an earlier referee's."""
    begun: bool = False
    gone: float | None = None
    """Since when SLURM no longer knows its job."""


@dataclass
class SlurmEngine:
    """Stages in bundles as jobs of SLURM; what a job that dies has not begun goes into another one."""

    settings: node.Settings
    cache: Path
    store: str
    parameters: dict[str, Any]
    """Of each job, as submitit calls them."""
    bundle_s: float
    workers: int
    """Jobs at a time, waiting ones included."""
    resubmit: int
    cluster: str = "slurm"
    living: Callable[[], set[str] | None] = living_jobs
    slots: int = MORE
    room: int = 1
    """How many jobs ran at the same time so far."""
    _ready: list[tuple[float, Submission]] = field(default_factory=list)
    _out: dict[str, _Out] = field(default_factory=dict)
    _taken: tuple[str, Path] | None = None
    """What `wait` last returned; by its next call the sweep has taken in what the stage left."""
    _asked: float = field(default_factory=time.monotonic)
    _works: bool = False
    name: ClassVar[str] = "slurm"
    walled: ClassVar[bool] = True
    remote: ClassVar[bool] = True
    outlives: ClassVar[bool] = True

    @staticmethod
    def of(run: Run, preload: tuple[str, ...]) -> SlurmEngine:
        """Returns the engine of a run's settings."""
        settings, engine = node.Settings.of(run, preload), run.engine
        gpus = engine.get("gpus")
        parameters = {
            "name": "w2s",
            "nodes": 1,
            "tasks_per_node": 1,
            "timeout_min": int(engine.get("time_limit_min", 240)),
            "cpus_per_task": int(engine.get("cpus") or settings.threads),
            "gpus_per_node": (1 if settings.accelerator == "gpu" else 0) if gpus is None else int(gpus),
            "mem_gb": engine.get("memory_gb"),
            "slurm_partition": engine.get("partition"),
            "slurm_account": engine.get("account"),
        }
        parameters = {k: v for k, v in parameters.items() if v not in (None, 0)}
        workers = max(1, int(engine.get("workers", 100)))
        return SlurmEngine(
            settings, Path(run.cache).absolute(), str(Path(run.store).absolute()), parameters,
            float(engine.get("bundle_s", 300.0)), workers, int(engine.get("resubmit", 3)),
        )  # fmt: skip

    @property
    def notes(self) -> Submitted:
        """Returns the notes of what was submitted."""
        return Submitted(self.cache)

    def submit(self, submission: Submission) -> None:
        """Takes a stage for one of the next jobs."""
        self._note(submission, None)
        self._ready.append((time.monotonic(), submission))

    def adopt(self, key: str) -> Path | None:
        """Returns the folder of a stage that is in a job of an earlier referee, or has ended there."""
        note = self.notes.read(key)
        if note is None or note.engine != self.name:
            return None
        folder, names = Path(note.folder), self.notes.names()
        job = note.job or self.notes.begun_by(folder)
        whole = job is not None and folder.is_dir() and f"{folder.name}.taken" not in names
        if whole and f"{folder.name}.ended" not in names:
            living = self.living()
            whole = living is None or job in living or f"{folder.name}.began" in names
        if not whole:
            self.notes.discard(note)
            return None
        self._out[key] = _Out(folder, job or "", None, f"{folder.name}.began" in names)
        return folder

    def running(self) -> list[str]:
        """Returns the keys of the stages that jobs have begun."""
        return [key for key, out in self._out.items() if out.begun]

    def wait(self, seconds: float) -> list[Ended]:
        """Returns a stage that has ended, waiting at most so long for it."""
        self._forget_taken()
        self._submit_bundles()
        deadline = time.monotonic() + seconds
        while True:
            ended = self._look() or self._ask()
            self.slots = min(AT_ONCE, len(self._out) + len(self._ready) + MORE)
            left = deadline - time.monotonic()
            if ended is not None or left <= 0:
                return [] if ended is None else [ended]
            time.sleep(min(LOOK_S, left))

    def close(self) -> None:
        """Takes back what is in no job yet; jobs go on."""
        self._forget_taken()
        for _, submission in self._ready:
            if note := self.notes.read(submission.key):
                self.notes.discard(note)
        self._ready = []

    def _note(self, submission: Submission, job: str | None) -> None:
        self.notes.write(Note(submission.key, self.name, str(submission.folder), self.store, job))

    def _forget_taken(self) -> None:
        if self._taken is not None:
            self.notes.forget(*self._taken)
            self._taken = None

    def _submit_bundles(self) -> None:
        bundles, rest = self._bundled()
        jobs_left = max(0, self.workers - len({out.job for out in self._out.values()}))
        bundles, later = bundles[:jobs_left], bundles[jobs_left:]
        self._ready = [waiting for bundle in later for waiting in bundle] + rest
        if not bundles:
            return
        lists = [[submission for _, submission in bundle] for bundle in bundles]
        n = len(bundles)
        jobs = self._executor().map_array(
            run_bundle, [str(self.cache)] * n, lists, [self.settings] * n, [self.bundle_s] * n
        )
        for job, submissions in zip(jobs, lists, strict=True):
            for submission in submissions:
                self._note(submission, str(job.job_id))
                self._out[submission.key] = _Out(submission.folder, str(job.job_id), submission)

    def _bundled(self) -> tuple[list[list[tuple[float, Submission]]], list[tuple[float, Submission]]]:
        """Returns bundles of `bundle_s` each, and what may wait until there is more."""
        bundles, last, total = [], [], 0.0
        for waiting in self._ready:
            last.append(waiting)
            expected = waiting[1].seconds
            total += self.bundle_s / UNKNOWN if expected is None else expected
            if total >= self.bundle_s * (1 - 1e-9):
                bundles.append(last)
                last, total = [], 0.0
        if last and (not self._out or time.monotonic() - last[0][0] > self.bundle_s / 10):
            bundles.append(last)
            last = []
        return bundles, last

    def _executor(self) -> Any:
        import submitit

        try:
            executor = submitit.AutoExecutor(self.notes.jobs, cluster=self.cluster)
        except RuntimeError as error:
            raise UsageError(f"engine=slurm: there is no SLURM here ({error}); run it where `sbatch` works") from error
        more = {"slurm_array_parallelism": self.workers, "slurm_additional_parameters": {"no-requeue": True}}
        executor.update_parameters(**self.parameters, **more)
        return executor

    def _look(self) -> Ended | None:
        names = self.notes.names()
        for out in self._out.values():
            out.begun = out.begun or f"{out.folder.name}.began" in names
        self.room = max(self.room, len({out.job for out in self._out.values() if out.begun}))
        for key, out in self._out.items():
            if f"{out.folder.name}.ended" in names and (content := self.notes.take(out.folder)) is not None:
                return self._end(key, Ended(**content))
        return None

    def _ask(self) -> Ended | None:
        """Returns a stage that was lost with its job; what a dead job has not begun is ready again."""
        if time.monotonic() - self._asked < ASK_S or not self._out:
            return None
        self._asked = time.monotonic()
        living = self.living()
        if living is None:
            return None
        for key, out in list(self._out.items()):
            out.gone = None if out.job in living else out.gone or time.monotonic()
            if out.gone is None or time.monotonic() - out.gone < GRACE_S:
                continue
            if out.begun or out.submission is None:
                return self._end(key, Ended(key, "lost", f"was lost with job {out.job} of SLURM"))
            if not self._works and not any(o.begun for o in self._out.values()):
                raise W2SError(f"job {out.job} of SLURM ended before it ran anything; {self._output(out.job)}")
            del self._out[key]
            self._note(out.submission, None)
            self._ready.insert(0, (time.monotonic(), out.submission))
        return None

    def _end(self, key: str, ended: Ended) -> Ended:
        self._taken = key, self._out.pop(key).folder
        self._works = True
        return replace(ended, key=key)

    def _output(self, job: str) -> str:
        for path in sorted(self.notes.jobs.glob(f"{job}_*.err")):
            if lines := path.read_text(errors="replace").split("\n")[-12:]:
                return f"the end of {path}: {' '.join(lines).strip()}"
        return f"it left no output in {self.notes.jobs}, which all nodes have to share"
