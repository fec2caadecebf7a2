"""Failures cost the cells that rest on what failed, and say why."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.referee_bench import Bench, cell

from w2s_bench.errors import W2SError


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("raise", "failed", "trick raised ValueError: no"),
        ("uncaught", "failed", "ended with exit status 1 and no word"),
        ("exit", "failed", "ended without leaving predictions.parquet"),
        ("exit 3", "failed", "ended with exit status 3 and no word"),
        ("crash", "failed", "crashed (SIGSEGV)"),
        ("oom", "failed", "ran out of memory"),
        ("nan", "failed", "predictions for test are not probabilities in 1 of 50 rows, first in row 0"),
        ("sum", "failed", "expected numbers >= 0 that sum to 1"),
        ("ids", "failed", "not for the examples that were asked"),
        ("short", "failed", "49 ids came, 50 were asked"),
        ("torn", "failed", "predictions.parquet cannot be read"),
    ],
)
def test_a_fault_costs_one_cell(bench, fault, status, reason):
    outcome = bench.go(cell(("trick", {"fault": fault})), cell("trick_b"))
    assert (outcome.ok, outcome.failed) == (1, 1)
    failed = next(r for r in bench.records() if r["status"] != "ok")
    assert failed["status"] == status and reason in failed["reason"]
    assert failed["test"] is None and failed["pgr"] is None and failed["predictions"] is None
    assert reason in bench.output
    assert not list((bench.cache / "jobs").iterdir())


def test_a_worker_that_leaves_a_link_fails(bench):
    bench.go(cell("trick", supervisors=(("guess", {"fault": "link"}),)))
    assert "left secret, which is not a plain file" in bench.record()["reason"]


def test_a_hang_is_killed_with_its_children(bench):
    outcome = bench.go(cell(("trick", {"fault": "hang"})), cell("trick_b"), timeout_s=3.0)
    assert (outcome.ok, outcome.failed) == (1, 1)
    failed = next(r for r in bench.records() if r["status"] != "ok")
    assert failed["status"] == "timeout" and "engine.timeout_s=3" in failed["reason"]
    child = int((bench.cache / "workers" / "child").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in _state(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists() or "Z" in _state(child)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("nan", "votes for test are not probabilities in 1 of 50 rows, first in row 1"),
        ("sum", "votes for transfer are not probabilities"),
        ("shape", "votes for transfer came as float64 [29, 2], expected probabilities of shape [30, 2]"),
        ("no validation", "gave no votes for validation"),
        ("crash", "crashed (SIGSEGV)"),
    ],
)
def test_a_failed_supervisor_fails_what_rests_on_it(bench, fault, reason):
    bad = ("guess", {"fault": fault})
    outcome = bench.go(cell("trick", supervisors=(bad,)), cell("trick_b", supervisors=("guess_b", bad)), cell("trick"))
    assert (outcome.ok, outcome.failed) == (1, 2)
    for record in bench.records():
        if record["status"] != "ok":
            assert "supervise digits: guess, seed 0" in record["reason"] and reason in record["reason"]
    assert bench.worked()["train"] == 1


def test_a_failed_ceiling_saves_the_training(bench):
    pupil = ("pupil", {"fault": "ceiling@crash"})
    outcome = bench.go(*(cell(m, student=pupil) for m in ("trick", "trick_b", "trick_c")))
    assert outcome.failed == 3
    assert all("ceiling digits: pupil, seed 0: crashed" in r["reason"] for r in bench.records())
    assert bench.worked().get("train", 0) <= 1  # one may have been started beside it


def test_a_failed_task_fails_its_cells_alone(bench):
    outcome = bench.go(cell("trick", task=("digits", {"fault": "raise"})), cell("trick"))
    assert (outcome.ok, outcome.failed) == (1, 1)
    reason = next(r for r in bench.records() if r["status"] != "ok")["reason"]
    assert reason == "prepare digits, seed 0: task 'digits': load raised ValueError: the file is torn"


def test_failed_cells_stay_failed_until_asked_again(bench):
    broken = cell(("trick", {"fault": "crash"}))
    bench.go(broken, cell("trick_b"))
    before = bench.worked()
    again = bench.go(broken, cell("trick_b"))
    assert (again.ok, again.failed, again.skipped) == (0, 1, 1)
    assert bench.worked() == before
    assert "failed before: crashed (SIGSEGV)" in bench.output and "--retry failed" in bench.output
    bench.go(broken, cell("trick_b"), retry_failed=True)
    assert bench.worked()["train"] == before["train"] + 1


def test_full_disk_of_a_worker_stops_the_sweep_and_records_no_failure(bench):
    with pytest.raises(W2SError, match="disk is full"):
        bench.go(cell(("trick", {"fault": "full"})))
    assert bench.records() == []
