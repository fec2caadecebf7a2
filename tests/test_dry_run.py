"""`--dry-run` says what a run will take: hours and memory, on a named card or the processor at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner
from support import hub as hubs
from support.doc_pages import ROOT
from support.hf_models import models, student  # noqa: F401

from w2s_bench.cells import Entry
from w2s_bench.cli.main import cli
from w2s_bench.estimate.machine import CARDS, card_called, processor
from w2s_bench.estimate.shape import Shape
from w2s_bench.estimate.work import Work
from w2s_bench.interfaces import Recipe

NLP = ("suite", "nlp-small", "--dry-run", "seed=100")
WHOLE = NLP[:3]
PAGE = (ROOT / "docs" / "performance.md").read_text()
SHOWN = dict(re.findall(r"```sh\nw2s suite nlp-small (\S+) --dry-run\n```\n+```text\n(.*?)^```$", PAGE, re.M | re.S))
"""What the docs show, by card."""


@pytest.fixture
def dry(tmp_path, monkeypatch):
    """Types a line in an empty folder, without a network; nothing may be run or written there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("W2S_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("W2S_STORE", raising=False)
    before = sorted(tmp_path.rglob("*"))

    def dry(*line: str, status: int = 0) -> tuple[list[str], str]:
        result = CliRunner().invoke(cli, list(line))
        assert result.exit_code == status, result.output + str(result.exception)
        assert sorted(tmp_path.rglob("*")) == before
        return result.stdout.splitlines(), " ".join(result.stderr.split())

    yield dry


def rows(text: str) -> dict[tuple[str, str], tuple[int, float, float]]:
    """Returns stages, hours and gigabytes by kind and model."""
    found = re.findall(
        r"(supervise|features|ceiling|train) (\S+(?: [\w.-]+)??(?:, \w+)?) (\d+) ([\d.,]+) ([\d.]+) GB", text
    )
    return {(kind, model): (int(n), float(h.replace(",", "")), float(gb)) for kind, model, n, h, gb in found}


@pytest.mark.parametrize("card", ["h200", "rtx4090"])
def test_nlp_small_is_reckoned_as_the_docs_show_it(dry, card):
    commands, text = dry(*WHOLE, f"hardware.card={card}")
    assert len(commands) == 480 and all(line.startswith("w2s run ") for line in commands)
    shown = " ".join(SHOWN[f"hardware.card={card}"].split())
    assert shown in text and "nothing was run" in text
    counts = {key: n for key, (n, _, _) in rows(text).items()}
    assert counts == {
        ("supervise", "EleutherAI/pythia-160m"): 30,
        ("ceiling", "EleutherAI/pythia-1.4b"): 30,
        ("train", "EleutherAI/pythia-1.4b"): 480,
    }


def test_what_does_not_fit_has_a_remedy_that_works(dry):
    _, roomy = dry(*NLP, "hardware.card=h200")
    _, text = dry(*NLP, "hardware.card=l4")
    assert "do not fit" not in roomy
    advice = re.search(r"pythia-1.4b: [\d.]+ GB for one do not fit into 24.0 GB; (.+?) takes ([\d.]+) GB", text)
    assert advice and float(advice[2]) < 24
    _, changed = dry(*NLP, "hardware.card=l4", *advice[1].split())
    assert "do not fit" not in changed and f" {advice[2]} GB" in changed


def test_an_unknown_card_is_an_error_with_the_known(dry):
    _, text = dry(*NLP, "hardware.card=h20", status=2)
    assert "hardware.card" in text and "'h20'" in text and all(name in text for name in CARDS)


def test_a_card_goes_with_hardware_gpu(dry):
    _, text = dry("suite", "quick", "hardware.card=l4", "--dry-run", status=2)
    assert "add hardware=gpu" in text


def test_without_a_card_at_hand_one_is_to_be_named(dry, monkeypatch):
    monkeypatch.setattr("w2s_bench.referee.provenance.gpu", lambda: None)
    _, text = dry(*NLP)
    assert "name one with hardware.card=NAME, out of h200" in text and not rows(text)
    monkeypatch.setattr("w2s_bench.referee.provenance.gpu", lambda: "NVIDIA H200, NVIDIA H200")
    assert rows(dry(*NLP)[1]) == rows(dry(*NLP, "hardware.card=h200")[1])


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA L40S", "l40s"), ("NVIDIA L4", "l4"), ("Tesla T4", None),
        ("NVIDIA GeForce RTX 4090", "rtx4090"), ("NVIDIA A100-SXM4-80GB", "a100"), ("NVIDIA A100-PCIE-40GB", None),
    ],
)  # fmt: skip
def test_cards_by_what_the_driver_calls_them(called, name):
    assert card_called(called) == (CARDS[name] if name else None)


def test_a_model_that_cannot_be_read_is_left_out_and_named(dry, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commands, text = dry(*NLP, "hardware.card=h200", "student.model=nobody/nothing")
    assert "student.model=nobody/nothing: no such path here" in text and "HF_HUB_OFFLINE is set" in text
    assert "without 170 stages of unknown size" in text and len(commands) == 160
    assert list(rows(text)) == [("supervise", "EleutherAI/pythia-160m")]


def test_a_model_of_the_hub_is_read_by_its_configuration_alone(models, tmp_path):  # noqa: F811
    served = tmp_path / "hub" / "models" / "owner" / "small"
    shutil.copytree(models("llama"), served, ignore=shutil.ignore_patterns("*.safetensors", "tokenizer*"))
    line = ["run", "student=hf", "student.model=owner/small", "--dry-run"]
    with hubs.serve(tmp_path / "hub") as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "w2s_bench", *line], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
    assert done.returncode == 0, done.stderr
    assert rows(" ".join(done.stderr.split()))["train", "owner/small"][0] == 1


