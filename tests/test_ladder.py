"""The ladder: weights that transformers reads as they are, pretraining that repeats bit for bit, its two plugins."""

import hashlib
import json
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from w2s_bench.errors import UsageError
from w2s_bench.interfaces import FitContext, Recipe, Sizes, Student, Supervisor, TaskInfo
from w2s_bench.plugins.ladder import command, pretrain, rungs
from w2s_bench.plugins.ladder.model import Ladder, Shape, load
from w2s_bench.plugins.ladder.world import World
from w2s_bench.plugins.students.ladder import LadderStudent
from w2s_bench.plugins.students.ladder import register_students as list_students
from w2s_bench.plugins.supervisors.ladder import LadderSupervisor
from w2s_bench.plugins.supervisors.ladder import register_supervisors as list_supervisors
from w2s_bench.plugins.tasks.sandbox import Reviews

PLAN = pretrain.PretrainConfig(width=16, layers=1, heads=2, steps=12)
REVIEWS = TaskInfo("reviews", "classification", 2, ["unkind", "kind"])


class Killed(Exception):
    pass


def weights_digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def some_text(n: int = 64) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    world = World()
    tokens = world.corpus(n, np.random.RandomState(7))[0]
    ids = torch.from_numpy(tokens)
    return world.texts(tokens), ids, (ids != 0).long()


# --- pretraining


def test_pretraining_repeats_bit_for_bit_killed_or_not(tmp_path):
    cards = [pretrain.pretrain(PLAN, tmp_path / name, "w2s pretrain") for name in ("one", "two")]

    def kill(step: int, loss: float) -> None:
        if step == 9:
            raise Killed

    with pytest.raises(Killed):
        pretrain.pretrain(PLAN, tmp_path / "killed", "w2s pretrain", kill, save_every=4)
    assert not (tmp_path / "killed" / "card.json").exists()
    started_at = []
    cards.append(pretrain.pretrain(PLAN, tmp_path / "killed", "w2s pretrain", lambda step, _: started_at.append(step)))
    assert started_at[0] == 9, "steps 1 to 8 were kept"
    assert cards[0] == cards[1] == cards[2]
    assert len({weights_digest(tmp_path / name) for name in ("one", "two", "killed")}) == 1
    assert not (tmp_path / "killed" / pretrain.RESUME_FILE).exists()


@pytest.mark.parametrize("other", [{"seed": 1}, {"saliency": 0.0}, {"heads": 1}])
def test_seed_saliency_and_shape_change_the_weights(tmp_path, other):
    changed = pretrain.PretrainConfig(**{"width": 16, "layers": 1, "heads": 2, "steps": 2} | other)
    pretrain.pretrain(pretrain.PretrainConfig(16, 1, 2, steps=2), tmp_path / "one", "")
    pretrain.pretrain(changed, tmp_path / "other", "")
    assert weights_digest(tmp_path / "one") != weights_digest(tmp_path / "other")


@pytest.mark.parametrize(
    ("width", "device", "has_bf16", "precision"),
    [(64, "cpu", True, "bf16-mixed"), (64, "cpu", False, "32-true"), (48, "cpu", True, "32-true"),
     (64, "cuda", False, "bf16-mixed")],
)  # fmt: skip
def test_precision_follows_the_hardware_and_the_width(monkeypatch, width, device, has_bf16, precision):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert pretrain.PretrainConfig(width, 2, 2, device=device).precision == precision


def test_a_rung_begun_in_one_precision_is_not_finished_in_another(tmp_path):
    def kill(step: int, loss: float) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        pretrain.pretrain(PLAN, tmp_path, "", kill, save_every=2)
    with pytest.raises(UsageError, match="another plan"):
        pretrain.pretrain(pretrain.PretrainConfig(16, 1, 2, steps=12, precision="bf16-mixed"), tmp_path, "")


def test_loss_falls(tmp_path):
    losses = []
    plan = pretrain.PretrainConfig(16, 1, 2, steps=80)
    pretrain.pretrain(plan, tmp_path / "rung", "", lambda _, loss: losses.append(loss))
    assert losses[0] > 5 and losses[-1] < losses[0] - 0.5


def test_a_folder_of_another_plan_is_refused(tmp_path):
    def kill(step: int, loss: float) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        pretrain.pretrain(PLAN, tmp_path / "rung", "", kill, save_every=4)
    with pytest.raises(UsageError, match="another plan"):
        pretrain.pretrain(pretrain.PretrainConfig(16, 1, 2, steps=13), tmp_path / "rung", "")
    pretrain.pretrain(PLAN, tmp_path / "rung", "")
    with pytest.raises(UsageError, match="finished rung"):
        pretrain.pretrain(PLAN, tmp_path / "rung", "")


