"""Killed at any moment, the same command goes on and ends with the same records; interrupted, it says what is saved."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.referee_bench import Bench, cell, grid

from w2s_bench.referee.store import RUNNING, running_sweeps


def start(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "support.referee_bench", str(folder), *words],
        cwd=Path(__file__).parent,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )


def progress(bench: Bench) -> int:
    """Returns how many files have come to be, finished or not: a clock that no load on the machine stretches."""
    walks = (os.walk(root) for root in (bench.cache, bench.store))  # unlike rglob, at ease with folders that go
    return sum(len(folders) + len(files) for walk in walks for _, folders, files in walk)


def kill_and_go_on(folder: Path, kills: int, seed: int) -> Bench:
    bench, rng = Bench(folder), random.Random(seed)
    hits = 0
    for _ in range(kills):
        process = start(folder)
        moment = progress(bench) + rng.randrange(1, 200 // kills)
        while process.poll() is None and progress(bench) < moment:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        with contextlib.suppress(ProcessLookupError):  # it came to its end first: no hit
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        hits += len(bench.records()) < len(grid())
    assert hits > kills // 2  # else this tests little
    assert start(folder).wait() == 0
    return bench


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    bench.go(*grid(), suite="grid")
    return bench.results()


def check(bench: Bench, undisturbed: list) -> None:
    assert len(undisturbed) == 6
    assert bench.results() == undisturbed
    assert not list((bench.cache / "jobs").iterdir())
    assert not list((bench.cache / "referee" / "building").iterdir())
    # a sweep killed after its last record leaves its word to `w2s status`, which removes it when it is next asked
    assert running_sweeps(bench.store / RUNNING) == []
    assert not [p for p in bench.store.rglob("*") if p.name.startswith(".") and RUNNING not in p.parts]


def test_five_kills(tmp_path, undisturbed):
    check(kill_and_go_on(tmp_path, 5, seed=1), undisturbed)


@pytest.mark.slow
def test_twenty_kills(tmp_path, undisturbed):
    check(kill_and_go_on(tmp_path, 20, seed=2), undisturbed)


def test_workers_die_with_their_server(tmp_path):
    bench = Bench(tmp_path)
    process = start_nap(tmp_path)
    pid = wait_for_worker(bench)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_says_what_is_saved(tmp_path, how):
    bench = Bench(tmp_path)
    process = start_nap(tmp_path)
    pid = wait_for_worker(bench)
    process.send_signal(how)
    output = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "interrupted: 1 of 2 cells are saved; the same command goes on from here" in output
    assert not alive(pid) and not list((bench.cache / "jobs").iterdir())
    assert [r["status"] for r in bench.records()] == ["ok"]


def start_nap(folder: Path) -> subprocess.Popen:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import support.referee_bench as r; from pathlib import Path\n"
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background shell ignores it
        "from w2s_bench.referee.sweep import run_cells\n"
        "b = r.Bench(Path(sys.argv[2])); run = b.run_of(r.cell('trick'), r.cell(('trick_b', {'fault': 'nap 1000'})))\n"
        "o = run_cells(run, r.registry(), worker=r.WORKER); sys.exit(130 if o.interrupted else 0)"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)]
    return subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.PIPE, text=True)


def wait_for_worker(bench: Bench) -> int:
    """Returns the process id of the worker that naps, once the other cell is recorded."""
    while True:
        time.sleep(0.05)
        pages = list((bench.cache / "workers" / "diary").glob("*.json"))
        naps = [p for p in pages if '"trick_b"' in p.read_text()]
        if naps and len(list((bench.store / "records").glob("*.json"))) == 1:
            return int(naps[0].stem.split("-")[1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_two_sweeps_at_once_share_the_work(tmp_path):
    bench, other = Bench(tmp_path), Bench(tmp_path / "other")
    other.cache = bench.cache
    cells = [cell((m, {"fault": "nap 0.2"}), seed=s) for m in ("trick", "trick_b") for s in range(2)]
    outcomes = []

    def sweep(which):
        outcomes.append(which.with_engine(which.run_of(*cells, engine={"workers": 2}), None))

    threads = [threading.Thread(target=sweep, args=(b,)) for b in (bench, other)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [o.ok for o in outcomes] == [4, 4]
    assert bench.worked() == {"ceiling": 2, "supervise": 2, "train": 4}
    assert bench.results() == other.results()
