"""Folders with small Hugging Face models of random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from w2s_bench.interfaces import Inputs
from w2s_bench.plugins.students.hf import HfStudent

WORDS = [f"w{i}" for i in range(60)]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 66}


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
