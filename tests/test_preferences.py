"""Preference tasks: pairs judged by a weak reward model, a student that learns from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from w2s_bench.compose.runs import cells
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import FitContext, Inputs, Recipe, Round, Sizes, TaskInfo
from w2s_bench.plugins.mitigations.reward_labels import RewardLabels
from w2s_bench.plugins.students.ladder import LadderStudent
from w2s_bench.plugins.supervisors.ladder import LadderSupervisor
from w2s_bench.plugins.tasks.sandbox import ReviewsPairs
from w2s_bench.registry import load
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import FrozenSupervisor, Pool
from w2s_bench.training.stack import Stack

PAIRS = TaskInfo("reviews_pairs", "preference", 2, ["first", "second"])


class Liked:
    """Rewards a candidate by the number in its text."""

    def reward(self, inputs, answers):
        return np.array([float((inputs.other if a else inputs.text)[i]) for i, a in enumerate(answers)])


def pool_of(inputs, votes, critic, meter):
    rngs = {"m": torch.Generator().manual_seed(0)}
    frozen = [FrozenSupervisor("critic", lambda: critic, meter)]
    return Pool(PAIRS, inputs, votes, inputs, votes, frozen, rngs, lambda: votes[0])


@pytest.mark.parametrize("temperature", [1.0, 0.25, 4.0])
def test_reward_labels_are_bradley_terry(temperature):
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 3, (2, 50)).tolist()
    inputs = Inputs([str(i) for i in range(50)], [repr(x) for x in first], [repr(x) for x in second])
    meter = Meter()
    pool = pool_of(inputs, torch.full((1, 50, 2), 0.5), Liked(), meter)
    options = RewardLabels.Options(temperature=temperature)
    stack = Stack([("m", lambda: RewardLabels(options))], pool.rngs)
    labels = stack.revise_labels(pool.votes[0], pool, Round())
    expected = 1 / (1 + np.exp((np.array(first) - second) / temperature))
    np.testing.assert_allclose(labels[:, 1].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(labels.sum(-1).numpy(), 1, atol=1e-6)
    assert meter.supervisor_calls == 100


def test_a_student_learns_pairs_from_a_weak_reward_model():
    splits = ReviewsPairs().load(0, Sizes(600, 600, 10, 400))[1]
    weak = LadderSupervisor(LadderSupervisor.Options(size="xxs"))
    weak.fit(splits["supervision"].inputs, splits["supervision"].truth, FitContext(PAIRS, 0, Recipe(epochs=2)))
    inputs, test = splits["transfer"].inputs, splits["test"]
    votes = torch.from_numpy(weak.label(inputs))[None]
    strong = LadderStudent(LadderStudent.Options(size="s"))
    right = {}
    for name, stack in {"naive": [], "rewarded": [("m", lambda: RewardLabels(RewardLabels.Options()))]}.items():
        stage = StageContext(PAIRS, 0, Meter(), {"strong": (strong.backbone, Recipe(body_lr=1e-4, head_lr=1e-2))})
        pool = pool_of(inputs, votes, weak, stage.meter)
        p = train_student(stage, Stack(stack, pool.rngs), pool).predict(test.inputs)
        right[name] = float((p.argmax(-1).numpy() == test.truth).mean())
    floor = (weak.label(test.inputs).argmax(1) == test.truth).mean()
    assert 0.7 < floor < right["naive"]
    assert right["rewarded"] == pytest.approx(right["naive"], abs=0.01)  # the votes are the rewards, but for rounding


def test_reward_labels_are_refused_where_there_are_no_pairs():
    with pytest.raises(UsageError, match="facts is a classification task, and the mitigation 'reward_labels' serves"):
        cells(["task=facts", "mitigation=[reward_labels]"], False, load())
    assert cells(["task=reviews_pairs", "mitigation=[reward_labels]"], False, load()).cells
