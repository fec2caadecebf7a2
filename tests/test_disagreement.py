"""How far supervisors err together, against scikit-learn's kappa and supervisors made to err apart or alike."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from support.board_records import write_record

import w2s_bench
from w2s_bench.referee.disagreement import disagreement


def drawn(seed: int, n: int, alike: float, count: int = 3, classes: int = 3) -> tuple[np.ndarray, ...]:
    """Returns supervisors that are wrong on 30 % of the examples, on a share `alike` of them together."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    shared, apart = rng.random(n) < 0.3, rng.random((count, n)) < 0.3
    wrong = np.where(rng.random(n) < alike, shared, apart)
    answers = np.where(wrong, (truth + 1) % classes, truth)
    return answers, ~wrong, np.ones_like(wrong)


@given(seed=st.integers(0, 2**16), alike=st.floats(0, 1))
@settings(max_examples=20)
def test_kappa_is_scikit_learns_and_double_fault_a_count(seed, alike):
    answers, right, voted = drawn(seed, 200, alike, count=2)
    measured = disagreement(answers, right, voted)
    assert measured["kappa"] == pytest.approx(cohen_kappa_score(answers[0], answers[1]))
    assert measured["double_fault"] == np.mean([not a and not b for a, b in zip(*right, strict=True)])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_effective_number_from_one_to_all(count):
    assert disagreement(*drawn(0, 2000, alike=1.0, count=count))["effective"] == pytest.approx(1.0)
    assert disagreement(*drawn(0, 20_000, alike=0.0, count=count))["effective"] == pytest.approx(count, rel=0.03)
    between = disagreement(*drawn(0, 20_000, alike=0.5, count=count))["effective"]
    assert between == pytest.approx(
        count / (1 + (count - 1) * 0.5), rel=0.05
    )  # errors correlate with .5 by construction


def test_only_examples_that_both_answered_count():
    answers, right, voted = drawn(1, 300, alike=0.0, count=2)
    voted[1, 100:] = False
    measured = disagreement(answers, right, voted)
    assert measured == disagreement(answers[:, :100], right[:, :100], voted[:, :100])


def test_nothing_is_made_up_where_nothing_is_defined():
    never = disagreement(np.zeros((2, 4), int), np.ones((2, 4), bool), np.zeros((2, 4), bool))
    assert never == {"kappa": None, "double_fault": None, "effective": None}
    perfect = disagreement(np.zeros((2, 4), int), np.ones((2, 4), bool), np.ones((2, 4), bool))
    assert perfect == {"kappa": None, "double_fault": 0.0, "effective": None}


def test_texts_are_answers_too():
    answers = np.array([["a", "b", "c"], ["a", "b", "d"]])
    measured = disagreement(answers, np.array([[1, 1, 0], [1, 0, 1]]), np.ones((2, 3), bool))
    assert measured["kappa"] == pytest.approx(cohen_kappa_score(answers[0], answers[1]))


def test_the_board_says_how_far_supervisors_err_together(tmp_path):
    for seed, (kappa, double, effective) in enumerate([(0.2, 0.1, 1.5), (0.4, 0.3, 2.5)]):
        right = np.random.default_rng(seed).random((3, 200)) < [[0.6], [0.7], [0.9]]
        record = write_record(tmp_path, right, supervisors=("ladder_xs_0", "ladder_xs_1"), seed=seed)
        record["test"]["supervisors"] = {
            "mean": 0.6, "best": 0.65, "kappa": kappa, "double_fault": double, "effective": effective
        }  # fmt: skip
        (tmp_path / "records" / f"{record['digest']}.json").write_text(json.dumps(record))
    board = w2s_bench.board(tmp_path)
    assert board.data["rows"][0]["disagreement"] == pytest.approx({"kappa": 0.3, "double_fault": 0.2, "effective": 2.0})
    sentence = "the 2 supervisors err as 2.0 independent ones would: kappa .300, two of them wrong together in .200"
    assert sentence in " ".join(str(board).split())
    alone = write_record(tmp_path / "one", np.ones((3, 50)), seed=0)
    assert alone["test"].get("supervisors") is None and "independent ones" not in str(w2s_bench.board(tmp_path / "one"))
