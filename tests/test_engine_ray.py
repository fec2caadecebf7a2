"""engine=ray: a Ray of two nodes runs the stages, one node dies in the middle, and the board is as with `local`."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time

import pytest
from support.fake_worker import lives
from support.referee_bench import Bench, cell, grid

from w2s_bench.errors import UsageError
from w2s_bench.referee import engines

QUICK = {"health_check_period_ms": 200, "health_check_failure_threshold": 5, "health_check_initial_delay_ms": 0}
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: the extra `ray`")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    bench.go(*grid(), suite="grid")
    return bench


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = signal.getsignal(signal.SIGTERM)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": QUICK})
    yield made
    made.shutdown()
    signal.signal(signal.SIGTERM, before)


def settings(address: str | None, **more) -> dict:
    return {"name": "ray", "address": address, "resubmit": 3, **more}


@needs_ray
def test_a_node_dies_and_the_board_is_as_with_local(tmp_path, cluster, undisturbed):
    bench = Bench(tmp_path)
    node, gone = cluster.add_node(num_cpus=1), tmp_path / "gone"

    def kill():
        waiting = []
        while len(waiting) < 2:
            time.sleep(0.01)
            waiting = [page["pid"] for page in bench.diary() if "trick_c" in page["names"]]
        cluster.remove_node(node, allow_graceful=False)  # each node runs one of the two that wait
        while all(map(lives, waiting)):
            time.sleep(0.01)
        gone.touch()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    slow = [cell(("trick_c", {"fault": f"until {gone}"}), seed=s) for s in range(2)]
    outcome = bench.with_engine(bench.run_of(*grid(), *slow, engine=settings(cluster.address), suite="grid"), None)
    thread.join()
    assert (outcome.ok, outcome.failed) == (8, 0)
    assert bench.output.count("it is submitted again") == 1
    assert bench.worked() == {"ceiling": 2, "supervise": 4, "train": 9}
    other = Bench(tmp_path / "local")
    other.go(*grid(), *slow, suite="grid")
    assert bench.results() == other.results()
    assert bench.board() == other.board()
    assert not list((bench.cache / "jobs").iterdir()) and not list((bench.cache / "referee" / "building").iterdir())


@needs_ray
def test_a_ray_of_its_own_leaves_the_referee_as_it_was(tmp_path, undisturbed, capfd):
    bench = Bench(tmp_path)
    before = dict(os.environ), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    hang = cell(("trick", {"fault": "hang"}))
    run = bench.run_of(*grid(), hang, engine=settings(None, workers=2, timeout_s=3.0), suite="grid")
    outcome = bench.with_engine(run, None)
    assert (outcome.ok, outcome.failed) == (6, 1)
    assert [r["reason"] for r in bench.records() if r["status"] == "timeout"] == [
        "took longer than engine.timeout_s=3 and was killed"
    ]
    assert not lives(int((bench.cache / "workers" / "child").read_text()))
    assert (dict(os.environ), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capfd.readouterr().err == ""
    assert all(not [v for v in page["variables"] if v.startswith(("RAY", "SLURM"))] for page in bench.diary())
    assert [r for r in bench.results() if r["status"] == "ok"] == undisturbed.results()


def test_without_the_package_a_sentence_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"engine=ray needs the package ray: pip install 'w2s_bench\[ray\]' brings it"):
        engines.make_engine(Bench(tmp_path).run_of(cell(), engine=settings(None)), ())


@needs_ray
def test_an_address_where_nobody_answers(tmp_path):
    bench = Bench(tmp_path)
    with pytest.raises(UsageError, match=r"engine\.address=127\.0\.0\.1:1: no Ray cluster answers there"):
        bench.with_engine(bench.run_of(cell(), engine=settings("127.0.0.1:1")), None)
