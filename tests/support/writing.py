"""A made-up task of answers in words, whose supervisor has half of them backwards, for methods that ask a judge."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from w2s_bench.conformance.toy import WORDS
from w2s_bench.conformance.toy_answers import ToyAnswers, ToyAnswerSupervisor, ToyWriter
from w2s_bench.interfaces import Inputs, Recipe, Split, TaskInfo
from w2s_bench.seeds import derive
from w2s_bench.training.answers import with_candidates
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import FrozenSupervisor, Pool
from w2s_bench.training.stack import Stack

TASK = TaskInfo("toy", "generation", 0, [])
VOCABULARY = 6
"""Words that occur: so few that a small network learns to repeat them."""


@functools.cache
def texts(seed: int, name: str, size: int) -> Split:
    """Returns texts of three words with the last two in reverse as truth."""
    rows = np.random.default_rng([seed, len(name)]).integers(0, VOCABULARY, (size, 3))
    inputs = Inputs([f"{name}{i}" for i in range(size)], [" ".join(WORDS[w] for w in row) for row in rows])
    return Split(inputs, ToyAnswers().truth(inputs))


class Backwards(ToyAnswerSupervisor):
    """Answers in the wrong order by a coin of each example, not of its text: texts repeat."""

    def answer(self, inputs: Inputs) -> np.ndarray:
        """Returns texts [N]."""
        rng = np.random.default_rng(len(inputs))
        wrong = rng.random(len(inputs)) < self.options.flips
        words = [text.split()[-2:] for text in inputs.text]
        return np.array([" ".join(w if bad else reversed(w)) for w, bad in zip(words, wrong, strict=True)])


def share_right(members: list[Any], seed: int, epochs: float = 12, flips: float = 0.55) -> float:
    """Returns how many test answers are right of a student under a stack; the second supervisor knows all answers."""
    supervisors = [Backwards(Backwards.Options(flips=p)) for p in (flips, 0.0)]
    split, test = texts(seed, "transfer", 480), texts(seed, "test", 300)
    inputs, votes = with_candidates(split.inputs, [s.answer(split.inputs).tolist() for s in supervisors])
    rngs = {name: torch.Generator().manual_seed(derive(seed, name)) for name, _ in members}
    meter = Meter()
    asked = [FrozenSupervisor(f"toy_{k}", lambda s=s: s, meter) for k, s in enumerate(supervisors)]
    strong = ToyWriter(ToyWriter.Options(width=64)).backbone
    stage = StageContext(TASK, seed, meter, {"strong": (strong, Recipe(body_lr=1e-2, head_lr=1e-2, epochs=epochs))})
    pool = Pool(TASK, inputs, votes, inputs, votes, asked, rngs)
    answers = train_student(stage, Stack(members, rngs), pool).answer(test.inputs)
    return float(np.mean([ToyAnswers().check(a, t, "") for a, t in zip(answers, test.truth, strict=True)]))