@pytest.mark.parametrize(
    ("wrong", "said"), [({"heads": 3}, "divide"), ({"saliency": 2.0}, "saliency"), ({"steps": 0}, "at least 1")]
)
def test_impossible_plans_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        pretrain.PretrainConfig(**{"width": 16, "layers": 1, "heads": 2} | wrong)


def test_the_verb_grows_a_rung_and_writes_its_command(tmp_path):
    cli = click.Group()
    command.register_commands(cli)
    asked = f"pretrain --width 8 --layers 1 --heads 2 --steps 2 --seed 4 --saliency 0.1 --out {tmp_path}/mine"
    result = CliRunner().invoke(cli, asked.split())
    assert result.exit_code == 0, result.output
    card = rungs.read_card(tmp_path / "mine")
    assert (card["width"], card["seed"], card["saliency"], card["steps"]) == (8, 4, 0.1, 2)
    assert card["command"] == asked.replace(f"{tmp_path}/", "").replace("pretrain", "w2s pretrain").replace(
        "--steps 2 --seed 4 --saliency 0.1", "--saliency 0.1 --seed 4 --steps 2"
    )
    unclear = CliRunner().invoke(cli, ["pretrain", "--size", "xs", "--width", "8", "--out", "x"])
    assert isinstance(unclear.exception, UsageError)


# --- weights


@pytest.mark.parametrize("name", rungs.shipped())
def test_shipped_rungs_are_small_and_carded(name):
    folder = rungs.WEIGHTS / name
    card = rungs.read_card(folder)
    size = rungs.SIZES[name.split("-")[0]]
    assert name == rungs.rung_name(name.split("-")[0], card["seed"], card["saliency"], card["steps"])
    assert (card["width"], card["layers"], card["heads"]) == (size.width, size.layers, size.heads)
    assert card["steps"] == (600 if "step" in name else rungs.STEPS), "equal steps over sizes"
    assert card["world"] == World().digest(), "the rung was grown in this world"
    assert card["command"].startswith("w2s pretrain --size") and len(card["corpus"]) == 64
    assert card["parameters"] == sum(p.numel() for p in load(folder).parameters())


def test_shipped_rungs_fit_in_eight_megabytes():
    assert sum(file.stat().st_size for file in rungs.WEIGHTS.rglob("*") if file.is_file()) <= 8_000_000


def test_transformers_computes_the_same(tmp_path):
    from transformers import AutoModel, AutoTokenizer, GPT2ForSequenceClassification, GPT2LMHeadModel

    pretrain.pretrain(pretrain.PretrainConfig(24, 2, 2, steps=30), tmp_path / "rung", "")
    folder = tmp_path / "rung"
    texts, ids, mask = some_text()
    ours = load(folder)
    hugging, language = AutoModel.from_pretrained(folder), GPT2LMHeadModel.from_pretrained(folder)
    classifier = GPT2ForSequenceClassification.from_pretrained(folder, num_labels=2)
    assert hugging.dtype == torch.float32
    with torch.no_grad():
        theirs = hugging(ids, attention_mask=mask).last_hidden_state
        pooled = theirs[torch.arange(len(ids)), mask.sum(1) - 1]
        states = ours.states(ids).view(theirs.shape)
        assert (states - theirs)[mask.bool()].abs().max() < 1e-5
        assert (ours(ids, mask) - pooled).abs().max() < 1e-5
        logits = language(ids, attention_mask=mask).logits
        assert (states @ ours.wte.weight.T - logits)[mask.bool()].abs().max() < 1e-4
        scores = classifier(ids, attention_mask=mask).logits
        assert (ours(ids, mask) @ classifier.score.weight.T - scores).abs().max() < 1e-5
    tokenizer = AutoTokenizer.from_pretrained(folder)
    read = tokenizer(texts, padding=True, return_tensors="pt")
    assert torch.equal(read["input_ids"], ids[:, : read["input_ids"].shape[1]])
    assert torch.equal(read["attention_mask"], mask[:, : read["attention_mask"].shape[1]])
    assert [tokenizer.decode(row, skip_special_tokens=True) for row in read["input_ids"]] == texts


def test_padding_changes_nothing():
    model = Ladder(Shape(16, 2, 2, 269))
    model.draw(0)
    _, ids, mask = some_text(8)
    whole = model(ids, mask)
    for row, mark, state in zip(ids, mask, whole, strict=True):
        n = int(mark.sum())
        assert torch.allclose(model(row[None, :n], mark[None, :n])[0], state, atol=1e-5)


