"""Features mixed inside the network, rounds on texts, and the mitigations made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.bench import BATCH, RECIPE, TASK, accuracy, data, mitigation, stack_of, student_of, supervisor
from support.losses import quick
from support.mitigations import member

from w2s_bench.conformance.toy import ToyStudent
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Inputs, Round, TaskInfo
from w2s_bench.plugins.mitigations.dividemix import sharpened
from w2s_bench.plugins.mitigations.generative_finetuning import GenerativeFinetuning
from w2s_bench.plugins.mitigations.mixup import beta, mixed
from w2s_bench.training import loop
from w2s_bench.training.batches import Batch
from w2s_bench.training.classifier import Classifier
from w2s_bench.training.language import text_losses
from w2s_bench.training.pool import Pool


def batch_of(size, width=5, pairs=False, seed=0):
    rng = torch.Generator().manual_seed(seed)
    texts = 2 * size if pairs else size
    inputs = {
        "input_ids": torch.randint(64, (texts, width), generator=rng),
        "attention_mask": torch.ones(texts, width, dtype=torch.long),
    }
    labels = torch.rand(size, 2, generator=rng).softmax(-1)
    return Batch(torch.arange(size), inputs, labels, torch.ones(size), labels[None], rng=rng)


def classifier_of(kind="classification"):
    torch.manual_seed(0)
    task = TaskInfo("toy", kind, 2, ["a", "b"])
    model = Classifier(ToyStudent(ToyStudent.Options(width=16)).backbone(0), task, 0, "full")
    torch.nn.init.normal_(model.head.weight)
    return model


@given(st.integers(1, 9), st.booleans(), st.integers(0, 100))
@quick
def test_the_head_reads_mixed_features(size, pairs, seed):
    batch = mixed(batch_of(size, pairs=pairs, seed=seed), 1.0)
    partner, share = batch.mix
    model = classifier_of("preference" if pairs else "classification")
    h = model.features(batch.inputs).view(2 if pairs else 1, size, -1).detach().double()
    h = share[:, None].double() * h + (1 - share[:, None].double()) * h[:, partner]
    scores = h @ model.head.weight.double().T + model.head.bias.double()
    expected = scores[..., 0].T if pairs else scores[0]
    torch.testing.assert_close(model(batch.inputs, batch.mix).double(), expected, atol=1e-5, rtol=1e-5)


@given(st.integers(1, 9), st.integers(1, 4), st.booleans(), st.integers(0, 100))
@quick
def test_parts_of_a_mixed_batch_are_the_batch(size, parts, pairs, seed):
    batch = mixed(batch_of(size, pairs=pairs, seed=seed), 1.0)
    model = classifier_of("preference" if pairs else "classification")
    whole = model(batch.inputs, batch.mix)
    outputs = [(model(part.inputs, part.mix), part) for part in batch.split(parts)]
    in_turn = torch.cat([out for out, part in outputs if float(part.weights.sum())])
    torch.testing.assert_close(in_turn, whole, atol=1e-5, rtol=1e-5)


def test_mixup_mixes_labels_as_features():
    batch = batch_of(64)
    changed = mixed(batch, 1.0)
    partner, share = changed.mix
    expected = share[:, None] * batch.labels + (1 - share[:, None]) * batch.labels[partner]
    torch.testing.assert_close(changed.labels, expected)
    assert sorted(partner.tolist()) == list(range(64)) and bool((mixed(batch, 1.0, least=0.5).mix[1] >= 0.5).all())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution(alpha):
    from scipy.stats import beta as distribution
    from scipy.stats import kstest

    drawn = beta(alpha, 4000, torch.Generator().manual_seed(1)).double().numpy()
    assert kstest(drawn, distribution(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    "mix",
    [
        (torch.tensor([0, 1]), torch.ones(3)),
        (torch.tensor([0, 1, 3]), torch.ones(3)),
        (torch.tensor([0, 1, 2]), torch.tensor([0.5, 1.5, 0.0])),
        (torch.tensor([0, 1, 2]),),
        torch.ones(3),
    ],
)
def test_a_mixture_of_another_shape_is_refused(mix):
    stack = stack_of(mitigation("training_batch", lambda self, batch: replace(batch, mix=mix)))
    with pytest.raises(W2SError, match=r"mitigation a: training_batch \(batch.mix\) must be positions in the batch"):
        stack.training_batch(BATCH, 0.5)


def test_answers_in_words_have_nothing_to_mix():
    words = replace(BATCH, inputs={"column": torch.zeros(3, 2)})
    mix = (torch.arange(3), torch.ones(3))
    stack = stack_of(mitigation("training_batch", lambda self, batch: replace(batch, mix=mix)))
    with pytest.raises(W2SError, match="answers in words have none of"):
        stack.training_batch(words, 0.5)


# --- dividemix


def test_sharpened_is_a_normalised_power():
    p = torch.tensor([[0.3, 0.7], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(sharpened(p, 0.5), p**2 / (p**2).sum(-1, keepdim=True))


# --- rounds on texts


@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), st.integers(0, 50))
@quick
def test_text_losses_are_the_mean_over_next_tokens(size, width, pairs, seed):
    torch.manual_seed(0)
    body = ToyStudent(ToyStudent.Options(width=16)).backbone(0).module
    inputs = batch_of(size, width, pairs, seed).inputs
    lengths = torch.randint(1, width + 1, (len(inputs["input_ids"]),), generator=torch.Generator().manual_seed(seed))
    inputs["attention_mask"] = (torch.arange(width) < lengths[:, None]).long()
    expected = []
    for ids, length in zip(inputs["input_ids"], lengths.tolist(), strict=True):
        total = 0.0
        for t in range(length - 1):
            state = body.states(ids[None, : t + 1], torch.tensor([t]))
            total -= float(body.lm_logits(state).detach().double().log_softmax(-1)[0, ids[t + 1]])
        expected.append(total / max(length - 1, 1))
    expected = np.array(expected).reshape(2, -1).mean(0) if pairs else np.array(expected)
    np.testing.assert_allclose(text_losses(body, inputs, pairs).detach().numpy(), expected, atol=1e-4)


def test_a_round_on_texts_comes_first_and_its_weights_stay():
    rounds = [Round(objective="text"), Round(fresh=False, lr_scale=0.0)]
    Texts = mitigation("plan_rounds", lambda self: rounds)
    weak, test = [supervisor()], data()["test"]
    student = student_of([("texts", Texts)], weak, recipe=replace(RECIPE, epochs=10))
    untouched = student_of([], weak, recipe=replace(RECIPE, body_lr=0.0))
    losses = [
        float(text_losses(s.classifier.body, s.tokens(test.inputs).padded(np.arange(100)), False).mean().detach())
        for s in (student, untouched)
    ]
    assert losses[0] < losses[1] - 0.3
    assert accuracy(student_of([member("generative", GenerativeFinetuning)], weak)) > 0.8


@pytest.mark.parametrize("examples", [None, [0, 2]])
def test_a_round_on_texts_reads_unlabelled_ones_too(monkeypatch, examples):
    inputs, more = Inputs(list("abc"), ["w1", "w2", "w3"]), Inputs(list("de"), ["w4", "w5"])
    votes = torch.full((1, 3, 2), 0.5)
    pool = Pool(TASK, inputs, votes, inputs, votes, [], {}, unlabelled=more)
    monkeypatch.setattr(loop, "lightning_loop", lambda problem: problem)
    problem = loop.fit_texts(None, None, pool, Round(objective="text", examples=examples), votes[0])
    assert problem.pool.inputs.text == ["w1", "w2", "w3"] + (["w4", "w5"] if examples is None else [])
    assert problem.weights.tolist() == ([1.0] * 5 if examples is None else [1.0, 0.0, 1.0])
    assert problem.labels.shape == (len(problem.weights), 2) and problem.pool.votes.shape[1] == len(problem.weights)


@pytest.mark.parametrize(
    "rounds, message",
    [
        ([Round(objective="text")], "the last round must fit `strong` to labels"),
        ([Round(objective="text"), Round(labels="previous")], "learnt from texts alone; use labels='votes'"),
        ([Round(objective="words")], "the objective `labels` or `text`"),
    ],
)
def test_rounds_on_texts_that_make_no_sense_are_refused(rounds, message):
    with pytest.raises(W2SError, match=message):
        student_of([("m", mitigation("plan_rounds", lambda self: rounds))], [supervisor()])


def test_a_round_on_texts_needs_a_language_model_that_is_tuned():
    weak, texts = [supervisor()], [member("generative", GenerativeFinetuning)]
    with pytest.raises(W2SError, match="tune=probe leaves frozen"):
        student_of(texts, weak, recipe=replace(RECIPE, tune="probe"))
    assert TASK.kind == "classification"
