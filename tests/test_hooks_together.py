"""Hooks of several mitigations together: nesting, arguments, state and generators."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from support.bench import (
    GOOD,
    LABELS,
    LOGITS,
    RECIPE,
    ask,
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
