"""A fault in a mitigation is laid at its own door: the message names the mitigation, the hook and what came."""

from __future__ import annotations

import re

import pytest
import torch
from support.bench import BATCH, GOOD, LABELS, LOGITS, ask, constant, mitigation, stack_of, student_of, supervisor

from w2s_bench.interfaces import Round
from w2s_bench.registry.stacking import COMBINES
from w2s_bench.training.guards import MitigationFailed

PROBABILITY_HOOKS = ("combine_votes", "revise_labels", "training_targets")


@pytest.mark.parametrize("hook", PROBABILITY_HOOKS)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (torch.tensor([[float("nan"), 1.0]] * 3), "not finite"),
        (torch.tensor([[0.5, 0.5], [float("inf"), 0.0], [0.5, 0.5]]), "not finite"),
        (LABELS[:2], r"shape \[3, 2\] .* it returned shape \[2, 2\]"),
        (LABELS[:, 0], r"it returned shape \[3\]"),
        (LABELS * 1.1, "negative or do not sum to 1"),
        (torch.tensor([[1.5, -0.5]] * 3), "negative or do not sum to 1"),
        (LABELS.tolist(), "it returned list"),
    ],
)
def test_probabilities_are_guarded(hook, answer, said):
    with pytest.raises(MitigationFailed, match=f"(?s)mitigation b: {hook} .*({said})"):
        ask(stack_of(type("Nothing", (), {}), mitigation(hook, constant(answer))), hook)


@pytest.mark.parametrize("hook", ["revise_labels", "training_targets"])
def test_abstaining_is_for_votes_alone(hook):
    silent = torch.where(torch.tensor([True, False, False])[:, None], torch.nan, LABELS)
    with pytest.raises(MitigationFailed, match=f"mitigation a: {hook} .*not finite"):
        ask(stack_of(mitigation(hook, constant(silent))), hook)


@pytest.mark.parametrize(
    "answer", [-torch.ones(3), torch.ones(2), torch.ones(3, 1), torch.tensor([1.0, float("nan"), 1.0]), [1.0, 1.0, 1.0]]
)
def test_weights_are_guarded(answer):
    with pytest.raises(MitigationFailed, match="mitigation a: weigh_examples must return 3 finite weights >= 0"):
        ask(stack_of(mitigation("weigh_examples", constant(answer))), "weigh_examples")


def test_weights_that_leave_nothing_name_the_stack():
    none = mitigation("weigh_examples", lambda self, labels: torch.zeros(len(labels)))
    with pytest.raises(Exception, match="no example is left to train on in round 1: a\\+zero gave every one weight 0"):
        student_of([("a", type("Nothing", (), {})), ("zero", none)], [supervisor()])


@pytest.mark.parametrize("hook", sorted(set(COMBINES) - {"revise_labels", "training_batch"}))
def test_a_claim_that_returns_none_is_named(hook):
    with pytest.raises(MitigationFailed, match=f"mitigation a: {hook} returned None; it must return a value"):
        ask(stack_of(mitigation(hook, constant(None))), hook)


def outer(hook):
    """Returns a wrapper that does nothing, to stand around a culprit."""

    def wrapper(self):
        return (yield)

    return mitigation(hook, wrapper, wrapper=True)


@pytest.mark.parametrize("hook", sorted(GOOD))
def test_a_wrapper_that_forgets_its_return_is_named(hook):
    def forgets(self):
        yield

    culprit = mitigation(hook, forgets, wrapper=True)
    with pytest.raises(MitigationFailed, match=f"mitigation b: {hook} returned None; it must return what `yield`"):
        ask(stack_of(outer(hook), culprit, outer(hook)), hook)


@pytest.mark.parametrize("hook", sorted(GOOD))
def test_a_wrapper_that_yields_never_or_twice_is_named(hook):
    def never(self):
        if hook == "":
            yield
        return GOOD[hook]

    def twice(self):
        yield
        yield
        return GOOD[hook]

    for fault, said in ((never, "returned before its `yield`"), (twice, "yields a second time")):
        culprit = mitigation(hook, fault, wrapper=True)
        with pytest.raises(MitigationFailed, match=f"mitigation b: {hook} {said}"):
            ask(stack_of(outer(hook), culprit, outer(hook)), hook)


@pytest.mark.parametrize("hook", sorted(COMBINES))
def test_a_raise_in_a_claim_is_laid_at_its_own_door(hook):
    def broken(self):
        raise KeyError("lost")

    stack = [mitigation(hook, broken)] + ([outer(hook)] if hook in GOOD else [])
    with pytest.raises(MitigationFailed, match=f"mitigation a: {hook} raised KeyError: 'lost'") as caught:
        ask(stack_of(*stack), hook)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("hook", sorted(GOOD))
@pytest.mark.parametrize("before", [True, False])
def test_a_raise_in_a_wrapper_is_laid_at_its_own_door(hook, before):
    def broken(self):
        if before:
            raise ZeroDivisionError("gone")
        yield
        raise ZeroDivisionError("gone")

    culprit = mitigation(hook, broken, wrapper=True)
    with pytest.raises(MitigationFailed, match=f"mitigation b: {hook} raised ZeroDivisionError: gone"):
        ask(stack_of(outer(hook), culprit, outer(hook)), hook)


def test_a_wrapper_may_rescue_what_it_wraps():
    def broken(self):
        raise RuntimeError("no")

    def rescue(self, batch):
        try:
            return (yield)
        except MitigationFailed:
            return batch.labels

    stack = stack_of(mitigation("training_targets", broken), mitigation("training_targets", rescue, wrapper=True))
    assert torch.equal(ask(stack, "training_targets"), LABELS)


def test_a_bad_value_in_the_middle_is_not_blamed_on_the_wrapper_around_it():
    bad = mitigation("training_targets", lambda self, logits: logits)
    with pytest.raises(MitigationFailed, match="mitigation a: training_targets"):
        ask(stack_of(bad, outer("training_targets")), "training_targets")


def test_error_messages_are_one_line():
    def broken(self):
        raise ValueError("first")

    with pytest.raises(MitigationFailed) as caught:
        ask(stack_of(mitigation("training_loss", broken)), "training_loss")
    assert re.fullmatch(r"[^\n]+", str(caught.value))


def test_a_fault_of_the_harness_is_not_blamed_on_the_wrapper_around_it():
    stack = stack_of(outer("training_loss"))
    with pytest.raises(RuntimeError, match="must match"):
        stack.training_loss(BATCH, LOGITS, torch.ones(3, 5), 0.5)


def test_the_owner_of_a_hook_has_the_last_word_on_it():
    claim = mitigation("plan_rounds", constant([Round()]))
    assert stack_of(outer("plan_rounds"), claim).owner("plan_rounds") == "a"
    assert stack_of(outer("training_loss"), claim).owner("plan_rounds") == "b"
    assert stack_of().owner("plan_rounds") is None