def test_a_run_and_a_probe_are_reckoned_too(dry):
    line = ("task=facts", "mitigation=[naive],[knn_filter]", "student=ladder_m", "seed=0,1", "engine.workers=2")
    _, text = dry("run", "-m", *line, "--dry-run")
    full = rows(text)
    assert full["train", "ladder m-0-sal0.3"][0] == 4 and full["features", "ladder m-0-sal0.3"][0] == 2
    assert "with 2 workers on this processor" in text
    _, text = dry("run", "-m", *line, "student.tune=probe", "--dry-run")
    assert rows(text)["train", "ladder m-0-sal0.3, probe"][0] == 4
    assert rows(text)["features", "ladder m-0-sal0.3"][0] == 2


def test_without_networks_of_torch_none_is_loaded():
    code = "from w2s_bench.cli.main import cli\nimport sys\n"
    code += "try: cli.main(['suite', 'quick', 'seed=0', '--dry-run'])\nexcept SystemExit as e: assert not e.code\n"
    code += "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


SMALL = Shape(weights=1_000_000, layers=4, hidden=128, vocabulary=1000)
RECIPE = Recipe(max_length=64)


def test_time_and_memory_grow_with_size_steps_and_length():
    base = Work(SMALL, RECIPE, trained=1000, read=100)
    larger = replace(base, shape=replace(SMALL, weights=2_000_000, layers=8))
    longer = replace(base, recipe=replace(RECIPE, max_length=128))
    for machine in (CARDS["l4"], processor(1)):
        for more in (larger, longer, replace(base, trained=2000), replace(base, fits=2.0)):
            assert more.seconds(machine) > base.seconds(machine)
    assert larger.memory > base.memory and longer.memory > base.memory
    assert replace(base, shape=replace(SMALL, positions=16), recipe=replace(RECIPE, max_length=999)).length == 16


def test_operations_are_those_that_the_meter_counts():
    work = Work(SMALL, RECIPE, trained=1024, read=100)
    assert work.steps == 32
    assert work.operations == 6 * 1_000_000 * 1024 * 64 + 2 * 1_000_000 * 100 * 64
    lora = replace(work, recipe=replace(RECIPE, tune="lora"))
    assert lora.operations == 4 * 1_000_000 * 1024 * 64 + 2 * 1_000_000 * 100 * 64
    assert replace(work, texts=2).operations == 2 * work.operations


def test_memory_is_that_of_weights_gradients_moments_and_activations():
    work = Work(replace(SMALL, weights=10**9, layers=100, positions=1), RECIPE, trained=1)
    kept = 12 * 32 * (10**9 - 128_000) / 128
    assert work.memory == pytest.approx(0.5e9 + 16e9 + kept)
    half = replace(work, recipe=replace(RECIPE, precision="bf16-mixed"))
    assert half.memory == pytest.approx(0.5e9 + 18e9 + kept * 5 / 12)
    frozen = replace(half, shape=replace(half.shape, weight_bytes=2), recipe=replace(half.recipe, tune="lora"))
    assert frozen.memory == pytest.approx(0.5e9 + 2e9 + 1.3 * kept * 5 / 12)
    assert replace(half, recipe=replace(half.recipe, accumulate=32)).memory < half.memory


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("EleutherAI/pythia-160m", 162_322_944), ("EleutherAI/pythia-410m", 405_334_016),
        ("EleutherAI/pythia-1.4b", 1_414_647_808), ("openai-community/gpt2", 124_439_808),
        ("openai-community/gpt2-medium", 354_823_168), ("openai-community/gpt2-large", 774_030_080),
        ("Qwen/Qwen1.5-0.5B", 463_987_712), ("meta-llama/Meta-Llama-3-8B", 8_030_261_248),
    ],
)  # fmt: skip
def test_known_configurations_give_the_published_counts(name, published):
    from w2s_bench.plugins.students.hf import HfStudent

    shape = HfStudent(HfStudent.Options(model=name, dtype="bfloat16")).shape()
    assert shape.weights == published and shape.weight_bytes == 2


def test_known_configurations_are_those_of_the_hub():
    from transformers import AutoConfig

    from w2s_bench import hub
    from w2s_bench.errors import UsageError
    from w2s_bench.plugins.pretrained.sizes import CONFIGURATIONS

    for name, known in CONFIGURATIONS.items():
        try:
            config = AutoConfig.from_pretrained(name, revision=hub.resolve_commit(name, "model", None, "model"))
        except (OSError, UsageError):
            pytest.skip("no hub, or no access to the model")
        assert {key: getattr(config, key) for key in known} == known


def test_a_folders_shape_is_what_is_loaded(models):  # noqa: F811
    for family in ("bert", "gpt2", "llama", "opt", "t5"):
        made = student(models(family))
        assert made.shape().weights == sum(w.numel() for w in made.backbone(0).module.parameters()), family
    cut = student(models("llama"), layers=1)
    assert cut.shape().layers == 1
    assert cut.shape().weights == sum(w.numel() for w in cut.backbone(0).module.parameters())


def test_a_truncated_rung_counts_what_is_kept():
    from w2s_bench.registry import load

    made = load().get("supervisor", "truncated").build(Entry("truncated", {"layers": 1}).options)
    assert made.shape().weights == sum(w.numel() for w in made.backbone().module.parameters())
