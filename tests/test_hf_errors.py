"""Identity and bad input of Hugging Face models."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import hf_models, hub
from support.hf_models import WORDS, student

from w2s_bench.errors import UsageError, W2SError

models = hf_models.models

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
