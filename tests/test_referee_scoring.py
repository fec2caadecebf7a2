"""Metrics against scikit-learn and by hand, and what a record says of a cell."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from w2s_bench.plugins.metrics import accuracy, auroc, ece, log_loss
from w2s_bench.referee.scoring import Answers, decided, measure, recovered, score

METRICS = {"accuracy": accuracy, "auroc": auroc, "log_loss": log_loss, "ece": ece}


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_metrics_agree_with_sklearn(classes):
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, 400)
    p = rng.dirichlet([0.7] * classes, 400)
    p = np.round(p, 1) + 0.05  # ties
    p /= p.sum(1, keepdims=True)
    if classes == 2:
        assert auroc(p, truth) == pytest.approx(roc_auc_score(truth, p[:, 1]))
    else:
        assert auroc(p, truth) == pytest.approx(roc_auc_score(truth, p, multi_class="ovr", average="macro"))
    assert log_loss(p, truth) == pytest.approx(sklearn_log_loss(truth, p, labels=range(classes)))
    assert accuracy(p, truth) == pytest.approx((p.argmax(1) == truth).mean())


def test_ece_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    truth = np.array([0, 1, 1, 0])
    # bins: {.9, .9}: right 1/2, gap .4; {.6}: right 1, gap .4; {.5}: right (ties to class 0), gap .5
    assert ece(p, truth) == pytest.approx((2 * 0.4 + 0.4 + 0.5) / 4)


def test_sure_and_wrong_is_finite_and_absent_classes_are_left_out():
    p = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert log_loss(p, np.array([1, 1])) == pytest.approx(-np.log(1e-7) / 2)
    assert auroc(p, np.array([0, 1])) == 1.0
    assert np.isnan(auroc(p, np.array([1, 1])))
    assert measure(p, np.array([1, 1]), METRICS)["auroc"] is None


def rows(*classes: int) -> np.ndarray:
    return np.eye(2)[list(classes)] * 0.8 + 0.1


def test_score_by_hand():
    nan = np.full((1, 2), np.nan)
    answers = Answers(
        test_truth=np.array([0, 0, 1, 1, 0]),
        transfer_truth=np.array([0, 1, 1]),
        floors=[np.concatenate([rows(0, 1, 0, 1), nan]), rows(0, 0, 1, 1, 1)],
        labels=np.concatenate([rows(0, 0), nan]),
        validation_labels=np.concatenate([rows(0, 0), nan]),
        student=rows(0, 0, 0, 1, 1),
        student_on_transfer=rows(0, 1, 0),
        student_on_validation=rows(0, 1, 0),
        ceiling=rows(0, 0, 1, 1, 0),
    )
    scored = score(answers, METRICS, "accuracy", same_for_all_seeds=True)
    test = scored["test"]
    # floor: right, wrong, wrong, right, and the abstention goes to class 0: right
    assert test["floor"]["accuracy"] == pytest.approx(0.6)
    assert test["student"]["accuracy"] == pytest.approx(0.6)
    assert test["ceiling"]["accuracy"] == 1.0
    assert test["student"]["predicted_rates"] == [0.6, 0.4]
    # of the four examples that both answered, half have equal answers, as by chance; the second is right on all
    apart = {"kappa": pytest.approx(0.0), "double_fault": 0.0, "effective": None}
    assert test["supervisors"] == {"mean": pytest.approx(0.7), "best": 0.8, **apart}
    assert test["joint"] == {"000": 0, "001": 1, "010": 0, "011": 1, "100": 0, "101": 1, "110": 0, "111": 2}
    assert test["agreement"] == pytest.approx({"all": 3 / 5, "supervisor_right": 2 / 3, "supervisor_wrong": 0.5})
    assert scored["transfer"] == {
        "n": 3,
        "label_accuracy": pytest.approx(1 / 3),
        "student_accuracy": pytest.approx(2 / 3),
        "student_accuracy_label_wrong": 0.5,
    }
    # of the two that the supervisor labelled, one answer is its own; labels .9 and .1
    losses = -0.9 * np.log([0.9, 0.1]) - 0.1 * np.log([0.1, 0.9])
    assert scored["validation"] == {"n": 2, "agreement": 0.5, "log_loss": pytest.approx(losses.mean())}
    assert scored["pgr"] == pytest.approx(0.0)


def test_abstentions_are_uniform():
    assert decided(np.array([[np.nan, np.nan], [0.2, 0.8]])).tolist() == [[0.5, 0.5], [0.2, 0.8]]


@pytest.mark.parametrize(
    ("floor", "student", "ceiling", "pgr"),
    [(0.6, 0.7, 0.8, 0.5), (0.6, 0.7, 0.6, None), (0.8, 0.7, 0.6, None), (None, 0.7, 0.6, None), (0.6, 0.5, 0.8, -0.5)],
)
def test_recovered_gap(floor, student, ceiling, pgr):
    got = recovered(floor, student, ceiling)
    assert got is None if pgr is None else got == pytest.approx(pgr)


def test_nobody_wrong_leaves_no_agreement_there():
    perfect = rows(0, 1)
    answers = Answers(np.array([0, 1]), np.array([0, 1]), [perfect], *[perfect] * 6)
    scored = score(answers, METRICS, "accuracy", True)
    test = scored["test"]
    assert test["agreement"] == {"all": 1.0, "supervisor_right": 1.0, "supervisor_wrong": None}
    assert scored["transfer"]["student_accuracy_label_wrong"] is None
    assert "supervisors" not in test
