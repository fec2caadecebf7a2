"""What is done for cells and records grows as they do: counted, never timed. And a cluster's day adds up."""

import cProfile
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from support.board_records import write_record, write_store

from w2s_bench.board import blocks, build_board
from w2s_bench.referee.status import look
from w2s_bench.registry import registry
from w2s_bench.store.records import read_stores
from w2s_bench.store.verify import verify_store
from w2s_bench.studies import cluster, scale


def calls_of(work):
    """Returns how many functions were called, of Python and of C."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    store = tmp_path_factory.mktemp("template")
    write_record(store, np.array([[0, 1, 0, 1], [1, 1, 0, 1], [1, 1, 1, 1]]))
    return store


@pytest.fixture(scope="module")
def stores(tmp_path_factory, template):
    """Returns stores of 100 and of 300 records by size."""
    made = {n: tmp_path_factory.mktemp("stores") / str(n) for n in (100, 300)}
    for n, store in made.items():
        scale.write(str(store), n, template)
    return made


def test_records_made_without_training_verify(stores):
    done = verify_store(stores[100])
    assert done.ok and (done.records, done.predictions, done.scores) == (100, 100, 100)
    assert look(str(stores[100]))["suites"]["scale"] == {"cells": 100, "ok": 100, "failed": 0, "to_do": 0}


def test_slope_of_what_doubles_and_of_what_quadruples():
    assert scale.slope([100, 200, 400], [3, 6, 12]) == pytest.approx(1)
    assert scale.slope([100, 200, 400], [3, 12, 48]) == pytest.approx(2)


def test_a_step_is_measured_in_a_process_of_its_own(stores):
    seconds, memory = scale.measured(scale.status, str(stores[100]))
    assert seconds > 0 and memory >= 0


def test_a_look_at_a_store_grows_as_the_store(stores):
    few, many = (calls_of(lambda n=n: look(str(stores[n]))) for n in (100, 300))
    assert many < 3.1 * few


def test_planning_grows_as_the_cells():
    found = registry.load()
    assert len(scale.scheduled(100, found).cells) == 100  # what is loaded once is loaded
    few, more, most = (calls_of(lambda n=n: scale.scheduled(n, found)) for n in (200, 600, 1000))
    assert most - more < 1.05 * (more - few)


def test_what_records_have_alike_is_kept_once(stores):
    records = read_stores([stores[100]]).records
    assert len({id(r.raw["protocol_settings"]) for r in records}) == 1
    assert len({id(r.cell["student"]) for r in records}) == len({r.cell["student"]["name"] for r in records})
    keys = {key for r in records for key in r.raw["test"]}
    assert len({id(key) for r in records for key in r.raw["test"]}) == len(keys)


def test_answers_that_equal_as_numbers_stay_apart(tmp_path):
    for seed, value in enumerate((1, 1.0, True)):
        write_record(tmp_path, np.ones((3, 4)), student={"name": "s", "rate": value}, seed=seed)
    rates = [r.cell["student"]["rate"] for r in sorted(read_stores([tmp_path]).records, key=lambda r: r.seed)]
    assert list(map(type, rates)) == [int, float, bool]


def test_no_square_of_the_lines_of_a_task(tmp_path, monkeypatch):
    """Of many lines the covariance is that of contrasts; contrasts are as wide as the lines they are of."""
    largest = Counter()
    covariance, moments = blocks.example_covariance, blocks.Block.moments

    def watched_covariance(values):
        largest["covariance"] = max(largest["covariance"], len(values))
        return covariance(values)

    def watched_moments(self, contrasts, also=(), among=slice(None)):
        largest["entries"] += np.size(contrasts)
        return moments(self, contrasts, also, among)

    monkeypatch.setattr(blocks, "MANY", 10)
    monkeypatch.setattr(blocks, "example_covariance", watched_covariance)
    monkeypatch.setattr(blocks.Block, "moments", watched_moments)
    entries = {}
    for count in (4, 12):
        groups = [("facts", "weak", f"student_{k}") for k in range(count)]
        truths = {"naive": 0.4, "one": 0.5, "two": 0.6}
        write_store(tmp_path / str(count), truths, groups=groups, seeds=2, n=40, same_test=True)
        largest.clear()
        board = build_board([tmp_path / str(count)])
        assert len(board.rows) == 3 * count
        assert largest["covariance"] <= 10
        entries[count] = largest["entries"]
    assert entries[12] < 3.3 * entries[4]


def test_contrasts_first_give_the_covariance_that_lines_give():
    rng = np.random.default_rng(3)
    lines = blocks.MANY + 200
    right = ((rng.random((lines, 3, 40)) + rng.random((1, 1, 40))) < 1.2).astype(np.int8)
    block = blocks.Block(right.mean(-1), dict(enumerate(right)), dict.fromkeys(range(lines), "test"))
    for contrasts in (rng.choice([-1.0, 0.0, 1.0], (4, lines)), rng.normal(size=(4, lines))):
        wanted = blocks.over_examples(contrasts, right)
        assert np.diag(wanted).any()
        assert np.allclose(block.moments(contrasts).examples, wanted, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Returns a plan of more than a day's work for eight slots, and the seconds of its stages."""
    store = tmp_path_factory.mktemp("day")
    for seed in range(3):
        for k, stack in enumerate(("naive", "gce")):
            seconds = {"prepare": 0.2, "supervise": 1 + seed, "ceiling": 2.0, "train": 2.0 + k}
            cost = {"seconds": 2.0, "stages": {kind: {"seconds": s} for kind, s in seconds.items()}}
            write_record(store, np.ones((3, 4)), mitigations=(stack,), seed=seed, cost=cost)
    return cluster.backlog(read_stores([store]).records, 8 * 30 * 3600, 500.0, 0)