def test_a_step_can_be_differentiated_through():
    model = Ladder(Shape(16, 1, 2, 269))
    model.draw(0)
    _, ids, mask = some_text(8)
    weights = dict(model.named_parameters())
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        loss = torch.func.functional_call(model, weights, (ids, mask)).square().sum()
        grads = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        sum(grad.square().sum() for grad in grads).backward()
    assert model.wte.weight.grad.abs().sum() > 0


# --- plugins


@pytest.fixture(scope="module")
def rung(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("ladder") / "rung"
    pretrain.pretrain(pretrain.PretrainConfig(16, 1, 2, steps=60), folder, "")
    return str(folder)


def test_entries_name_rungs_that_exist():
    listed: dict[str, tuple] = {}

    def register(name, cls, **options):
        listed[name] = (cls, options)

    list_students(register)
    list_supervisors(register)
    assert {"ladder_xxs", "ladder_m", "ladder_l", "ladder_m_sal0", "ladder_m_sal1", "ladder_xs_2"} <= set(listed)
    for cls, options in listed.values():
        assert len(cls(cls.Options(**options)).fingerprint()) == 16


def test_a_missing_rung_is_said_in_one_line(tmp_path):
    with pytest.raises(
        UsageError, match=r"no rung m-7-sal0.3; shipped are .*m-0-sal0.3.*w2s pretrain --size m --seed 7"
    ):
        LadderStudent(LadderStudent.Options(checkpoint=7)).fingerprint()
    with pytest.raises(UsageError, match="no rung here"):
        LadderStudent(LadderStudent.Options(path=str(tmp_path))).backbone(0)


def test_student_hands_out_fresh_copies(rung):
    student = LadderStudent(LadderStudent.Options(path=rung))
    assert isinstance(student, Student)
    one, two = student.backbone(0), student.backbone(1)
    one.module.wte.weight.data.zero_()
    assert two.module.wte.weight.abs().sum() > 0
    assert (two.width, two.pad_id, two.padding_side, two.max_length) == (16, 0, "right", 16)
    assert rung not in json.dumps(two.identity) and two.identity["digest"] == student.fingerprint()
    ids = two.encode(["anna berg likes", "3 4 1 + 5 0 7 = tens"])
    assert [len(row) for row in ids] == [3, 9]


def test_supervisor_learns_labels_rewards_corrects_and_comes_back(tmp_path):
    splits = Reviews().load(0, Sizes(600, 10, 10, 400))[1]
    train, test = splits["supervision"], splits["test"]
    context = FitContext(REVIEWS, 0, Recipe(epochs=3))
    supervisor = LadderSupervisor(LadderSupervisor.Options())
    assert isinstance(supervisor, Supervisor)
    supervisor.fit(train.inputs, train.truth, context)
    labels = supervisor.label(test.inputs)
    assert labels.shape == (400, 2) and np.allclose(labels.sum(1), 1, atol=1e-5)
    assert (labels.argmax(1) == test.truth).mean() > 0.7
    answers = 1 - labels.argmax(1)
    assert np.allclose(supervisor.reward(test.inputs, answers), labels.min(1))
    corrected = supervisor.correct(test.inputs, answers)
    assert set(np.unique(corrected)) <= {-1, 0, 1} and not (corrected == answers).any()
    supervisor.save(tmp_path / "kept")
    again = LadderSupervisor(LadderSupervisor.Options())
    again.restore(tmp_path / "kept", context)
    assert np.array_equal(again.label(test.inputs), labels)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_smallest_rung_grows_again_from_its_card(tmp_path):
    """The same weights on the machine that grew it; elsewhere the same text, and loss and accuracy within noise."""
    shipped, grown = rungs.WEIGHTS / "xxs-0-sal0.3", tmp_path / "xxs-0-sal0.3"
    card = rungs.read_card(shipped)
    cli = click.Group()
    command.register_commands(cli)
    result = CliRunner().invoke(cli, card["command"].replace("--out ", f"--out {tmp_path}/").split()[1:])
    assert result.exit_code == 0, result.output
    assert rungs.read_card(grown)["corpus"] == card["corpus"]
    if weights_digest(grown) == weights_digest(shipped):
        return
    assert abs(rungs.read_card(grown)["loss"] - card["loss"]) < 0.02
    splits = Reviews().load(0, Sizes())[1]
    scores = []
    for folder in (shipped, grown):
        supervisor = LadderSupervisor(LadderSupervisor.Options(path=str(folder), body_lr=3e-4))
        supervisor.fit(
            splits["supervision"].inputs, splits["supervision"].truth, FitContext(REVIEWS, 0, Recipe(epochs=2))
        )
        scores.append((supervisor.label(splits["test"].inputs).argmax(1) == splits["test"].truth).mean())
    assert abs(scores[0] - scores[1]) < 0.03
