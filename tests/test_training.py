"""The training room: batches, schedules, one step, a fit, and a worker's job from folder to folder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.bag import PAIRS, Words, batch_of, fit, inputs_of, words_backbone, words_student
from support.bench import RECIPE, TASK, accuracy, data, student_of, supervisor

from w2s_bench import hookimpl
from w2s_bench.errors import W2SError
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Pool
from w2s_bench.training.stack import Stack
from w2s_bench.training.step import weighted_mean

TEST = data()["test"].inputs


# --- one fit


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    weak = supervisor(words=40)
    first, second, other = (student_of([], [weak], seed).predict(TEST) for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("parts", [2, 4, 5])
def test_micro_batches_give_the_gradient_of_the_whole_batch(parts, pairs):
    student = words_student(task=PAIRS if pairs else TASK)
    inputs = inputs_of(13, pairs=pairs)
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(13, 2, generator=generator).softmax(-1)
    weights = torch.rand(13, generator=generator) * 3
    batch = batch_of(student, inputs, labels, weights)
    weighted_mean(student.losses(batch, 0.5), weights).backward()
    whole = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    for part in batch.split(parts):
        ((student.losses(part, 0.5) * part.weights).sum() / weights.sum()).backward()
    for p, grad in zip(student.parameters(), whole, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-4, atol=1e-6)


class Weights:
    """Weighs examples unevenly, so that a mean of means would not be the weighted mean."""

    @hookimpl
    def weigh_examples(self, labels):
        return torch.linspace(0.0, 3.0, len(labels)) ** 3


@pytest.mark.parametrize("accumulate", [2, 4, 5])
def test_accumulation_changes_memory_alone(accumulate):
    weak, meters = supervisor(words=40), [Meter(), Meter()]
    whole = student_of([("w", Weights)], [weak], meter=meters[0])
    parts = student_of([("w", Weights)], [weak], recipe=replace(RECIPE, accumulate=accumulate), meter=meters[1])
    torch.testing.assert_close(parts.predict(TEST), whole.predict(TEST), rtol=0, atol=5e-3)
    assert meters[0].steps == meters[1].steps == 30
    assert meters[0].examples == meters[1].examples


@pytest.mark.parametrize(("epochs", "steps"), [(1, 15), (2.5, 37), (0.01, 1)])
def test_epochs_fix_the_steps(epochs, steps):
    meter = Meter()
    student = student_of([], [supervisor()], recipe=replace(RECIPE, epochs=epochs), meter=meter)
    assert student.taken == meter.steps == steps


def test_steps_count_examples_and_not_whole_passes():
    meter = Meter()
    student_of([], [supervisor()], recipe=replace(RECIPE, epochs=3, batch_size=100), meter=meter)
    assert meter.steps == 14  # 3 x 480 // 100, where three passes of four whole batches would be 12


def test_dropout_is_on_while_training_and_off_while_reading():
    student = words_student(dropout=0.5)
    student.eval()  # as `from_pretrained` hands a body over
    student.begin(10, 1.0)
    inputs = inputs_of(32)
    batch = batch_of(student, inputs, torch.full((32, 2), 0.5), torch.ones(32))
    assert not torch.equal(student.losses(batch, 0.0), student.losses(batch, 0.0))
    assert torch.equal(student.predict(inputs), student.predict(inputs))
    assert student.classifier.training


def test_dropout_is_on_in_a_fit_of_a_body_that_comes_in_eval_mode():
    modes = set()

    class Spy(Words):
        def forward(self, *inputs):
            modes.add((self.dropout.training, torch.is_grad_enabled()))
            return super().forward(*inputs)

    def load(seed):
        return replace(words_backbone(seed), module=Spy(dropout=0.5).eval())

    student = fit(load, RECIPE, inputs_of(64))
    student.predict(inputs_of(8))
    assert modes == {(True, True), (False, False)}


def test_a_continued_round_goes_on_from_the_last():
    from w2s_bench.interfaces import Round

    weights = {}

    class TwoRounds:
        def __init__(self, fresh):
            self.fresh = fresh

        @hookimpl
        def plan_rounds(self):
            return [Round(), Round(fresh=self.fresh, lr_scale=0.0)]

        @hookimpl
        def revise_labels(self, round_plan):
            if round_plan.previous is not None:
                weights["before"] = {k: v.clone() for k, v in round_plan.previous.trainable().items()}

    weak = supervisor()
    continued = student_of([("two", lambda: TwoRounds(False))], [weak])
    for name, weight in continued.trainable().items():  # at learning rate 0 it stays where the first round left it
        assert torch.equal(weight, weights["before"][name])
    once = student_of([], [weak])
    assert torch.equal(continued.predict(TEST), once.predict(TEST))
    afresh = student_of([("two", lambda: TwoRounds(True))], [weak])
    assert not torch.equal(afresh.predict(TEST), once.predict(TEST))


@pytest.mark.parametrize("loop", ["lightning", "own"])
def test_diverging_training_is_said(loop):
    class Own:
        @hookimpl
        def fit_student(self, problem):
            student = problem.new_student()
            for batch, progress in problem.batches():
                student.step(student.losses(batch, progress), batch)
            return student

    stack = [("own", Own)] if loop == "own" else []
    with pytest.raises(W2SError, match=r"training diverged: .*lower the learning rate"):
        student_of(stack, [supervisor()], recipe=replace(RECIPE, body_lr=1e30, head_lr=1e30))


def test_divergence_after_the_last_check_shows_in_the_predictions():
    student = words_student()
    with torch.no_grad():
        student.classifier.head.weight.fill_(float("nan"))
    with pytest.raises(W2SError, match="training diverged"):
        student.predict(inputs_of(8))


def test_divergence_is_not_blamed_on_a_mitigation():
    class Aux:
        @hookimpl(wrapper=True)
        def training_targets(self, logits):
            yield
            return logits.detach().softmax(-1)

    with pytest.raises(W2SError, match=r"^training diverged"):
        student_of([("aux", Aux)], [supervisor()], recipe=replace(RECIPE, body_lr=1e30, head_lr=1e30))


def test_bf16_mixed_learns_and_repeats():
    recipe = replace(RECIPE, precision="bf16-mixed", epochs=4)
    first, second = (student_of([], [supervisor()], recipe=recipe) for _ in range(2))
    assert accuracy(first) > 0.8 and first.classifier.head.weight.dtype == torch.float32
    assert torch.equal(first.predict(TEST), second.predict(TEST))
    assert not torch.equal(first.predict(TEST), student_of([], [supervisor()]).predict(TEST))


def test_clipping_bounds_the_step_in_both_loops():
    class Own:
        @hookimpl
        def fit_student(self, problem):
            student = problem.new_student()
            for batch, progress in problem.batches():
                student.step(student.losses(batch, progress), batch)
            return student

    recipe = replace(RECIPE, clip_norm=0.01)
    theirs, ours = (student_of(s, [supervisor()], recipe=recipe).predict(TEST) for s in ([], [("own", Own)]))
    torch.testing.assert_close(theirs, ours)  # the norm is summed in another order
    unclipped = student_of([], [supervisor()]).predict(TEST)
    assert float((theirs - unclipped).abs().max()) > 0.01


def test_trainer_options_may_set_what_the_harness_leaves_off():
    labels = torch.eye(2)[torch.arange(64) % 2]
    trainer = {"enable_model_summary": False}
    stage = StageContext(TASK, 0, Meter(), {"strong": (words_backbone, RECIPE)}, trainer=trainer)
    pool = Pool(TASK, inputs_of(64), labels[None], inputs_of(64), labels[None], [], {}, lambda: labels)
    assert train_student(stage, Stack([], {}), pool).taken == 4
