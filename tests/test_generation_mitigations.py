"""Candidates of a generation task under mitigations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.generation import TASK, inputs_of

from w2s_bench.compose.runs import cells
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import Round
from w2s_bench.plugins.mitigations.best_of_n import BestOfN
from w2s_bench.plugins.mitigations.controls import RandomLabels
from w2s_bench.plugins.mitigations.corrective_feedback import CorrectiveFeedback
from w2s_bench.registry import load, problem_of_class
from w2s_bench.training.answers import labels_for, texts_of, with_candidates
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import FrozenSupervisor, Pool
from w2s_bench.training.stack import Stack

# --- candidates and mitigations


def test_candidates_are_shared_by_those_who_agree_and_one_more_may_come():
    inputs, votes = with_candidates(inputs_of(["a", "b", "c"]), [["x", "y", ""], ["x", "z", "w"]])
    assert inputs.candidates == [["x", "y", None], [None, "z", "w"], [None, None, None]]
    assert votes[1].nan_to_num().argmax(-1).tolist() == [0, 1, 1] and votes[0, 2].isnan().all()
    labels = labels_for(inputs, ["q", "z", ""], [0, 1, 2])
    assert inputs.candidates[2] == ["q", None, None] and labels[2].isnan().all()
    assert labels[:2].argmax(-1).tolist() == [2, 1]
    assert texts_of(inputs, torch.eye(4)[[2, 0, 3]]) == ["q", "y", ""]
    assert inputs.take([1]).candidates == [["y"], ["z"], [None]]


class Digits:
    """A weak judge in whose eyes large digits are good, and who turns every 1 into a 2."""

    def __init__(self):
        self.asked = 0

    def reward(self, inputs, answers):
        self.asked += len(inputs)
        return np.array([float(a.split()[-1]) for a in answers])

    def correct(self, inputs, answers):
        return np.array([{"units 1": "units 2", "units 3": ""}.get(a, a) for a in answers])


class Writer:
    """A student who answers by a fixed list, and draws by a generator."""

    def answer(self, inputs, rng=None):
        if rng is None:
            return [f"units {i}" for i in (1, 2, 3, 2)][: len(inputs)]
        return [f"units {k}" for k in torch.randint(0, 10, (len(inputs),), generator=rng).tolist()]


def pool_of(judge, meter=None):
    inputs, votes = with_candidates(inputs_of(), [[f"units {i}" for i in range(4)]])
    rngs = {"m": torch.Generator().manual_seed(0)}
    asked = [FrozenSupervisor("judge", lambda: judge, meter or Meter())]
    return Pool(TASK, inputs, votes, inputs, votes, asked, rngs, lambda: votes[0])


@pytest.mark.parametrize("n", [1, 5])
def test_best_of_n_learns_the_answer_with_the_highest_reward(n):
    meter = Meter()
    pool = pool_of(Digits(), meter)
    stack = Stack([("m", lambda: BestOfN(BestOfN.Options(n=n)))], pool.rngs)
    first, second = stack.plan_rounds(("strong",), pool)
    assert (first.share, second.share, second.fresh) == (0.5, 0.5, False)
    assert stack.revise_labels(pool.votes[0], pool, first).equal(pool.votes[0])
    revised = stack.revise_labels(pool.votes[0], pool, replace(second, previous=Writer(), index=1))
    rng = torch.Generator().manual_seed(0)
    drawn = np.array([[int(a.split()[1]) for a in Writer().answer(pool.inputs, rng)] for _ in range(n)])
    assert pool.answers_of(revised) == [f"units {k}" for k in drawn.max(0)]
    assert meter.supervisor_calls == 4 * n and revised.sum(-1).tolist() == [1.0] * 4


def test_corrective_feedback_takes_words():
    pool = pool_of(Digits())
    stack = Stack([("m", lambda: CorrectiveFeedback(CorrectiveFeedback.Options()))], pool.rngs)
    plan = replace(Round(examples=torch.tensor([3, 0, 1])), previous=Writer(), index=1)
    labels = stack.revise_labels(pool.votes[0], pool, plan)
    # the student says 1, 2, 3 of examples 3, 0, 1: the first is corrected, the second accepted, the third left open
    assert [pool.answers_of(labels)[k] for k in (3, 0)] == ["units 2", "units 2"]
    assert stack.weigh_examples(labels, pool, plan).tolist() == [1, 0, 1, 1]


def test_random_labels_are_other_examples_answers():
    pool = pool_of(Digits())
    stack = Stack([("m", lambda: RandomLabels())], pool.rngs)
    answers = pool.answers_of(stack.revise_labels(pool.votes[0], pool, Round()))
    assert sorted(answers) == [f"units {i}" for i in range(4)] and answers != sorted(answers)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"mitigation": "[majority]"}, "sums_gen is a generation task, and the mitigation 'majority' serves"),
        ({"supervisor": "[tfidf]"}, "the supervisor 'tfidf' serves classification and preference tasks alone"),
        ({"protocol.metric": "auroc"}, "right or wrong; use accuracy"),
        ({"task": "facts", "mitigation": "[best_of_n]"}, "facts is a classification task, and the mitigation"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(asked, said):
    given = {"task": "sums_gen", "supervisor": "[ladder_xs_0]", "student": "ladder_s", **asked}
    with pytest.raises(UsageError, match=said):
        cells([f"{k}={v}" for k, v in given.items()], False, load())


@pytest.mark.parametrize(
    ("kind", "lacks", "said"),
    [
        ("task", {"kind": "generation", "load": print, "fingerprint": print}, "a task needs the method `check`"),
        (
            "supervisor",
            {"kinds": {"generation"}, "fit": print, "label": print},
            "a supervisor needs the method `answer`",
        ),
        ("supervisor", {"fit": print, "answer": print}, "a supervisor needs the method `label`"),
        ("supervisor", {"kinds": {"generation"}, "fit": print, "answer": print}, None),
        ("student", {"kinds": "generation", "backbone": print}, "its `kinds` is 'generation'; write a set out of"),
        ("mitigation", {"kinds": {"regression"}}, "write a set out of classification, preference, generation"),
    ],
)
def test_a_plugin_must_be_able_to_do_what_its_kinds_of_task_ask(kind, lacks, said):
    problem = problem_of_class(kind, type("Made", (), lacks))
    assert problem is None if said is None else said in problem
