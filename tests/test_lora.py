"""`tune=lora`: adapters and head alone are trained, runs repeat, and a missing package is named."""

import sys
from dataclasses import replace

import pytest
import torch
from support.bag import fit, inputs_of, words_backbone, words_student
from support.bench import RECIPE, TASK
from support.hf_models import lesson_of, make

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import FitContext
from w2s_bench.plugins.students.hf import HfStudent
from w2s_bench.plugins.supervisors.hf import HfSupervisor

LORA = replace(RECIPE, tune="lora", epochs=5)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(W2SError, match=r"^student.tune=lora needs the package peft: pip install 'w2s_bench\[lora\]'$"):
        words_student(LORA)


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft", reason="tune=lora needs the package peft, which is not installed")


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def folder(request, peft, tmp_path_factory):
    return make(tmp_path_factory.mktemp("models") / request.param, request.param)


def raised(folder, seed=0, recipe=LORA):
    """Returns a student of the model in a folder, finetuned to tell texts by their first word."""
    inputs, truth = lesson_of(128, 0)
    model = HfStudent(HfStudent.Options(model=str(folder)))
    return fit(model.backbone, recipe, inputs, labels=torch.eye(2)[torch.from_numpy(truth)], seed=seed)


def test_adapters_and_head_alone_are_trained(folder):
    student = raised(folder)
    pretrained = raised(folder, recipe=replace(LORA, tune="full", body_lr=0.0)).classifier.body.state_dict()
    trained = student.trainable()
    assert {n for n in trained if not n.startswith("head.")} and all("lora_" in n for n in trained if "head." not in n)
    assert set(trained) < set(dict(student.classifier.named_parameters()))
    for name, weight in student.classifier.body.state_dict().items():
        if "lora_" not in name:
            assert torch.equal(weight, pretrained[name.replace(".base_layer", "")]), name
    moved = [w for n, w in trained.items() if "lora_B" in n]  # these start at zero
    assert moved and all(bool(w.any()) for w in moved)
    assert sum(w.numel() for w in trained.values()) < 0.5 * sum(w.numel() for w in pretrained.values())


def test_predictions_repeat_bit_for_bit(folder):
    test, truth = lesson_of(200, 1)
    first, again, other = (raised(folder, seed).predict(test) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert float((first.argmax(-1).numpy() == truth).mean()) > 0.7


def test_adapters_start_as_the_pretrained_network(folder):
    inputs, _ = lesson_of(16, 2)
    still = replace(LORA, body_lr=0.0, head_lr=0.0)
    adapted, plain = (raised(folder, recipe=r).predict(inputs) for r in (still, replace(still, tune="full")))
    torch.testing.assert_close(adapted, plain)


def test_a_supervisor_with_adapters_can_be_restored(folder, tmp_path):
    inputs, truth = lesson_of(64, 0)
    context = FitContext(TASK, 0, RECIPE)
    first, second = (HfSupervisor(HfSupervisor.Options(model=str(folder), tune="lora")) for _ in range(2))
    first.fit(inputs, truth, context)
    first.save(tmp_path)
    second.restore(tmp_path, context)
    assert (first.label(inputs) == second.label(inputs)).all()


def test_a_network_without_linear_layers_is_refused(peft):
    bare = words_backbone()
    bare.module.hidden = torch.nn.Identity()
    with pytest.raises(W2SError, match="this student has no linear layers; use tune=full or tune=probe"):
        fit(lambda seed: bare, LORA, inputs_of(16))
