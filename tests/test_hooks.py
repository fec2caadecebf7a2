"""Every mitigation hook: its default, a claim, how several meet, what each is handed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bench import (
    BATCH,
    LABELS,
    LOGITS,
    PASS,
    RECIPE,
    TARGETS,
    ask,
    constant,
    data,
    mitigation,
    stack_of,
    student_of,
    supervisor,
)

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round
from w2s_bench.registry.stacking import COMBINES
from w2s_bench.training.guards import MitigationFailed


@pytest.mark.parametrize("hook", sorted(COMBINES))
def test_every_hook_has_a_test(hook):
    assert f"test_hook_{hook}" in globals()


# --- one by one


def test_hook_combine_votes():
    assert torch.equal(ask(stack_of(), "combine_votes"), LABELS)
    second = mitigation("combine_votes", lambda self, votes: votes[1])
    assert torch.equal(ask(stack_of(second), "combine_votes"), 1 - LABELS)


def test_hook_combine_votes_may_abstain_on_whole_rows_alone():
    def whole(self, votes):
        return torch.where(torch.tensor([True, False, False])[:, None], torch.nan, votes[0])

    assert ask(stack_of(mitigation("combine_votes", whole)), "combine_votes").isnan().sum() == 2

    def half(self, votes):
        return torch.where(torch.tensor([True, False]), torch.nan, votes[0])

    with pytest.raises(MitigationFailed, match=r"mitigation a: combine_votes .*not finite"):
        ask(stack_of(mitigation("combine_votes", half)), "combine_votes")


def test_hook_plan_rounds():
    assert ask(stack_of(), "plan_rounds") == [Round()]
    rounds = [Round("small"), Round(labels="previous")]
    assert ask(stack_of(mitigation("plan_rounds", lambda self: rounds)), "plan_rounds") == rounds


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([Round("unheard_of")], "unheard_of"),
        ([Round(labels="truth")], "truth"),
        ([], r"must return a list of Rounds"),
        (Round(), r"must return a list of Rounds"),
        ([Round(examples=[0, 3])], r"positions in the pool \(0 to 2\)"),
        ([Round(examples=[])], r"positions in the pool \(0 to 2\)"),
        ([Round(share=float("nan"))], "finite share > 0"),
        ([Round(share=0.0)], "finite share > 0"),
        ([Round(lr_scale=-1.0)], "finite lr_scale >= 0"),
    ],
)
def test_hook_plan_rounds_guards_each_round(answer, said):
    with pytest.raises(MitigationFailed, match=f"mitigation a: plan_rounds .*{said}"):
        ask(stack_of(mitigation("plan_rounds", lambda self: answer)), "plan_rounds")


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ([Round(labels="previous")], "the first round has no round before it"),
        ([Round(fresh=False)], "the first round has no round before it"),
        ([Round(), Round("toy_small")], "the last round must fit `strong`"),
        ([Round("toy_small"), Round(fresh=False)], "continues `strong`, but the round before it fits `toy_small`"),
    ],
)
@pytest.mark.parametrize("wraps", [False, True])
def test_hook_plan_rounds_refuses_rounds_that_do_not_follow(rounds, said, wraps):
    def wrapper(self):
        yield
        return rounds

    made = mitigation("plan_rounds", wrapper if wraps else lambda self: rounds, wrapper=wraps)
    with pytest.raises(Exception, match=f"mitigation climber: .*{said}"):
        student_of([("climber", made)], [supervisor()], recipe=replace(RECIPE, epochs=0.2))


def test_hook_revise_labels():
    assert torch.equal(ask(stack_of(), "revise_labels"), LABELS)
    flip = mitigation("revise_labels", lambda self, labels: labels.flip(-1))
    assert torch.equal(ask(stack_of(flip), "revise_labels"), LABELS.flip(-1))


def test_hook_revise_labels_folds_in_config_order():
    half = mitigation("revise_labels", lambda self, labels: 0.5 * labels + 0.25)
    hard = mitigation("revise_labels", lambda self, labels: (labels > 0.5).float())
    silent = mitigation("revise_labels", lambda self: None)
    hardened = (LABELS > 0.5).float()
    assert torch.equal(ask(stack_of(half, silent, hard), "revise_labels"), hardened)
    assert torch.equal(ask(stack_of(hard, silent, half), "revise_labels"), 0.5 * hardened + 0.25)


def test_hook_weigh_examples():
    assert torch.equal(ask(stack_of(), "weigh_examples"), torch.ones(3))
    sure = mitigation("weigh_examples", lambda self, labels: labels.amax(-1) > 0.7)
    assert torch.equal(ask(stack_of(sure), "weigh_examples"), torch.tensor([1.0, 1.0, 0.0]))


@given(st.lists(st.lists(st.floats(0, 8, width=32), min_size=3, max_size=3), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_hook_weigh_examples_multiplies(weights):
    made = [mitigation("weigh_examples", constant(torch.tensor(w))) for w in weights]
    expected = np.prod(np.array(weights, dtype=np.float32), axis=0)
    np.testing.assert_allclose(ask(stack_of(*made), "weigh_examples").numpy(), expected, rtol=1e-6)


def test_hook_order_examples():
    assert torch.equal(ask(stack_of(), "order_examples"), PASS)
    for answer in ([0, 0, 1], np.array([0, 0, 1], dtype=np.int32), torch.tensor([0, 0, 1])):
        claimed = ask(stack_of(mitigation("order_examples", constant(answer))), "order_examples")
        assert claimed.tolist() == [0, 0, 1]


def test_hook_order_examples_wraps_the_default():
    def backwards(self):
        order = yield
        return order.flip(0)

    assert ask(stack_of(mitigation("order_examples", backwards, wrapper=True)), "order_examples").tolist() == [1, 0, 2]


def test_hook_order_examples_that_is_wrapped_by_nothing_is_naive():
    def same(self):
        return (yield)

    weak = supervisor()
    wrapped = student_of([("same", mitigation("order_examples", same, wrapper=True))], [weak])
    test = data()["test"].inputs
    assert torch.equal(wrapped.predict(test), student_of([], [weak]).predict(test))


@pytest.mark.parametrize(
    "answer", [[0, 3], [-1], [], [0.0, 1.0], ["x"], [True, False, True], [[0, 1]], torch.tensor([True, False, True]), 1]
)
def test_hook_order_examples_guards_positions(answer):
    with pytest.raises(MitigationFailed, match=r"mitigation a: order_examples must return positions .* \(0 to 2\)"):
        ask(stack_of(mitigation("order_examples", constant(answer))), "order_examples")


def test_hook_order_examples_that_names_only_what_was_left_out():
    class OddOnly:
        @hookimpl
        def weigh_examples(self, labels):
            return torch.arange(len(labels)) % 2

        @hookimpl
        def order_examples(self, labels):
            return torch.arange(0, len(labels), 2)

    with pytest.raises(Exception, match="mitigation odd: order_examples named only examples that the others left out"):
        student_of([("odd", OddOnly)], [supervisor()])


def test_hook_fit_student():
    assert ask(stack_of(), "fit_student") is None
    assert ask(stack_of(mitigation("fit_student", lambda self, problem: f"by {problem}")), "fit_student") == "by a"
    with pytest.raises(MitigationFailed, match="mitigation a: fit_student returned None"):
        ask(stack_of(mitigation("fit_student", constant(None))), "fit_student")


def test_hook_fit_student_in_a_loop_of_its_own_equals_the_default_loop():
    class Plain:
        @hookimpl
        def fit_student(self, problem):
            student = problem.new_student()
            for batch, progress in problem.batches():
                student.step(student.losses(batch, progress), batch)
            return student

    weak = supervisor()
    test = data()["test"].inputs
    theirs = student_of([], [weak]).predict(test)
    assert torch.equal(student_of([("plain", Plain)], [weak]).predict(test), theirs)


def test_hook_training_batch():
    assert ask(stack_of(), "training_batch") is BATCH
    lighter = mitigation("training_batch", lambda self, batch: replace(batch, weights=batch.weights / 2))
    assert torch.equal(ask(stack_of(lighter), "training_batch").weights, torch.full((3,), 0.5))


def test_hook_training_batch_folds_in_config_order():
    add = mitigation("training_batch", lambda self, batch: replace(batch, weights=batch.weights + 1))
    none = mitigation("training_batch", lambda self: None)
    double = mitigation("training_batch", lambda self, batch: replace(batch, weights=batch.weights * 2))
    assert torch.equal(ask(stack_of(add, none, double), "training_batch").weights, torch.full((3,), 4.0))
    assert torch.equal(ask(stack_of(double, none, add), "training_batch").weights, torch.full((3,), 3.0))


def test_hook_training_batch_carries_the_generator_of_the_mitigation():
    seen = []
    look = [mitigation("training_batch", lambda self, batch: seen.append(batch.rng)) for _ in range(2)]
    stack = stack_of(*look)
    ask(stack, "training_batch")
    assert seen[0] is stack.rngs["a"] and seen[1] is stack.rngs["b"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": LABELS * float("nan")}, r"training_batch \(batch.labels\) .*not finite"),
        ({"labels": LABELS * 2}, r"training_batch \(batch.labels\) .*sum to 1"),
        ({"weights": -torch.ones(3)}, r"training_batch \(batch.weights\) .*weights >= 0"),
        ({"weights": torch.ones(2)}, r"training_batch \(batch.weights\) .*shape \[2\]"),
    ],
)
def test_hook_training_batch_guards_labels_and_weights(change, said):
    with pytest.raises(MitigationFailed, match=f"mitigation a: {said}"):
        ask(stack_of(mitigation("training_batch", lambda self, batch: replace(batch, **change))), "training_batch")
    with pytest.raises(MitigationFailed, match="mitigation a: training_batch must return a Batch or None"):
        ask(stack_of(mitigation("training_batch", constant(LABELS))), "training_batch")


def test_hook_training_targets():
    assert torch.equal(ask(stack_of(), "training_targets"), LABELS)
    own = mitigation("training_targets", lambda self, logits: logits.softmax(-1))
    assert torch.equal(ask(stack_of(own), "training_targets"), LOGITS.softmax(-1))


def test_hook_training_loss():
    expected = torch.nn.functional.cross_entropy(LOGITS, TARGETS, reduction="none")
    torch.testing.assert_close(ask(stack_of(), "training_loss"), expected)
    brier = mitigation("training_loss", lambda self, logits, targets: ((logits.softmax(-1) - targets) ** 2).sum(-1))
    assert ask(stack_of(brier), "training_loss").shape == (3,)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (torch.tensor([1.0, float("nan"), 0.0]), "losses that are not finite"),
        (torch.tensor([1.0, float("inf"), 0.0]), "losses that are not finite"),
        (torch.tensor(1.0), r"3 losses, one an example; it returned shape \[\]"),
        (torch.ones(3, 2), r"3 losses, one an example; it returned shape \[3, 2\]"),
        (0.5, "3 losses, one an example; it returned float"),
    ],
)
def test_hook_training_loss_guards_its_value(answer, said):
    with pytest.raises(MitigationFailed, match=f"mitigation a: training_loss .*{said}"):
        ask(stack_of(mitigation("training_loss", constant(answer))), "training_loss")
