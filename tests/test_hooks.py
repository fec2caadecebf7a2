"""Every mitigation hook: its default, a claim, how several meet, what each is handed."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bench import (
    BATCH,
    GOOD,
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

from w2s_bench import hookimpl, hookspecs
from w2s_bench.interfaces import Round
from w2s_bench.plugins.mitigations.controls import Identity
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


# --- how several meet


@pytest.mark.parametrize("hook", sorted(GOOD))
def test_wrappers_nest_with_the_last_named_outermost(hook):
    calls = []

    def tracing(name):
        def wrapper(self):
            calls.append(f"{name} in")
            answer = yield
            calls.append(f"{name} out")
            return answer

        return mitigation(hook, wrapper, wrapper=True)

    def claim(self):
        calls.append("claim")
        return GOOD[hook]

    orders = [
        (tracing("a"), mitigation(hook, claim), tracing("c")),
        (mitigation(hook, claim), tracing("a"), tracing("c")),
        (tracing("a"), tracing("c"), mitigation(hook, claim)),
    ]
    for classes in orders:  # where the claim is named makes no difference: wrappers are around it
        calls.clear()
        ask(stack_of(*classes), hook)
        assert calls == ["c in", "a in", "claim", "a out", "c out"]


def one_hot(p):
    return torch.nn.functional.one_hot(p.argmax(-1), 2).float()


def test_wrapped_targets_are_computed_from_the_inside_out():
    def bend(self, logits):
        targets = yield
        return 0.5 * targets + 0.5 * logits.softmax(-1)

    def harden(self):
        return one_hot((yield))

    bending, hardening = (mitigation("training_targets", f, wrapper=True) for f in (bend, harden))
    soft = LOGITS.softmax(-1)
    bent = 0.5 * LABELS + 0.5 * soft
    hard_last, bent_last = stack_of(bending, hardening), stack_of(hardening, bending)
    torch.testing.assert_close(ask(hard_last, "training_targets"), one_hot(bent))
    torch.testing.assert_close(ask(bent_last, "training_targets"), 0.5 * one_hot(LABELS) + 0.5 * soft)


# --- arguments, state, randomness


@pytest.mark.parametrize("hook", sorted(COMBINES))
def test_a_hook_may_name_any_of_its_arguments_in_any_order(hook):
    names = list(inspect.signature(getattr(hookspecs, hook)).parameters)
    good = {**GOOD, "revise_labels": None, "weigh_examples": torch.ones(3), "fit_student": "s", "training_batch": None}
    for wanted in ([], names[-1:], names[::-1]):
        seen: dict = {}
        source = f"def f(self{''.join(', ' + n for n in wanted)}): seen.update(locals()); return answer"
        scope = {"seen": seen, "answer": good[hook]}
        exec(source, scope)
        ask(stack_of(mitigation(hook, scope["f"])), hook)
        assert set(seen) - {"self"} == set(wanted)


def test_a_hook_may_have_a_method_name_of_its_own():
    class Named:
        @hookimpl(specname="training_targets")
        def bent(self, logits):
            return logits.softmax(-1)

    assert torch.equal(ask(stack_of(Named), "training_targets"), LOGITS.softmax(-1))


def test_each_mitigation_sees_its_own_generator():
    seen = []
    made = [mitigation("revise_labels", lambda self, pool: seen.append(pool.rng)) for _ in range(2)]
    stack = stack_of(*made)
    ask(stack, "revise_labels")
    assert seen == [stack.rngs["a"], stack.rngs["b"]] and seen[0] is not seen[1]


class Counts:
    """A mitigation with state: a moving average would be such a thing."""

    made: ClassVar[list] = []

    def __init__(self):
        self.calls = 0
        self.draws = []
        Counts.made.append(self)

    @hookimpl
    def plan_rounds(self):
        return [Round(share=0.1), Round(share=0.1)]

    @hookimpl
    def revise_labels(self, pool):
        self.draws.append(float(torch.rand((), generator=pool.rng)))

    @hookimpl(wrapper=True)
    def training_targets(self):
        if not any(c is self for c in Counts.made):  # a twin's object is a copy
            Counts.made.append(self)
        self.calls += 1
        return (yield)


def test_objects_are_fresh_for_each_round_and_generators_go_on():
    draws = []
    for _ in range(2):
        Counts.made = []
        student_of([("counts", Counts)], [supervisor()])
        rounds = [c for c in Counts.made if c.calls]
        assert len(rounds) == 2 and rounds[0].calls == rounds[1].calls == 3
        draws.append([d for c in rounds for d in c.draws])
    assert draws[0] == draws[1] and len(set(draws[0])) == 2


def test_objects_are_fresh_for_each_twin():
    Counts.made = []

    class Twins:
        @hookimpl
        def fit_student(self, problem):
            first, second = problem.new_student(), problem.new_student()
            for batch, progress in problem.batches():
                first.step(first.losses(batch, progress), batch)
                second.losses(batch, progress)
                second.losses(batch, progress)
            return first

    student_of([("counts", Counts), ("twins", Twins)], [supervisor()])
    assert sorted(c.calls for c in Counts.made if c.calls) == [3, 3, 6, 6]


def test_generators_differ_by_mitigation_and_repeat_with_the_seed():
    def draw(names, seed):
        seen = {}

        def members(name):
            return name, mitigation("revise_labels", _drawing(seen, name))

        student_of([members(n) for n in names], [supervisor(seed)], seed, replace(RECIPE, epochs=0.1))
        return seen

    both = draw(["one", "two"], 0)
    assert both["one"] != both["two"]
    assert both == draw(["one", "two"], 0)
    assert draw(["two"], 0)["two"] == both["two"]  # whoever else is in the stack
    assert draw(["one"], 1)["one"] != both["one"]


def _drawing(seen, name):
    def revise(self, pool):
        seen[name] = float(torch.rand((), generator=pool.rng))

    return revise


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_identity_equals_naive_bit_for_bit(precision):
    weak, recipe = supervisor(flips=0.2), replace(RECIPE, precision=precision)
    test = data()["test"].inputs
    naive = student_of([], [weak], recipe=recipe)
    identity = student_of([("identity", Identity)], [weak], recipe=recipe)
    assert torch.equal(naive.predict(test), identity.predict(test))
    moved = student_of([("identity", Identity)], [weak], seed=1, recipe=recipe)
    assert not torch.equal(naive.predict(test), moved.predict(test))
