"""How a supervisor with probabilities judges answers: accept, correct or abstain."""

import numpy as np

TRUST = 0.75
"""The confidence in another answer from which a supervisor corrects one."""


def correct_by_label(probabilities: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Returns [N] class numbers: the answer where it is accepted, another where it is corrected, -1 to abstain.

    An answer is accepted where the supervisor (probabilities [N, C]) prefers it too, corrected where it puts at least
    TRUST on another class, and left open in between. In a classification task, judging the answer "class k" and
    labelling are the same question, so the weights trained on the supervision split serve both.
    """
    known = np.where(np.isnan(probabilities), -1.0, probabilities)
    best = known.argmax(-1)
    sure = known.max(-1) >= TRUST
    answers = np.asarray(answers)
    return np.where(best == answers, answers, np.where(sure, best, -1))


def correct_by_answer(own_answers: np.ndarray, confidence: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Returns [N] texts: the answer where the supervisor gives the same, its own where it is sure, "" to abstain.

    `own_answers` [N] are the supervisor's, `confidence` [N] its probabilities of them; the bar is TRUST, as for labels.
    """
    answers = np.asarray(answers)
    return np.where(own_answers == answers, answers, np.where(confidence >= TRUST, own_answers, ""))
