"""Two machines with one cache and one store: no cell is done twice to its end, none is lost, however they die."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support.referee_bench import Bench, cell, grid, registry
from test_referee_kill import progress, start

from w2s_bench.referee.plan import plan_cells
from w2s_bench.referee.store import RUNNING, Store, running_sweeps


class Two:
    """Two sweeps of one suite on one cache and one store, as if on two machines."""

    def __init__(self, folder: Path, seeds: int, nap_s: float) -> None:
        self.bench, self.words = Bench(folder), (str(seeds), str(nap_s))
        self.cells = grid(seeds, nap_s)
        self.running = {name: self.start(name) for name in ("one", "other")}
        self.artefacts: dict[Path, int] = {}
        """Of train stages that were done at a kill; who does one again replaces the file."""

    def start(self, machine: str) -> subprocess.Popen:
        return start(self.bench.store.parent, machine, *self.words)

    def kill(self, machine: str) -> None:
        process = self.running[machine]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.artefacts |= self.trained()

    def trained(self) -> dict[Path, int]:
        return {p: p.stat().st_ino for p in (self.bench.cache / "referee" / "train").glob("*/*/manifest.json")}

    def end(self) -> None:
        assert [process.wait() for process in self.running.values()] == [0, 0]

    def check(self) -> None:
        """Every cell is recorded once, as an undisturbed sweep does, and nothing is left over."""
        undisturbed = Bench(self.bench.store.parent / "undisturbed")
        undisturbed.go(*self.cells, suite="grid")
        assert len(undisturbed.results()) == len(self.cells)
        assert self.bench.results() == undisturbed.results()
        assert self.artefacts.items() <= self.trained().items()
        assert len(self.trained()) == len(self.cells)
        for name in ("jobs", "referee/building", "referee/owners"):
            assert list((self.bench.cache / name).iterdir()) == [], name
        assert running_sweeps(self.bench.store / RUNNING) == []
        assert not [p for p in self.bench.store.rglob("*") if p.name.startswith(".") and RUNNING not in p.parts]


def test_two_sweeps_of_one_suite_do_each_stage_once(tmp_path):
    two = Two(tmp_path, 2, 0.3)
    two.end()
    two.check()
    assert list((two.bench.cache / "referee" / "claims").iterdir()) == []
    assert two.bench.worked() == {"ceiling": 2, "supervise": 2, "train": 6}


def kill_at_random(two: Two, kills: int, seed: int) -> int:
    """Returns how many kills hit a sweep that had something to do; each is started again."""
    rng, hits = random.Random(seed), 0
    for _ in range(kills):
        moment = progress(two.bench) + rng.randrange(1, 40)
        while progress(two.bench) < moment and any(p.poll() is None for p in two.running.values()):
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        victims = rng.choice([["one"], ["other"], ["one", "other"]])
        hits += any(two.running[name].poll() is None for name in victims)
        for name in victims:
            two.kill(name)
        for name in victims:
            two.running[name] = two.start(name)
    two.end()
    return hits


def test_three_kills_of_two_sweeps(tmp_path):
    two = Two(tmp_path, 2, 0.3)
    assert kill_at_random(two, 3, seed=1) >= 2
    two.check()


@pytest.mark.slow
def test_twenty_kills_of_two_sweeps(tmp_path):
    two = Two(tmp_path, 8, 1.0)
    hits = kill_at_random(two, 20, seed=2)
    two.check()
    print(f"{hits} of 20 kills hit; {two.bench.worked()['train']} train stages ran for {len(two.cells)} cells")
    assert hits >= 15


def test_a_machine_that_never_comes_back(tmp_path):
    """Its stages go to the other one when its lease has expired."""
    two = Two(tmp_path, 2, 1.0)
    owners = two.bench.cache / "referee" / "claims"
    while len(list(owners.glob("*/1"))) < 3:
        time.sleep(0.01)
    os.killpg(two.running["other"].pid, signal.SIGKILL)
    assert two.running["one"].wait() == 0
    two.running["other"].wait()
    assert len(two.bench.records()) == len(two.cells) and {r["status"] for r in two.bench.records()} == {"ok"}


def test_a_record_that_another_has_written_is_not_computed_again(tmp_path):
    """With caches apart, so that the store alone tells."""
    bench, other = Bench(tmp_path), Bench(tmp_path)
    other.cache = tmp_path / "cache of another"
    first, second = cell(("trick", {"fault": "damage go on: deleted"})), cell("trick_b")
    outcomes = []
    run = bench.run_of(first, second, engine={"workers": 1})
    thread = threading.Thread(target=lambda: outcomes.append(bench.with_engine(run, None)))
    thread.start()
    while "train" not in bench.worked():
        time.sleep(0.01)
    assert other.go(second).ok == 1
    (bench.cache / "go on").touch()
    thread.join()
    assert (outcomes[0].ok, outcomes[0].skipped, outcomes[0].failed) == (1, 1, 0)
    assert bench.worked()["train"] == 1 and len(bench.records()) == 2


def test_a_failure_replaces_no_result(tmp_path):
    """One machine is too slow for a cell, the other one is not."""
    bench, other = Bench(tmp_path), Bench(tmp_path / "other")
    assert other.go(cell("trick")).ok == 1
    slow = cell(("trick", {"fault": "hang"}))
    (plan,) = plan_cells([slow], registry()).cells
    outcomes = []
    run = bench.run_of(slow, engine={"workers": 1, "timeout_s": 3.0})
    thread = threading.Thread(target=lambda: outcomes.append(bench.with_engine(run, None)))
    thread.start()
    while "train" not in bench.worked():
        time.sleep(0.01)
    record = other.record()
    for part, ending in (("predictions", "parquet"), ("scores", "parquet")):
        content = (other.store / record[part]["path"]).read_bytes()
        record[part]["path"] = f"{part}/{plan.digest}.{ending}"
        (bench.store / record[part]["path"]).write_bytes(content)
    Store(bench.store).write_record({**record, "digest": plan.digest})
    thread.join()
    assert (outcomes[0].failed, outcomes[0].skipped) == (0, 1)
    assert bench.record()["status"] == "ok"
