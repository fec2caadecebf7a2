"""`w2s cancel`: a sweep ends from another terminal, and the same command goes on."""

import subprocess
import sys
import time

import pytest
from support.referee_bench import Bench, grid
from test_referee_kill import start

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee.cancel import cancel_sweeps
from w2s_bench.referee.store import RUNNING, Store, running_sweeps


def w2s(*words) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "w2s_bench", *map(str, words)], capture_output=True, text=True)


def test_a_sweep_ends_and_goes_on(tmp_path):
    bench = Bench(tmp_path)
    process = start(tmp_path)
    while not running_sweeps(bench.store / RUNNING):
        assert process.poll() is None
        time.sleep(0.01)
    done = w2s("cancel", "--store", bench.store)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ended: ") and "the same command goes on from here" in done.stdout
    process.wait()
    assert len(bench.records()) < len(grid())
    assert start(tmp_path).wait() == 0
    assert len(bench.records()) == len(grid())


def test_nothing_runs(tmp_path):
    done = w2s("cancel", "--store", tmp_path)
    assert (done.returncode, done.stderr) == (1, f"w2s: nothing is running on store {tmp_path}\n")


def test_a_sweep_of_another_machine_is_named(tmp_path):
    marker = Store(tmp_path).mark_running()
    marker.write(suite=None, running=[], cells={"done": 1, "failed": 0, "left": 2}, seconds=1.0, seconds_left=None)
    entry = next((tmp_path / RUNNING).glob("*.json"))
    exchange.write_json(entry, {**exchange.read_json(entry), "host": "elsewhere"})
    try:
        with pytest.raises(W2SError, match="runs on elsewhere; cancel it there"):
            list(cancel_sweeps(str(tmp_path)))
    finally:
        marker.close()
