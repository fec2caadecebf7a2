"""Small models of the field's architectures, random weights, as folders that `from_pretrained` loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

WORDS = [f"w{i}" for i in range(64)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "</s>"]
VOCABULARY = len(SPECIAL) + len(WORDS)
WIDE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
}
GROUPED = {**WIDE, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0}
CAUSAL = (
    "gpt2",
    "gpt-neox",
    "opt",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3-moe",
    "gemma",
    "gemma2",
    "gemma3",
    "phi",
)
BIDIRECTIONAL = ("bert", "roberta", "distilbert", "deberta-v2", "electra", "albert", "modernbert", "bart", "t5")
FAMILIES = (*CAUSAL, *BIDIRECTIONAL, "mamba", "sentence-transformers")


def network(family: str) -> Any:
    """Returns a model with random weights; of a causal family with its output layer."""
    import transformers as tf

    small = {"vocab_size": VOCABULARY, "n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 2}
    opt = {"vocab_size": VOCABULARY, "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    encoder = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
    encoder |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": VOCABULARY}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    gemma = {**GROUPED, "query_pre_attn_scalar": 16, "sliding_window": 8}
    distil = {"vocab_size": VOCABULARY, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2}
    return {
        "gpt2": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**small)),
        "gpt-neox": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**WIDE)),
        "opt": lambda: tf.OPTForCausalLM(
            tf.OPTConfig(**opt, word_embed_proj_dim=16, do_layer_norm_before=False, max_position_embeddings=40)
        ),
        "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**GROUPED)),
        "mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**GROUPED, sliding_window=8)),
        "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**WIDE, num_key_value_heads=1, tie_word_embeddings=True)),
        "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**GROUPED)),
        "qwen3-moe": lambda: tf.Qwen3MoeForCausalLM(tf.Qwen3MoeConfig(**GROUPED, **experts)),
        "gemma": lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**GROUPED)),
        "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**gemma)),
        "gemma3": lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**gemma)),
        "phi": lambda: tf.PhiForCausalLM(tf.PhiConfig(**WIDE, pad_token_id=0)),
        "bert": lambda: tf.BertModel(tf.BertConfig(**WIDE)),
        "roberta": lambda: tf.RobertaModel(tf.RobertaConfig(**WIDE, pad_token_id=0)),
        "distilbert": lambda: tf.DistilBertModel(tf.DistilBertConfig(**distil, max_position_embeddings=40)),
        "deberta-v2": lambda: tf.DebertaV2Model(
            tf.DebertaV2Config(**WIDE, relative_attention=True, pos_att_type=["p2c"])
        ),
        "electra": lambda: tf.ElectraModel(tf.ElectraConfig(**WIDE, embedding_size=24)),
        "albert": lambda: tf.AlbertModel(tf.AlbertConfig(**WIDE, embedding_size=24)),
        "modernbert": lambda: tf.ModernBertModel(
            tf.ModernBertConfig(**WIDE, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3)
        ),
        "bart": lambda: tf.BartModel(tf.BartConfig(**encoder, max_position_embeddings=40)),
        "t5": lambda: tf.T5Model(
            tf.T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, vocab_size=VOCABULARY)
        ),
        "mamba": lambda: tf.MambaForCausalLM(
            tf.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8, pad_token_id=0)
        ),
        "sentence-transformers": lambda: tf.BertModel(tf.BertConfig(**WIDE)),
    }[family]()


def make(folder: Path, family: str) -> None:
    """Writes a model with its tokeniser into a new folder."""
    import transformers as tf
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    tokens = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"unk_token": "[UNK]", "eos_token": "</s>", **({"pad_token": "[PAD]"} if family == "qwen2" else {})}
    if family not in (*CAUSAL, "mamba"):
        tokens.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names |= {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(1)
    made = network(family)
    with torch.no_grad():  # larger than at the start of training, so that every word and position tells
        for name, weight in made.named_parameters():
            if weight.dim() > 1 and "A_log" not in name:
                weight.normal_(0, 0.2)
    made.save_pretrained(folder)
    tf.PreTrainedTokenizerFast(tokenizer_object=tokens, **names).save_pretrained(folder)
    if family == "sentence-transformers":
        parts = [("Transformer", ""), ("Pooling", "1_Pooling")]
        modules = [
            {"idx": k, "name": str(k), "path": p, "type": f"sentence_transformers.models.{n}"}
            for k, (n, p) in enumerate(parts)
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))


def examine(name: str) -> dict[str, Any]:
    """Returns what became of a model, by folder or name: padding, training by each way of tuning, writing."""
    from dataclasses import replace

    from support.hf_models import lesson_of, student
    from w2s_bench.interfaces import Recipe, TaskInfo
    from w2s_bench.training.finetune import fit_on_labels
    from w2s_bench.training.loop import StageContext
    from w2s_bench.training.meter import Meter

    inputs, truth = lesson_of(64, 0)
    labels = torch.eye(2)[torch.from_numpy(truth)]
    seen: dict[str, Any] = {"identity": student(name).backbone(0).identity}
    backbone = student(name).backbone(0)
    rows = backbone.encode(inputs.text[:6])
    seen["padding"] = max(
        float((_padded(backbone, rows, *how) - _padded(backbone, rows)).abs().max()) for how in PADDED
    )
    task = TaskInfo("toy", "classification", 2, ["a", "b"])
    before = backbone.module.state_dict()
    for tune in ("full", "lora", "probe"):
        recipe = Recipe(epochs=2, batch_size=16, tune=tune, body_lr=1e-3, head_lr=1e-2)
        stage = StageContext(task, 0, Meter(), {"strong": (student(name).backbone, recipe)})
        fitted = fit_on_labels(stage, inputs, labels)
        after = fitted.classifier.body.state_dict()
        plain = {k.replace(".base_layer", ""): w for k, w in after.items() if "lora_" not in k}
        seen[tune] = {
            "finite": bool(fitted.predict(inputs).isfinite().all()),
            "moved": sorted({k for k, w in plain.items() if not torch.equal(w, before[k])}),
            "adapters": sum(bool(w.any()) for k, w in after.items() if "lora_B" in k),
        }
    if backbone.decode is not None:
        recipe = Recipe(epochs=1, batch_size=16, max_length=24)
        words = TaskInfo("toy", "generation", 0, [])
        stage = StageContext(words, 0, Meter(), {"strong": (student(name).backbone, recipe)})
        asked = replace(inputs, candidates=[[f"w{1 + t} w7" for t in truth]])
        written = fit_on_labels(stage, asked, torch.tensor([[1.0, 0.0]]).repeat(64, 1)).answer(inputs)
        seen["written"] = len(written) == 64 and all(isinstance(text, str) for text in written)
    return seen


PADDED = ((0, True), (0, False), (7, True), (7, False))
"""Id of the padding, and whether it is on the left."""


def _padded(backbone: Any, rows: list[list[int]], pad: int | None = None, left: bool = False) -> torch.Tensor:
    """Returns features [n, width], of rows one by one where no padding is named."""
    backbone.module.eval()
    with torch.no_grad():
        if pad is None:
            return torch.cat([backbone.module(torch.tensor([r]), torch.ones(1, len(r)).long()) for r in rows])
        width = max(map(len, rows)) + 3
        ids, mask = torch.full((len(rows), width), pad), torch.zeros(len(rows), width).long()
        for i, row in enumerate(rows):
            at = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, at], mask[i, at] = torch.tensor(row), 1
        return backbone.module(ids, mask)
