"""Caches of sweeps that die, on this machine or another one, are suspended, or forked from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.machines import Clock
from support.referee_bench import Bench, cell, registry

from w2s_bench.referee import leases
from w2s_bench.referee.artefacts import Cache
from w2s_bench.referee.disk import make_folder
from w2s_bench.referee.leases import EXPIRES_S, RENEWED_S, Watch
from w2s_bench.referee.plan import plan_cells


def test_a_forked_process_ends_nothing(tmp_path):
    cache = Cache(tmp_path, print)
    assert cache.lock(STAGE)
    child = os.fork()
    if child == 0:
        cache.close()
        os._exit(0)
    os.waitpid(child, 0)
    other = Cache(tmp_path, print)
    assert cache.is_locked(STAGE) and not other.lock(STAGE)
    cache.close()
    assert other.lock(STAGE)
    other.close()


STAGE = SimpleNamespace(digest="ab" * 16, kind="train", label="train it")


@pytest.fixture
def child(tmp_path):
    """A process of this machine that has claimed STAGE and saved something of it."""
    code = (
        "import sys, time; from test_dead_sweeps import STAGE, Cache, Path\n"
        "cache = Cache(Path(sys.argv[1]), print); assert cache.lock(STAGE); folder = cache.job_folder()\n"
        "cache.unfinished.give(STAGE, folder); (folder / 'saved').mkdir(); (folder / 'saved' / 'state').touch()\n"
        "print('ready', flush=True); time.sleep(1000)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parent, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.communicate()


def test_a_dead_process_of_this_machine_is_seen_at_once(tmp_path, child):
    cache = Cache(tmp_path, print)
    cache.clean()
    assert not cache.lock(STAGE) and len(list(cache.jobs.iterdir())) == 1
    child.kill()
    deadline = time.monotonic() + 5
    while not cache.lock(STAGE):  # it is a zombie: nobody has waited for it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(cache.jobs.iterdir()) == []
    assert cache.unfinished.give(STAGE, cache.job_folder())
    cache.close()


def test_a_stopped_process_of_this_machine_lives(tmp_path, child):
    child.send_signal(signal.SIGSTOP)
    cache, clock = Cache(tmp_path, print), Clock()
    cache._watch = Watch(clock)
    for _ in range(3 * int(EXPIRES_S / RENEWED_S)):
        clock.now += RENEWED_S
        assert not cache.lock(STAGE)
    cache.close()


def test_the_number_of_a_dead_process_may_be_anothers_by_now(tmp_path):
    lease = tmp_path / "lease"
    for began, dead in ((leases.began(os.getpid()), False), ("1", True)):
        lease.write_text(json.dumps({"machine": leases.machine(), "pid": os.getpid(), "began": began}))
        assert Watch().is_dead(lease) is dead


def move_away(cache: Path) -> None:
    """Makes all leases of a cache another machine's."""
    for lease in (cache / "referee" / "owners").iterdir():
        lease.write_text(json.dumps({**json.loads(lease.read_text()), "machine": "elsewhere 1 2"}))


def test_what_a_dead_machine_left_is_cleaned_when_its_lease_has_expired(tmp_path, child):
    move_away(tmp_path)
    child.kill()  # with its machine
    cache, clock = Cache(tmp_path, print), Clock()
    cache._watch = Watch(clock)
    while clock.now <= EXPIRES_S:
        cache.clean()
        assert len(list(cache.jobs.iterdir())) == 1
        clock.now += RENEWED_S
    cache.clean()
    assert list(cache.jobs.iterdir()) == []
    assert cache.lock(STAGE) and cache.unfinished.give(STAGE, cache.job_folder())
    cache.close()
    assert list((tmp_path / "referee" / "owners").iterdir()) == []


def test_a_sweep_that_was_taken_to_be_dead_damages_nothing(tmp_path):
    """Its folders are gone and its stage is another's when its worker ends: it waits, and computes it again."""
    bench = Bench(tmp_path)
    work = cell(("trick", {"fault": "nap 1"}))
    (plan,) = plan_cells([work], registry()).cells
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(bench.go(work)))
    thread.start()
    train = SimpleNamespace(digest=plan.train, kind="train", label="train it")
    while not any(page["stage"] == "train" for page in bench.diary()):
        time.sleep(0.01)
    other, clock = Cache(bench.cache, print), Clock()
    other._watch = Watch(clock, lambda: "elsewhere")
    while not other.lock(train):
        clock.now += RENEWED_S
    assert list(other.jobs.iterdir()) == []
    threading.Timer(3.0, other.close).start()  # by then the worker has ended, and its sweep waits for this one
    thread.join()
    assert (outcomes[0].ok, outcomes[0].failed) == (1, 0)
    assert bench.worked()["train"] == 2 and "another sweep took this one to be dead" in bench.output


def test_folders_are_made_by_many_at_once(tmp_path):
    """Nobody removes what another has made a moment before."""
    start_together = threading.Barrier(4)
    lost = []

    def make(k):
        for n in range(150):
            start_together.wait()
            make_folder(tmp_path / f"f{n}", tmp_path)
            (tmp_path / f"f{n}" / str(k)).touch()
            start_together.wait()
            if not (tmp_path / f"f{n}" / str(k)).exists():
                lost.append(n)

    threads = [threading.Thread(target=make, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
