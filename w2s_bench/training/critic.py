"""How a supervisor that knows how sure it is judges answers: accept, correct or abstain."""

import numpy as np

TRUST = 0.75
"""A supervisor overrules an answer only where it is this sure of another one."""


def correct_by_label(probabilities: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Returns [N] class numbers: the answer where it is accepted, another where it is corrected, -1 to abstain.

    An answer is accepted where the supervisor (probabilities [N, C]) prefers it too, corrected where it puts at least
    TRUST on another class, and left open in between. In a classification task, judging the answer "class k" and
    labelling are the same question, so the weights trained on the supervision split serve both.
    """
    favourite = np.where(np.isnan(probabilities), -1.0, probabilities)
    best = favourite.argmax(-1)
    sure = favourite.max(-1) >= TRUST
    answers = np.asarray(answers)
    return np.where(best == answers, answers, np.where(sure, best, -1))


def correct_by_answer(own: np.ndarray, sure: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Returns [N] texts: the answer where the supervisor gives the same, its own where it is sure, "" to abstain.

    `own` [N] are the supervisor's answers and `sure` [N] its probabilities of them; the bar is TRUST, as for labels.
    """
    answers = np.asarray(answers)
    return np.where(own == answers, answers, np.where(sure >= TRUST, own, ""))
