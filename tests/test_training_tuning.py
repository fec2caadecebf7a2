"""Tuning kinds, preferences, differentiable steps and what supervisors use of training."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.bag import PAIRS, batch_of, fit, inputs_of, texts, words_backbone, words_student
from support.bench import RECIPE, TASK, student_of, supervisor

from w2s_bench import hookimpl
from w2s_bench.interfaces import FitContext, Inputs
from w2s_bench.training.finetune import finetune, restore
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Pool
from w2s_bench.training.stack import Stack

# --- tuning


def test_a_probe_trains_the_head_alone_on_frozen_features(tmp_path):
    from sklearn.linear_model import LogisticRegression

    inputs = inputs_of(200)
    labels = torch.eye(2)[(words_student().features(inputs).sum(-1) > 0).long()]
    recipe = replace(RECIPE, tune="probe", epochs=50, head_lr=0.2)
    student = fit(words_backbone, recipe, inputs, labels=labels, cache=(str(tmp_path),))
    # the stage draws the body from a seed of its own: compare with a body drawn alike
    from w2s_bench.seeds import derive

    fresh = words_backbone(derive(0, "weights", "strong", 0)).module
    for a, b in zip(student.classifier.body.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b) and not a.requires_grad
    assert set(student.trainable()) == {"head.weight", "head.bias"}

    features = student.features(inputs).numpy()
    own = student.predict(inputs).argmax(-1).numpy()
    regression = LogisticRegression(C=1e4, max_iter=5000).fit(features, labels.argmax(-1).numpy())
    assert (own == regression.predict(features)).mean() > 0.97


def test_a_probe_of_tokens_and_of_features_is_the_same_network():
    inputs = inputs_of(30)
    for task, pairs in ((TASK, False), (PAIRS, True)):
        read = inputs_of(30, pairs=pairs)
        full, probe = (words_student(replace(RECIPE, tune=tune), task) for tune in ("full", "probe"))
        torch.testing.assert_close(probe.predict(read), full.predict(read))
        assert probe.features(read).shape == ((2, 30, 8) if pairs else (30, 8))
        batch = probe.batch_inputs(read, np.arange(4))
        assert batch["features"].shape == ((2, 4, 8) if pairs else (4, 8))
    assert "input_ids" in words_student().batch_inputs(inputs, np.arange(4))


def test_frozen_features_are_kept_and_belong_to_their_weights(tmp_path):
    recipe, inputs = replace(RECIPE, tune="probe"), inputs_of(20)

    def features(seed):
        student = words_student(recipe, cache=(str(tmp_path),), seed=seed)
        calls = []
        student.classifier.body.register_forward_hook(lambda *_: calls.append(1))
        return student.features(inputs), len(calls)

    first, computed = features(0)
    again, cached = features(0)
    assert torch.equal(first, again) and computed > 0 == cached
    other, computed = features(1)  # the same name, other random weights
    assert computed and not torch.equal(first, other)
    for file in tmp_path.glob("features-*/*.features"):
        file.write_bytes(file.read_bytes()[:100])
    again, computed = features(0)
    assert torch.equal(first, again) and computed


@pytest.mark.parametrize("task", [TASK, PAIRS], ids=["texts", "pairs"])
def test_a_part_of_what_a_frozen_body_read_is_not_read_again(task):
    student, inputs = words_student(replace(RECIPE, tune="probe"), task), inputs_of(20, pairs=task is PAIRS)
    whole = student.features(inputs)
    read, came = student.frozen.read, []
    student.frozen.read = lambda texts: came.extend(texts) or read(texts)
    some = torch.tensor([7, 3, 11])
    assert torch.equal(student.features(inputs.take(some)), whole[..., some, :]) and not came
    more = inputs_of(25, pairs=task is PAIRS).take(torch.tensor([3, 24]))
    student.features(more)
    known = {*inputs.text, *(inputs.other or ())}
    assert set(came) == {*more.text, *(more.other or ())} - known and len(came) == len(set(came)) > 0


# --- preferences


def test_preferences_are_symmetric_in_the_candidates():
    student = words_student(task=PAIRS)
    inputs = inputs_of(25, pairs=True)
    p = student.predict(inputs)
    swapped = student.predict(Inputs(inputs.ids, inputs.other, inputs.text))
    assert p.shape == (25, 2) and student.classifier.head.out_features == 1
    torch.testing.assert_close(swapped, p.flip(-1))
    same = student.predict(Inputs(inputs.ids, inputs.text, inputs.text))
    torch.testing.assert_close(same, torch.full((25, 2), 0.5))


@pytest.mark.parametrize("tune", ["full", "probe"])
def test_preferences_are_learnt(tune):
    first, second = texts(400, 0, 4), texts(400, 1, 4)
    inputs = Inputs([str(i) for i in range(400)], first, second)
    truth = torch.tensor([int(int(b.split()[0]) > int(a.split()[0])) for a, b in zip(first, second, strict=True)])
    recipe = replace(RECIPE, epochs=10, tune=tune, accumulate=2)
    student = fit(words_backbone, recipe, inputs, PAIRS, torch.eye(2)[truth])
    right = float((student.predict(inputs).argmax(-1) == truth).float().mean())
    assert right > (0.7 if tune == "full" else 0.54)


# --- steps that are differentiated through


def test_losses_under_given_weights_equal_the_ordinary_ones():
    student = words_student()
    batch = batch_of(student, inputs_of(16), torch.full((16, 2), 0.5), torch.ones(16))
    plain = student.losses(batch, 0.5)
    under = student.losses(batch, 0.5, params=student.trainable())
    torch.testing.assert_close(under, plain)
    own = torch.autograd.grad(plain.sum(), list(student.trainable().values()))
    given = torch.autograd.grad(under.sum(), list(student.trainable().values()))
    for a, b in zip(own, given, strict=True):
        torch.testing.assert_close(a, b)
    logits = student.logits(inputs_of(16), torch.arange(16), student.trainable())
    torch.testing.assert_close(logits.softmax(-1), student.predict(inputs_of(16)))


def test_second_order_gradients_flow_through_a_step():
    student = words_student()
    student.begin(10, 1.0)
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(16, 2, generator=generator).softmax(-1)
    batch = batch_of(student, inputs_of(16), labels, torch.ones(16))
    names = list(student.trainable())
    answers = torch.arange(16) % 2

    def meta_loss(weights):
        params = student.trainable()
        losses = student.losses(batch, 0.0, params=params)
        grads = torch.autograd.grad((weights * losses).mean(), list(params.values()), create_graph=True)
        stepped = {n: params[n] - 0.1 * s for n, s in zip(names, grads, strict=True)}
        return torch.nn.functional.cross_entropy(student.logits(inputs_of(16, 5), torch.arange(16), stepped), answers)

    weights = torch.ones(16, requires_grad=True)
    slope = torch.autograd.grad(meta_loss(weights), weights)[0]
    assert bool((slope != 0).any())
    h = 0.05
    for i in (0, 7):
        nudge = torch.zeros(16)
        nudge[i] = h
        rise = (meta_loss(weights.detach() + nudge) - meta_loss(weights.detach() - nudge)).detach() / (2 * h)
        torch.testing.assert_close(slope[i], rise, rtol=0.05, atol=2e-5)


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.1, "clip_norm": 0.01, "schedule": "linear"}])
def test_a_look_ahead_is_the_optimisers_step_without_its_first_moment(changes):
    student = words_student(replace(RECIPE, **changes))
    student.begin(10, 0.5)
    for group in student.configure_optimizers().param_groups:
        group["betas"] = (0.0, group["betas"][1])
    labels = torch.eye(2)[torch.arange(16) % 2]
    for k in range(3):
        batch, params = batch_of(student, inputs_of(16, k), labels, torch.ones(16)), student.trainable()
        weights = torch.ones(16, requires_grad=True)
        loss = (student.losses(batch, 0.0, params=params) * weights).mean()
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        ahead = student.look_ahead(dict(zip(params, grads, strict=True)))
        flow = torch.autograd.grad(sum(a.square().sum() for a in ahead.values()), weights)[0]
        assert bool(flow.isfinite().all()) and bool((flow != 0).any())
        student.step(student.losses(batch, 0.0), batch)
        for name, weight in student.trainable().items():
            torch.testing.assert_close(ahead[name], weight, rtol=0, atol=1e-6)


# --- what supervisors use


def test_a_finetuned_model_is_saved_and_restored(tmp_path):
    labels = torch.eye(2)[torch.arange(64) % 2]
    inputs = inputs_of(64)
    fitted = finetune(words_backbone(), inputs, labels, FitContext(TASK, 0, RECIPE))
    fitted.save(tmp_path)
    assert [f.suffix for f in tmp_path.iterdir()] == [".safetensors"]
    other = restore(words_backbone(3), tmp_path, FitContext(TASK, 0, RECIPE))
    assert torch.equal(other.predict(inputs), fitted.predict(inputs))


def test_asking_a_supervisor_leaves_the_random_streams_alone():
    class Draws:
        def label(self, inputs):
            torch.rand(3)
            return supervisor().label(inputs)

    drawn = {}

    class Asks:
        @hookimpl
        def revise_labels(self, pool):
            before = torch.random.get_rng_state()
            pool.supervisors[0].label(pool.inputs)
            drawn["same"] = torch.equal(before, torch.random.get_rng_state())

    student_of([("asks", Asks)], [Draws()], recipe=replace(RECIPE, epochs=0.1))
    assert drawn["same"]


def test_the_terminal_stays_clean(capfd, caplog):
    levels = {n: logging.getLogger(n).level for n in ("lightning.pytorch", "lightning.fabric")}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        student_of([], [supervisor()])
        student_of_a_trainer()
    out, err = capfd.readouterr()
    assert (out, err) == ("", "") and not [w for w in caught if "lightning" in str(w.filename)]
    assert not caplog.records
    assert levels == {n: logging.getLogger(n).level for n in levels}


def student_of_a_trainer():
    """Returns a student under a Trainer that was told something, which is no longer a bare one."""
    labels = torch.eye(2)[torch.arange(64) % 2]
    stage = StageContext(TASK, 0, Meter(), {"strong": (words_backbone, RECIPE)}, trainer={"log_every_n_steps": 1})
    inputs = inputs_of(64)
    pool = Pool(TASK, inputs, labels[None], inputs, labels[None], [], {}, lambda: labels)
    return train_student(stage, Stack([], {}), pool)
