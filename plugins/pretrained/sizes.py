"""The size of a Hugging Face model, read off its configuration: no weight is downloaded or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_bench import hub
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.estimate.shape import Shape
from w2s_bench.plugins.pretrained import loading
from w2s_bench.plugins.pretrained.loading import Options

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NEOX = {
    "model_type": "gpt_neox",
    "architectures": ["GPTNeoXForCausalLM"],
    "vocab_size": 50304,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_positions": 1024}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "EleutherAI/pythia-160m": NEOX
    | {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "EleutherAI/pythia-410m": NEOX
    | {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "EleutherAI/pythia-1.4b": NEOX
    | {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 8192},
    "openai-community/gpt2": GPT2 | {"n_embd": 768, "n_layer": 12, "n_head": 12},
    "openai-community/gpt2-medium": GPT2 | {"n_embd": 1024, "n_layer": 24, "n_head": 16},
    "openai-community/gpt2-large": GPT2 | {"n_embd": 1280, "n_layer": 36, "n_head": 20},
    "Qwen/Qwen1.5-0.5B": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": 151936,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "intermediate_size": 2816,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
    "meta-llama/Meta-Llama-3-8B": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 128256,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
    },
}
"""What tells the size of the models that the suites here name, out of their config.json on the hub: a suite can be
reckoned without a network, and without the token that some of them ask for."""


def shape_of(options: Options, option: str) -> Shape:
    """Returns the shape of a model in a folder or of the hub; W2SError, naming `option`, where it cannot be read."""
    import torch

    model, folder = options.model, Path(options.model).expanduser()
    is_folder = bool(model) and folder.is_dir()
    try:
        with loading.quiet(), torch.device("meta"):
            config = _configuration(str(folder) if is_folder else model, is_folder, options.revision, option)
            whole = loading.class_for(config).from_config(config)
            network = loading.reader(whole.base_model)
            output = whole.get_output_embeddings() if whole.base_model is not whole else None
            if options.layers:
                loading.keep_layers(network, options.layers, f"{option.partition('.')[0]}.layers={options.layers}")
            text = config.get_text_config()
            words = {network.get_input_embeddings().weight, *(output.parameters() if output else ())}
            return Shape(
                weights=sum(w.numel() for w in {*network.parameters(), *words}),
                layers=text.num_hidden_layers,
                hidden=text.hidden_size,
                vocabulary=sum(w.shape[0] for w in words if w.dim() == 2),
                positions=loading.positions(network, config, float("inf")),
                weight_bytes=getattr(torch, options.dtype).itemsize,
                name=folder.resolve().name if is_folder else model,
            )
    except W2SError:
        raise
    except Exception as error:  # OSError, ValueError, KeyError and more, by what is wrong
        raise W2SError(f"{option}={model}: its configuration cannot be read: {hub.one_line(error)}") from error


def _configuration(model: str, is_folder: bool, revision: str | None, option: str) -> PreTrainedConfig:
    from transformers import AutoConfig

    if is_folder:
        return AutoConfig.from_pretrained(model)
    if model in CONFIGURATIONS:
        return AutoConfig.for_model(**CONFIGURATIONS[model])
    if not hub.NAME.fullmatch(model):
        raise UsageError(f"{option}={model}: no such folder, and no name of the hub")
    return AutoConfig.from_pretrained(model, revision=hub.resolve_commit(model, "model", revision, option))
