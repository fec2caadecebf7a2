"""Naive against itself, seed noise and power: on stores and boards whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from support.board_records import write_record

from w2s_bench.board.design import CEILING
from w2s_bench.board.labels import NAIVE
from w2s_bench.board.power import Plan, plan_of, seeds_for, sentence, smallest_gain
from w2s_bench.cells import Cell, Entry
from w2s_bench.store.records import read_stores
from w2s_bench.studies import aa_test, noise
from w2s_bench.studies.claims import Scene, claims_of
from w2s_bench.studies.simulation import World, draw


@pytest.fixture(scope="module", params=[False, True], ids=["test per seed", "one test set"])
def store(request, tmp_path_factory):
    """Six replicates of naive on two tasks and four seeds; the last replicate of one task is truly better."""
    folder = tmp_path_factory.mktemp("alike")
    rng = np.random.default_rng(0)
    for task in ("facts", "sums"):
        truth = np.array([0.6, *(0.7 + 0.15 * (task == "sums" and k == 5) for k in range(6)), 0.9])
        right = draw(World(4, 800, request.param, 0.005), truth, rng, model=[0, 1, 1, 1, 1, 1, 1, 2])
        for k in range(6):
            for seed in range(4):
                write_record(
                    folder, right[[0, 1 + k, -1], seed], task=task, seed=seed, same_test=request.param,
                    student={"name": "ladder_m", "replicate": k},
                )  # fmt: skip
    return folder


def test_replicates_are_played_as_mitigations_of_one_student(store):
    design, replicates = aa_test.replicates_of(read_stores([store]).records)
    assert [(g.task, g.student, len(own)) for g, own in replicates.items()] == [
        ("facts", "ladder_m", 6), ("sums", "ladder_m", 6),
    ]  # fmt: skip
    board = aa_test.played(design, replicates)
    for group, own in replicates.items():
        for name, old in [(NAIVE, own[0]), ("3", own[3])]:
            assert np.array_equal(board.series((group, name)), design.series((old, NAIVE)))
        weights = [{(group, "2"): 1.0, (group, NAIVE): -1.0}]
        was = design.moments([{(own[2], NAIVE): 1.0, (own[0], NAIVE): -1.0}])
        assert np.allclose(board.moments(weights).examples, was.examples, atol=1e-15)
    overall, cells = aa_test.claims(board)
    assert overall.tolist() == [0, 0, 0, 0, 1] and cells.tolist() == [0] * 9 + [1]


def test_permuting_keeps_each_seeds_replicates_and_their_ceilings(store):
    design, replicates = aa_test.replicates_of(read_stores([store]).records)
    board = aa_test.played(design, replicates, np.random.default_rng(1))
    moved = 0
    for group, own in replicates.items():
        old = np.array([design.series((g, NAIVE)) for g in own])
        new = np.array([board.series((group, NAIVE if k == 0 else str(k))) for k in range(6)])
        assert np.array_equal(np.sort(old, 0), np.sort(new, 0))
        assert np.array_equal(board.series((group, CEILING)), design.series((own[0], CEILING)))
        moved += (old != new).sum()
    assert moved


def test_alike_says_what_it_found_and_refuses_other_stores(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["alike", str(store), "--boards", "5"])
    aa_test.main()
    said = capsys.readouterr().out
    assert "| overall family | 1 better, 0 worse of 5 |" in said and " of 5 (" in said
    write_record(tmp_path, np.ones((3, 50)), mitigations=("gce",))
    monkeypatch.setattr("sys.argv", ["alike", str(tmp_path)])
    with pytest.raises(SystemExit):
        aa_test.main()
    assert "of gce; expected naive alone" in capsys.readouterr().err


def test_noise_is_measured_with_its_correlation_between_groups(tmp_path):
    """Differences of known spread, half of whose variance the two groups of a task share."""
    rng = np.random.default_rng(2)
    stacks = [NAIVE, *(f"m{k}" for k in range(12))]
    for task in ("facts", "sums"):
        for seed in range(8):
            together = rng.normal(0, 0.02, len(stacks))
            for weak in ("a", "b"):
                shares = 0.7 + np.sqrt(0.5) * (together + rng.normal(0, 0.02, len(stacks)))
                for stack, share in zip(stacks, shares, strict=True):
                    right = [np.arange(2000) < 2000 * s for s in (0.6, share, 0.8)]
                    write_record(
                        tmp_path, np.array(right), task=task, supervisors=(weak,), mitigations=(stack,), seed=seed,
                        scores=False,
                    )  # fmt: skip
    design, found = noise.read(tmp_path)
    measured = noise.noise_of(design, found)
    plan = measured.plan()
    assert plan.noise == pytest.approx(0.02 * np.sqrt(2), rel=0.1) and plan.shared == pytest.approx(0.5, abs=0.15)
    assert (plan.seeds, plan.tasks, plan.pairs, plan.mitigations) == (8, 2, 2, 12)
    assert plan.gap == pytest.approx(0.2)
    assert noise.noise_table(measured).count("facts: ") == 2


def test_power_formula():
    plan = Plan(noise=0.01, gap=0.2)
    assert 0.01 < smallest_gain(plan) < 0.06 < smallest_gain(plan, cell=True) / 0.2
    seeds = seeds_for(0.02, plan)
    assert seeds and smallest_gain(Plan(**{**vars(plan), "seeds": seeds})) <= 0.02
    assert seeds_for(1e-6, plan) is None


def test_power_formula_is_what_simulation_finds():
    rng = np.random.default_rng(3)
    world = World(5, 2000, noise=0.02, together=0.4)
    plan = Plan(5, 2, 2, 10, 0.2, float(np.hypot(0.02, 0.009)), 0.3)
    scene = Scene("", world, tasks=2, gaps=(0.2, 0.2), mitigations=10, gains=(smallest_gain(plan),))
    found = sum(claims_of(scene, rng).overall[0] == 1 for _ in range(40))
    assert 22 <= found <= 39  # 80 % of 40, to 3 standard deviations


def _cells(seeds, pairs, stacks):
    return [
        Cell(Entry(task), (Entry(weak),), Entry("strong"), tuple(map(Entry, stack)), seed)
        for task, weak in pairs for stack in stacks for seed in seeds
    ]  # fmt: skip


def test_a_suites_shape_is_read_from_its_cells():
    stacks = [("naive",), ("gce",), ("easy_to_hard", "aux_confidence")]
    cells = _cells(range(4), [("facts", "a"), ("facts", "b"), ("sums", "a")], stacks)
    plan = plan_of(cells)
    assert plan == Plan(4, 2, 1.5, 2)
    assert sentence(plan).startswith(
        "power: with 4 seeds, 3 groups (task, supervisors, student) and 2 comparisons with"
    )
    assert plan_of(_cells([0], [("facts", "a")], stacks)) is None
    assert plan_of(_cells([0, 1], [("facts", "a")], stacks[1:])) is None and plan_of([]) is None
