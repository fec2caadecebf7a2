"""A worker in milliseconds: acts out the jobs of `referee_plugin`, and writes down what lay within its reach."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

from support.damage import damage
from w2s_bench import exchange
from w2s_bench.jobs import Cost, Job


def run(folder: str) -> None:
    """Does the job in a folder."""
    place = Path(folder)
    assert Path.cwd() == place.resolve() / "tmp"
    job = Job.read(place)
    diary = place.parent.parent / "workers" / "diary"
    diary.mkdir(exist_ok=True)
    reach = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    own = [job.entry, *job.mitigations]
    page = {
        "pid": os.getpid(),
        "stage": job.stage,
        "seed": job.seed,
        "names": [e.name for e in own],
        "reach": sorted(reach - {"log.txt"}),
        "variables": sorted(k for k in os.environ if k.startswith(("W2S_", "RAY", "SLURM"))),
        "allocator": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
        "bytes": {n: hashlib.sha256((place / n).read_bytes()).hexdigest() for n in sorted(reach) if n != "log.txt"},
    }
    exchange.write_json(diary / f"{time.time_ns()}-{os.getpid()}.json", page)
    fault = next((e.options["fault"] for e in own if e.options.get("fault")), "")
    where, _, fault = fault.rpartition("@")
    if where not in ("", job.stage):
        fault = ""
    out = place / "out"
    misbehave(fault, place)
    if job.stage == "supervise":
        supervise(job, place, fault)
    else:
        learn(job, place, fault)
    Cost(seconds=0.25, steps=3, examples=30, tokens=90, flops=1e6).write(out)
    exchange.write_json(out / "identity.json", {job.entry.name: {"name": "fake"}})
    if fault.startswith("leave "):
        name, way = fault.removeprefix("leave ").split(": ")
        (place / name).touch()
        damage(place / name, way)


def misbehave(fault: str, place: Path) -> None:
    """Does what a fault says, where it is one of the process's."""
    workers = place.parent.parent / "workers"
    if fault.startswith("daemon"):
        start_daemon(workers)
        fault = fault.removeprefix("daemon").strip()
    if fault == "kill parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    if fault == "stop parent":
        os.kill(os.getppid(), signal.SIGSTOP)
    if fault == "kill neighbour":
        os.kill(neighbour(workers, alive=True), signal.SIGKILL)
    if fault == "outlast neighbour":
        neighbour(workers, alive=False)
        assert all(lives(int(p.name.split("-")[1])) for p in workers.glob("daemon-*"))
    if fault == "raise":
        exchange.write_json(
            place / "out" / "error.json", {"message": "trick raised ValueError: no", "traceback": "Trace ..."}
        )
        sys.exit(1)
    if fault == "uncaught":
        print("words before the end", file=sys.stderr)
        raise RuntimeError("not in error.json")
    if fault == "exit":
        os._exit(0)
    if fault == "exit 3":
        os._exit(3)
    if fault == "crash":
        os.kill(os.getpid(), 11)
    if fault == "oom":
        os.kill(os.getpid(), 9)
    if fault == "full":
        message = "OSError: [Errno 28] No space left on device"
        exchange.write_json(place / "out" / "error.json", {"message": message, "traceback": ""})
        sys.exit(1)
    if fault == "hang":
        import subprocess

        child = subprocess.Popen(["sleep", "1000"])
        (workers / "child").write_text(str(child.pid))
        time.sleep(1000)
    if fault == "remove referee":
        shutil.rmtree(place.parent.parent / "referee", ignore_errors=True)
    if fault.startswith("damage "):
        name, way = fault.removeprefix("damage ").split(": ")
        path = place.parent.parent / name
        while not path.is_file():
            time.sleep(0.01)
        with contextlib.suppress(OSError, shutil.Error):  # the referee may remove what is half damaged
            damage(path, way)
    if fault.startswith("nap"):
        time.sleep(float(fault.removeprefix("nap ")))
    if fault.startswith("until "):
        while not os.path.exists(fault.removeprefix("until ")):
            time.sleep(0.05)


def lives(pid: int) -> bool:
    """Returns whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def neighbour(workers: Path, alive: bool) -> int:
    """Returns a worker that began to train after this one, once it runs, or has run."""
    own = next((workers / "diary").glob(f"*-{os.getpid()}.json"))
    while True:
        for page in sorted(p for p in (workers / "diary").glob("*.json") if p.name > own.name):
            pid = int(page.stem.split("-")[1])
            if lives(pid) == alive and json.loads(page.read_text())["stage"] == "train":
                return pid
        time.sleep(0.01)


def start_daemon(folder: Path) -> None:
    """Leaves two processes in sessions of their own, one below the other, that are deaf to SIGTERM and no children."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.fork()
            os.setsid()
            (folder / f"daemon-{os.getpid()}").touch()
            time.sleep(1000)
        os._exit(0)
    while len(list(folder.glob("daemon-*"))) < 2:
        time.sleep(0.01)


def supervise(job: Job, place: Path, fault: str) -> None:
    truth = np.load(place / "in" / "truth.npy")
    assert len(truth) == len(exchange.read_inputs(place / "in" / "supervision.parquet"))
    votes = {}
    for split in ("transfer", "validation", "test"):
        ids = exchange.read_inputs(place / "in" / f"{split}.parquet").ids
        votes[split] = guesses(ids, job.seed, job.entry.options["strength"], job.task.n_classes)
    if fault == "nan":
        votes["test"][1, 0] = np.nan
    elif fault == "abstain":
        votes["test"][:5] = np.nan
    elif fault == "sum":
        votes["transfer"][2] *= 2
    elif fault == "shape":
        votes["transfer"] = votes["transfer"][:-1]
    elif fault == "no validation":
        del votes["validation"]
    exchange.write_arrays(place / "out" / "votes.npz", **votes)
    (place / "out" / "supervisor").mkdir()
    (place / "out" / "supervisor" / "saved.json").write_text("{}")
    if fault == "link":
        (place / "out" / "supervisor" / "secret").symlink_to("/etc/hostname")


def learn(job: Job, place: Path, fault: str) -> None:
    """Predicts from seeds and, as honest code does, from what it was given."""
    salt = hashlib.sha256(b"".join(p.read_bytes() for p in sorted((place / "in").rglob("*")) if p.is_file())).digest()
    seed = job.seed ^ int.from_bytes(salt[:3], "big") ^ len(json.dumps([m.name for m in job.mitigations]))
    splits = {}
    for split in ("test", "transfer") if job.stage == "ceiling" else ("test", "transfer", "validation"):
        ids = exchange.read_inputs(place / "in" / f"{split}.parquet").ids
        splits[split] = (ids, guesses(ids, seed, 0.95 if job.stage == "ceiling" else 0.8, job.task.n_classes))
    ids, p = splits["test"]
    if fault == "nan":
        p[0] = np.nan
    elif fault == "ids":
        splits["test"] = (ids[::-1], p)
    elif fault == "short":
        splits["test"] = (ids[:-1], p[:-1])
    elif fault == "sum":
        p[3] = 0.9
    exchange.write_predictions(place / "out" / "predictions.parquet", splits)
    if fault == "torn":
        (place / "out" / "predictions.parquet").write_bytes(b"PAR1 not really")


def guesses(ids: list[str], seed: int, strength: float, classes: int) -> np.ndarray:
    rng = np.random.default_rng([seed, len(ids)])
    p = rng.dirichlet([1 - strength / 2] * classes, len(ids))
    return p