SMALL = cluster.Cluster(8, dies_every=5 * 3600, taken_every=3 * 3600)


@pytest.mark.parametrize("name", cluster.ways(SMALL, 3600))
def test_no_second_of_a_slot_is_lost_from_sight(day, name):
    way = cluster.ways(SMALL, 3600)[name]
    spent = cluster.Simulation(*day, way, 1).run()
    assert spent.total == pytest.approx(way.slots * way.seconds)
    assert min(spent.work, spent.lost, spent.start, spent.idle, spent.down) >= 0
    assert spent.cells > 0 or way.alone
    again = cluster.Simulation(*day, way, 1).run()
    assert again == spent and (way.dies_every == cluster.NEVER or cluster.Simulation(*day, way, 2).run() != spent)


def test_without_failures_nothing_is_lost(day):
    spent = cluster.Simulation(*day, replace(SMALL, dies_every=cluster.NEVER, taken_every=cluster.NEVER), 0).run()
    assert spent.lost == spent.down == spent.failed == 0


def test_what_is_saved_bounds_what_is_lost(day):
    """No more than what lies between two saves is lost at once, and what is saved isn't done twice."""
    often, never = (cluster.Simulation(*day, replace(SMALL, save_every=s), 0).run() for s in (60.0, cluster.NEVER))
    assert 0 < often.lost < never.lost and often.cells > never.cells


def test_jobs_of_several_stages_start_less(day):
    single, bundled = (cluster.Simulation(*day, replace(SMALL, bundle=b), 0).run() for b in (0.0, 3600.0))
    assert bundled.start < 0.6 * single.start


def test_a_finished_backlog_is_idle(day):
    plan, seconds = day
    way = replace(SMALL, seconds=200 * 3600.0, dies_every=cluster.NEVER, taken_every=cluster.NEVER)
    spent = cluster.Simulation(plan, seconds, way, 0).run()
    assert spent.cells == len(plan.cells) and spent.work == pytest.approx(sum(seconds.values()))


def test_the_same_seed_gives_the_same_table(capsys, tmp_path):
    write_record(tmp_path, np.ones((3, 4)), cost={"stages": {k: {"seconds": 1.0} for k in cluster.STAGE_KINDS}})
    tables = []
    for seed in (0, 0, 1):
        cluster.main(["--store", str(tmp_path), "--slots", "4", "--scale", "2000", "--seed", str(seed)])
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] != tables[2] and len(tables[0].splitlines()) == 2 + 2 + 6
