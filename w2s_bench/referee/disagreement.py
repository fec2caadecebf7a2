"""How far several supervisors err together: what an ensemble of them can gain at most."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np


def disagreement(answers: np.ndarray, right: np.ndarray, voted: np.ndarray) -> dict[str, float | None]:
    """Returns `kappa`, `double_fault` and `effective`, of S supervisors on N examples; None where undefined.

    Args:
        answers: What each answered [S, N], class numbers or texts.
        right: Whether that was right [S, N].
        voted: Whether it answered at all [S, N]; a pair is compared where both did.

    `kappa` is Cohen's, agreement beyond chance, and `double_fault` the share of examples that both get wrong: means
    over the pairs (Kuncheva and Whitaker 2003, Machine Learning 51). `effective` is the number of supervisors with
    independent errors that are worth as much, S / (1 + (S - 1) r) for the mean correlation r of the errors of two, not
    below 0 (the design effect of Kish 1965).
    """
    kappas, faults, correlations = [], [], []
    for one, other in combinations(range(len(answers)), 2):
        both = voted[one] & voted[other]
        if not both.any():
            continue
        kappas.append(_kappa(answers[one][both], answers[other][both]))
        wrong = ~right[[one, other]][:, both].astype(bool)
        faults.append(float(wrong.all(axis=0).mean()))
        if (wrong.any(axis=1) & ~wrong.all(axis=1)).all():  # the errors of both vary
            correlations.append(float(np.corrcoef(wrong)[0, 1]))
    shared = max(_mean(correlations) or 0.0, 0.0)
    count = len(answers)
    return {
        "kappa": _mean([k for k in kappas if k is not None]),
        "double_fault": _mean(faults),
        "effective": count / (1 + (count - 1) * shared) if correlations else None,
    }


def _kappa(one: np.ndarray, other: np.ndarray) -> float | None:
    by_chance = sum(float((one == c).mean() * (other == c).mean()) for c in np.union1d(one, other))
    return None if by_chance == 1 else (float((one == other).mean()) - by_chance) / (1 - by_chance)


def _mean(values: list[Any]) -> float | None:
    return float(np.mean(values)) if values else None
