"""Rank correlation of mitigations between tasks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.board_records import write_store

from w2s_bench.board import build_board
from w2s_bench.studies.agreement import FEWEST, gains, main, overall_gains, rank_correlation

GAINS = st.lists(st.integers(-50, 50).map(lambda i: i / 100), min_size=FEWEST, max_size=20, unique=True)


@given(GAINS, st.randoms(use_true_random=False))
def test_orders_alone_count_and_the_interval_holds_the_estimate(values, random):
    one = {f"m{i}": v for i, v in enumerate(values)}
    two = dict(zip(one, random.sample(values, len(values)), strict=True))
    n, r, low, high = rank_correlation(one, two)
    assert n == len(values) and low - 1e-5 <= r <= high + 1e-5
    assert rank_correlation(one, {m: np.exp(3 * v) for m, v in two.items()})[1] == pytest.approx(r)
    assert r == pytest.approx(stats.pearsonr(stats.rankdata(list(one.values())), stats.rankdata(list(two.values())))[0])


def test_what_only_one_task_has_does_not_count_and_a_handful_is_too_few():
    one = {f"m{i}": float(i) for i in range(FEWEST)}
    assert rank_correlation(one, one | {"other": 9.0})[:2] == (FEWEST, pytest.approx(1.0))
    n, r, *_ = rank_correlation(one, {"m0": 1.0, "m1": 2.0})
    assert n == 2 and np.isnan(r)


def test_gains_are_means_over_groups_without_controls(tmp_path):
    groups = [("facts", "xs", "m"), ("facts", "s", "m"), ("sums", "xs", "m")]
    write_store(tmp_path, {"naive": 0.4, "good": 0.8, "bad": 0.1}, seeds=3, groups=groups)
    told = gains(build_board([tmp_path]).data)
    assert set(told) == {"facts", "sums"} and set(told["facts"]) == {"good", "bad"}
    assert told["facts"]["good"] > 0 > told["facts"]["bad"]


def test_overall_gains_are_those_of_the_overall_table(tmp_path):
    groups = [("facts", "xs", "m"), ("sums", "xs", "m")]
    write_store(tmp_path, {"naive": 0.4, "good": 0.8, "bad": 0.1}, seeds=3, groups=groups)
    told = overall_gains(build_board([tmp_path]).data)
    assert told == pytest.approx({"good": 0.4, "bad": -0.3}, abs=0.1)


def test_the_command_prints_stores_and_tasks(tmp_path, monkeypatch, capsys):
    for name in ("one", "two"):
        write_store(tmp_path / name, {"naive": 0.4, "good": 0.8, "bad": 0.1}, seeds=2, groups=[("facts", "xs", "m")])
    monkeypatch.setattr("sys.argv", ["agreement", str(tmp_path / "one"), str(tmp_path / "two")])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert "| one | two | 2 | too few |" in lines and "| one: facts | two: facts | 2 | too few |" in lines
