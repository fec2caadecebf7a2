"""What each mitigation does to a small pool, and constructed cases in which it must help."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.bench import RECIPE, TASK, accuracy, data, student_of, supervisor
from support.mitigations import member, rounds_of

from w2s_bench import hookimpl
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Inputs, Round
from w2s_bench.plugins.mitigations.aux_confidence import AuxConfidence
from w2s_bench.plugins.mitigations.bootstrapping import Bootstrapping
from w2s_bench.plugins.mitigations.confidence_filter import ConfidenceFilter, RandomFilter
from w2s_bench.plugins.mitigations.controls import Majority, RandomLabels
from w2s_bench.plugins.mitigations.corrective_feedback import CorrectiveFeedback
from w2s_bench.plugins.mitigations.easy_to_hard import PACES, EasyToHard
from w2s_bench.plugins.mitigations.gce import GeneralizedCrossEntropy
from w2s_bench.plugins.mitigations.mean_ensemble import MeanEnsemble
from w2s_bench.plugins.mitigations.naive import Naive
from w2s_bench.plugins.mitigations.product import Product
from w2s_bench.plugins.mitigations.self_distillation import SelfDistillation
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import FrozenSupervisor, Pool
from w2s_bench.training.stack import Stack

SURENESS = np.array([0.55, 0.95, 0.75, 0.6, 0.99, 0.8, 0.74, 0.9])
CLASS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
LABELS = torch.tensor(np.where(CLASS[:, None] == [0, 1], SURENESS[:, None], 1 - SURENESS[:, None])).float()


def pool_of(labels=LABELS, difficulty=None, critic=None, seed=0):
    n = len(labels)
    inputs = Inputs([str(i) for i in range(n)], [f"t{i}" for i in range(n)], None, difficulty)
    asked = [FrozenSupervisor("critic", lambda: critic, Meter())]
    rngs = {"m": torch.Generator().manual_seed(seed)}
    return Pool(
        TASK, inputs, labels[None], inputs, labels[None], asked, rngs, lambda inputs: torch.zeros(len(inputs), 4)
    )


def one(cls, **options):
    """Returns a stack of one mitigation, called m."""
    return Stack([member("m", cls, **options)], {"m": torch.Generator().manual_seed(0)})


def order_of(stack, progress, pool, labels=LABELS, weights=None):
    stack.rngs["m"].manual_seed(0)
    weights = torch.ones(len(labels)) if weights is None else weights
    asked = {"labels": labels, "weights": weights, "pool": pool, "round_plan": Round(), "epoch": 0}
    return stack.order_examples(lambda: pytest.fail("the default was asked"), **asked, progress=progress).tolist()


# --- a curriculum


@pytest.mark.parametrize("by", ["confidence", "difficulty"])
@pytest.mark.parametrize("pace", sorted(PACES))
def test_easy_to_hard_grows_from_the_easiest(by, pace):
    difficulty = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0])
    easiest = np.argsort(difficulty if by == "difficulty" else -SURENESS, kind="stable")
    stack = one(EasyToHard, by=by, pace=pace)
    pool = pool_of(difficulty=difficulty)
    sizes = []
    for progress in np.linspace(0, 1, 21):
        order = order_of(stack, progress, pool)
        assert set(order) == set(easiest[: len(order)].tolist()) and len(set(order)) == len(order)
        t = min(1.0, progress / 0.75)
        linear = 1 / 4 + 3 / 4 * t
        share = {"root": np.sqrt(1 / 16 + 15 / 16 * t), "linear": linear, "step": 1 / 4 if t < 1 else 1}[pace]
        assert len(order) == round(8 * share)
        sizes.append(len(order))
    assert sizes[0] == 2 and sizes[-1] == 8 and sizes == sorted(sizes)


def test_easy_to_hard_shuffles_and_leaves_out_what_a_filter_left_out():
    stack, pool = one(EasyToHard), pool_of()
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    kept = order_of(stack, 1.0, pool, weights=weights)
    assert sorted(kept) == [0, 2, 3, 5, 6, 7]
    assert order_of(stack, 0.0, pool, weights=weights) in ([7, 5], [5, 7])  # the surest of what is left
    asked = {"labels": LABELS, "weights": weights, "pool": pool, "round_plan": Round(), "epoch": 0, "progress": 1.0}
    passes = {tuple(stack.order_examples(lambda: None, **asked).tolist()) for _ in range(20)}
    assert len(passes) > 10


def test_easy_to_hard_says_what_a_task_lacks():
    with pytest.raises(W2SError, match=r"gives no difficulty; use mitigation.easy_to_hard.by=confidence"):
        order_of(one(EasyToHard, by="difficulty"), 0.5, pool_of())
    with pytest.raises(ValueError, match="pace must be one of root, linear, step"):
        EasyToHard.Options(pace="quick")


# --- filters


def test_confidence_filter_keeps_the_sure():
    weights = one(ConfidenceFilter).weigh_examples(LABELS, pool_of(), Round())
    assert torch.equal(weights > 0, LABELS.amax(-1) >= 0.75)
    by_share = one(ConfidenceFilter, keep=0.5).weigh_examples(LABELS, pool_of(), Round())
    assert by_share.nonzero()[:, 0].tolist() == [1, 2, 4, 7]  # the surest half of each class


@pytest.mark.parametrize("options", [{}, {"keep": 0.5}, {"threshold": 0.9}])
def test_random_filter_keeps_as_many_of_each_class(options):
    labels = torch.rand(400, 3, generator=torch.Generator().manual_seed(3)).pow(4)
    labels = labels / labels.sum(-1, keepdim=True)
    pool = pool_of(labels)
    sure = one(ConfidenceFilter, **options).weigh_examples(labels, pool, Round())
    stack = one(RandomFilter, **options)
    drawn, again = (stack.weigh_examples(labels, pool, Round()) for _ in range(2))
    predicted = labels.argmax(-1)
    for weights in (drawn, again):
        for c in range(3):
            assert int(weights[predicted == c].sum()) == int(sure[predicted == c].sum()) > 0
    assert not torch.equal(drawn, sure) and not torch.equal(drawn, again)


@pytest.mark.parametrize(
    "stack",
    [
        [],
        [member("f", ConfidenceFilter, keep=0.1)],
        [member("c", EasyToHard)],
        [member("r", RandomFilter, keep=0.3), member("c", EasyToHard)],
        [member("feedback", CorrectiveFeedback)],
    ],
    ids=lambda s: "+".join(n for n, _ in s) or "naive",
)
def test_steps_are_the_same_whatever_is_left_out(stack):
    meter = Meter()
    student_of(stack, [supervisor()], meter=meter, recipe=replace(RECIPE, epochs=1.5))
    lost_to_rounding = 3 if stack and stack[0][0] == "feedback" else 0
    assert 22 - lost_to_rounding <= meter.steps <= 22  # 1.5 x 480 // 32
    assert meter.examples == 32 * meter.steps


def test_a_filter_beside_a_filter_keeps_what_both_keep():
    seen = {}

    class Look:
        @hookimpl
        def fit_student(self, problem):
            seen["weights"] = problem.weights
            student = problem.new_student()
            seen["used"] = torch.cat([batch.index for batch, _ in problem.batches()])
            return student

    stack = [member("f", ConfidenceFilter, keep=0.5), member("r", RandomFilter, keep=0.5), ("look", Look)]
    student_of(stack, [supervisor(words=40)])
    kept = seen["weights"] > 0
    assert 0.1 < float(kept.float().mean()) < 0.4
    assert bool(kept[seen["used"]].all()) and len(seen["used"]) == 960


def test_self_distillation_learns_from_the_student_before():
    weak = supervisor(words=40)
    inputs = data()["transfer"].inputs
    student, seen = rounds_of(member("sd", SelfDistillation, rounds=3), supervisors=[weak])
    assert [plan.index for plan, _ in seen] == [0, 1, 2]
    np.testing.assert_allclose(seen[0][1].numpy(), weak.label(inputs), atol=1e-6)
    for plan, labels in seen[1:]:
        assert torch.equal(labels, plan.previous.predict(inputs))
    assert seen[2][0].previous is not student and student.taken == 30


def test_bootstrapping_climbs():
    weak, inputs = supervisor(words=40), data()["transfer"].inputs
    student, seen = rounds_of(member("b", Bootstrapping, intermediate=["toy_small"]), supervisors=[weak])
    assert [plan.student for plan, _ in seen] == ["toy_small", "strong"]
    small = seen[1][0].previous
    assert (small.backbone.width, student.backbone.width) == (16, 128)
    assert torch.equal(seen[1][1], small.predict(inputs))
    with pytest.raises(W2SError, match=r"mitigation b: plan_rounds .*\['strong', 'toy_small'\].*unknown"):
        student_of([member("b", Bootstrapping, intermediate=["unknown"])], [weak])


# --- votes and labels


def test_mean_ensemble_leaves_out_who_abstains():
    nan = float("nan")
    votes = torch.tensor([[[0.8, 0.2], [nan, nan], [nan, nan]], [[0.4, 0.6], [0.1, 0.9], [nan, nan]]])
    combined = one(MeanEnsemble).combine_votes(votes, pool_of())
    torch.testing.assert_close(combined[:2], torch.tensor([[0.6, 0.4], [0.1, 0.9]]))
    assert bool(combined[2].isnan().all())


def test_examples_on_which_all_abstain_are_left_out():
    votes = torch.from_numpy(supervisor().label(data()["transfer"].inputs)).float().repeat(2, 1, 1)
    votes[0, ::2] = float("nan")
    votes[1, ::4] = float("nan")
    seen = {}

    class Look:
        @hookimpl
        def fit_student(self, problem):
            seen["weights"], seen["labels"] = problem.weights, problem.labels
            return problem.new_student()

    for name, cls, silent in (("n", Naive, 2), ("e", MeanEnsemble, 4)):
        student_of([member(name, cls), ("look", Look)], [supervisor()] * 2, votes=votes)
        left_out = torch.zeros(480, dtype=torch.bool)
        left_out[::silent] = True
        assert torch.equal(seen["weights"] == 0, left_out) and bool(seen["labels"].isfinite().all())


def test_hard_labels_leave_abstentions_open():
    hard = one(Naive, hard=True).revise_labels(torch.cat([LABELS, torch.full((1, 2), 0.5)]), pool_of(), Round())
    assert torch.equal(hard[:8].argmax(-1), torch.from_numpy(CLASS)) and hard[:8].amax(-1).tolist() == [1.0] * 8
    assert hard[8].tolist() == [0.5, 0.5]


def test_majority_teaches_a_constant():
    skewed = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    assert one(Majority).revise_labels(skewed, pool_of(skewed), Round()).tolist() == [[1.0, 0.0]] * 3
    student = student_of([member("majority", Majority)], [supervisor()])
    assert len(student.predict(data()["test"].inputs).argmax(-1).unique()) == 1


def test_random_labels_teach_nothing_and_keep_the_shares():
    labels = torch.tensor([0.7, 0.2, 0.1]).expand(6000, 3).clone()
    drawn = one(RandomLabels).revise_labels(labels, pool_of(labels), Round())
    assert bool((drawn.sum(-1) == 1).all())
    np.testing.assert_allclose(drawn.mean(0), [0.7, 0.2, 0.1], atol=0.03)
    found = [accuracy(student_of([member("r", RandomLabels)], [supervisor(s)], s), s) for s in range(4)]
    assert abs(np.mean(found) - 0.5) < 0.06


def test_product_claims_the_targets_and_others_wrap_it():
    stack = [member("product", Product), member("aux", AuxConfidence), member("gce", GeneralizedCrossEntropy)]
    assert accuracy(student_of(stack, [supervisor()], recipe=replace(RECIPE, epochs=4))) > 0.6
