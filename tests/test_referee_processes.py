"""Plugins that kill, stop or outlive: what they do to others is undone, and what they leave behind ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.fake_worker import lives
from support.referee_bench import Bench, cell

from w2s_bench.referee.engines import LIGHT, LocalEngine
from w2s_bench.referee.environment import MEMORY, of_workers

TESTS = Path(__file__).parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can adopt orphans")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def status_of(bench: Bench) -> dict[str, tuple[str, str | None]]:
    """Returns (status, reason) by the name of the mitigation."""
    return {r["cell"]["mitigations"][0]["name"]: (r["status"], r["reason"]) for r in bench.records()}


def daemons(bench: Bench) -> list[int]:
    found = [int(p.name.split("-")[1]) for p in (bench.cache / "workers").glob("daemon-*")]
    assert len(found) >= 2
    return [pid for pid in found if lives(pid)]


def test_a_plugin_that_kills_its_parent_alone_fails(bench):
    beside = [cell((m, {"fault": "nap 0.5"})) for m in ("trick_b", "trick_c", "control")]
    outcome = bench.go(cell(("trick", {"fault": "kill parent"})), *beside)
    assert (outcome.ok, outcome.failed) == (3, 1)
    status, reason = status_of(bench)["trick"]
    assert status == "failed"
    assert reason == (
        "was lost with the process that starts workers, which was killed from outside (signal 9): most often the "
        "machine ran out of memory; twice so while nothing else ran"
    )
    assert "it runs again, with nothing beside it" in bench.output
    assert not list((bench.cache / "jobs").iterdir())


def test_a_plugin_that_kills_its_neighbour_does_not_cost_it(bench):
    beside = [cell((m, {"fault": "nap 1"})) for m in ("trick_b", "trick_c")]
    outcome = bench.go(cell(("trick", {"fault": "kill neighbour"})), *beside)
    assert (outcome.ok, outcome.failed) == (3, 0)
    assert bench.output.count("it runs again, with nothing beside it") == 1
    assert bench.worked()["train"] == 4


def test_a_worker_that_is_killed_alone_twice_fails(bench):
    outcome = bench.go(cell(("trick", {"fault": "oom"})), cell("trick_b"))
    assert (outcome.ok, outcome.failed) == (1, 1)
    status, reason = status_of(bench)["trick"]
    assert status == "failed"
    assert reason.endswith("most often the machine ran out of memory; twice so while nothing else ran")
    assert bench.worked()["train"] in (3, 4)  # once `trick_b`, twice `trick` alone, and before that maybe both at once


def test_a_plugin_that_stops_its_parent_holds_nobody_up(bench):
    outcome = bench.go(cell(("trick", {"fault": "stop parent"})), cell("trick_b"), timeout_s=3.0)
    assert outcome.ok == 2


@linux
@pytest.mark.parametrize("end", ["", "exit 3", "crash", "hang", "kill parent"])
def test_nothing_that_a_worker_started_survives_it(bench, end):
    bench.go(cell(("trick", {"fault": f"daemon {end}"})), timeout_s=4.0 if end == "hang" else 60.0)
    assert status_of(bench)["trick"][0] == {"": "ok", "hang": "timeout"}.get(end, "failed")
    assert daemons(bench) == []


@linux
def test_what_a_worker_started_lives_as_long_as_it_does(bench):
    outcome = bench.go(cell(("trick", {"fault": "daemon outlast neighbour"})), cell("trick_b"), cell("trick_c"))
    assert outcome.ok == 3
    assert daemons(bench) == []


@linux
@pytest.mark.parametrize("how", ["the referee", "its group"])
def test_nothing_survives_a_killed_run(tmp_path, how):
    bench = Bench(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from support import referee_bench as r\n"
        "b = r.Bench(Path(sys.argv[2])); b.with_engine(b.run_of(r.cell(('trick', {'fault': 'daemon hang'}))), None)"
    )
    arguments = [sys.executable, "-c", code, str(TESTS), str(tmp_path)]
    process = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.DEVNULL)
    while not (bench.cache / "workers" / "child").exists():
        time.sleep(0.05)
        assert process.poll() is None
    assert len(daemons(bench)) == 2
    if how == "its group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while daemons(bench) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert daemons(bench) == []


def test_workers_are_spawned_where_forks_are_unsafe(bench):
    engine = LocalEngine(2, 60.0, 1, (*LIGHT, "support.threaded"))
    try:
        outcome = bench.with_engine(bench.run_of(cell(("trick", {"fault": "daemon"})), cell("trick_b")), engine)
    finally:
        engine.close()
    assert outcome.ok == 2, bench.output
    assert bench.worked() == {"ceiling": 1, "supervise": 1, "train": 2}
    if sys.platform == "linux":
        assert daemons(bench) == []


ALLOCATE = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for _ in range(8):
    block = libc.malloc(64 << 20)
    libc.memset(block, 1, 64 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def test_workers_keep_freed_memory(bench, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "123")
    slots = LocalEngine(1, 60.0, 1, LIGHT)
    try:
        bench.with_engine(bench.run_of(cell()), slots)
    finally:
        slots.close()
    wanted = MEMORY | {"MALLOC_TRIM_THRESHOLD_": "123"}  # what the user set stays
    assert all(page["allocator"] == wanted for page in bench.diary()) and bench.diary()


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="glibc's variables")
def test_kept_memory_is_not_cleared_again(monkeypatch):
    for name in MEMORY:
        monkeypatch.delenv(name, raising=False)
    kept = of_workers(1)
    given_back = {k: v for k, v in kept.items() if k not in MEMORY}
    few, many = (
        int(subprocess.run([sys.executable, "-c", ALLOCATE], env=e, capture_output=True, check=True).stdout)
        for e in (kept, given_back)
    )
    assert many - few > 4 * (64 << 20) / os.sysconf("SC_PAGE_SIZE")
