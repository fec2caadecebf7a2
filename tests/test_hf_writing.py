"""Hugging Face models that write: steps that remember equal whole passes, and answers are learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import architectures, hf_models
from support.hf_models import lesson_of, student

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import FitContext, Recipe, TaskInfo
from w2s_bench.plugins.supervisors.hf import HfSupervisor
from w2s_bench.training.answers import Answerer, generate

WRITES = TaskInfo("toy", "generation", 0, [])


class Whole(torch.nn.Module):
    """A language model without its memory: every step reads all tokens again."""

    def __init__(self, body):
        super().__init__()
        self.inner = body

    def states(self, input_ids, rows):
        return self.inner.states(input_ids, rows)

    def lm_logits(self, states):
        return self.inner.lm_logits(states)


@pytest.mark.parametrize("family", architectures.CAUSAL)
def test_steps_that_remember_equal_whole_passes(tmp_path, family):
    architectures.make(tmp_path / family, family)
    backbone = student(tmp_path / family).backbone(0)
    draw = np.random.default_rng(0)
    prompts = [draw.integers(6, 66, n) for n in (1, 4, 4, 4, 9, 20)]
    by_steps = Answerer(backbone, "probe").eval()
    torch.nn.init.normal_(by_steps.head.weight, std=0.05)
    whole = Answerer(replace(backbone, module=Whole(backbone.module)), "probe").eval()
    whole.head = by_steps.head
    with torch.inference_mode():
        answers = [generate(model, prompts, backbone, 26, None) for model in (by_steps, whole)]
        drawn = generate(by_steps, prompts, backbone, 26, torch.Generator().manual_seed(0))
    assert answers[0] == answers[1]
    assert [len(p) + len(a) <= 27 for p, a in zip(prompts, answers[0], strict=True)] == [True] * 6
    assert drawn != answers[0]


def test_answers_are_learnt_and_rewarded(tmp_path):
    architectures.make(tmp_path / "llama", "llama")
    supervisor = HfSupervisor(HfSupervisor.Options(model=str(tmp_path / "llama"), body_lr=3e-3, max_length=30))
    inputs, truth = lesson_of(400, 0)
    answers = np.array([f"w{10 + t} w{20 + t}" for t in truth])
    supervisor.fit(inputs, answers, FitContext(WRITES, 0, Recipe(epochs=10, batch_size=16)))
    test, right = lesson_of(60, 1)
    expected = np.array([f"w{10 + t} w{20 + t}" for t in right])
    assert (supervisor.answer(test) == expected).mean() > 0.9
    other = np.array([f"w{11 - t} w{21 - t}" for t in right])
    assert (supervisor.reward(test, expected) > supervisor.reward(test, other)).mean() > 0.9


def test_a_model_that_writes_nothing_is_named(tmp_path):
    hf_models.make(tmp_path / "bert", "bert")
    supervisor = HfSupervisor(HfSupervisor.Options(model=str(tmp_path / "bert")))
    inputs, truth = lesson_of(20, 0)
    with pytest.raises(W2SError, match="bert generates no text"):
        supervisor.fit(inputs, truth.astype(str), FitContext(WRITES, 0, Recipe()))


def test_a_prompt_is_put_around_each_text(tmp_path):
    architectures.make(tmp_path / "llama", "llama")
    plain, asked = (student(tmp_path / "llama", prompt=p).backbone(0) for p in ("{text}", "w1 {text} w2"))
    assert asked.encode(["w9 w8"]) == plain.encode(["w1 w9 w8 w2"]) and asked.identity["prompt"] == "w1 {text} w2"
    short = student(tmp_path / "llama", prompt="w1 {text} w2", max_length=5).backbone(0)
    (row,) = short.encode(["w9 w8 w7 w6 w5"])
    assert len(row) <= 5 and (row[0], row[-1]) == tuple(plain.encode(["w1 w2"])[0])
    with pytest.raises(UsageError, match=r"prompt: 'w1' has no \{text\}"):
        student(tmp_path / "llama", prompt="w1")


def test_layers_and_numbers_of_the_weights(tmp_path):
    architectures.make(tmp_path / "llama", "llama")
    whole, cut = (student(tmp_path / "llama", layers=n).backbone(0) for n in (0, 1))
    assert len(cut.module.network.layers) == 1 < len(whole.module.network.layers) and cut.identity["layers"] == "1"
    half = student(tmp_path / "llama", dtype="bfloat16").backbone(0)
    assert {w.dtype for w in half.module.parameters()} == {torch.bfloat16} and half.identity["dtype"] == "bfloat16"
    with pytest.raises(W2SError, match=r"supervisor\.layers=3: the network has 2 layers"):
        HfSupervisor(HfSupervisor.Options(model=str(tmp_path / "llama"), layers=3)).backbone()
    context = FitContext(TaskInfo("t", "classification", 2, ["a", "b"]), 0, Recipe(epochs=1, batch_size=16))
    for tune in ("probe", "lora"):
        options = HfSupervisor.Options(model=str(tmp_path / "llama"), dtype="bfloat16", tune=tune)
        supervisor = HfSupervisor(options)
        supervisor.fit(*lesson_of(64, 0), context)
        assert np.isfinite(supervisor.label(lesson_of(8, 1)[0])).all()
    with pytest.raises(W2SError, match="tune=full trains weights in float32"):
        HfSupervisor(HfSupervisor.Options(model=str(tmp_path / "llama"), dtype="bfloat16")).fit(
            *lesson_of(64, 0), context
        )
