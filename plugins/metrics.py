"""Metrics of probabilities [N, C] against class numbers [N]."""

from __future__ import annotations

import numpy as np

from w2s_bench import hookimpl

BINS = 15
"""Of the calibration error; Guo et al. 2017 use as many."""


def accuracy(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of examples whose likeliest class is right; of equally likely ones the lowest counts."""
    return float((probabilities.argmax(axis=1) == truth).mean())


def auroc(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Returns the area under the ROC curve: of class 1 with two classes, else the mean over one-against-rest curves.

    Classes without an example, or with all of them, are left out; nan where none is left.
    """
    classes = probabilities.shape[1]
    areas = []
    for c in [1] if classes == 2 else range(classes):
        positive = truth == c
        n_positive, n_negative = int(positive.sum()), int((~positive).sum())
        if n_positive and n_negative:
            ranks = _ranks(probabilities[:, c])
            areas.append((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
    return float(np.mean(areas)) if areas else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns ranks from 1, ties sharing their mean; scipy's would cost half a second of import."""
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[at]


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean of -log p(truth) in nats; p is held above 1e-7, so one confident error does not dominate."""
    p = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.clip(p, 1e-7, 1.0)).mean())


def ece(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Returns the expected calibration error of the likeliest class, over 15 bins of equal width.

    Naeini et al. 2015; bins are (low, high], as in Guo et al. 2017.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == truth
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(truth))


@hookimpl
def register_metrics(register):
    register("accuracy", accuracy)
    register("auroc", auroc)
    register("log_loss", log_loss)
    register("ece", ece)
