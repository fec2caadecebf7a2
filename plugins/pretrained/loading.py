"""Loading a Hugging Face model, causal or bidirectional, as a backbone: network, pooling, tokeniser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from w2s_bench import hub
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import Backbone, Conversation

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

NO_POSITIONS = 1_000_000
"""From here on a length is a placeholder."""


@dataclass
class Options:
    """Which model, and how it reads."""

    model: str = ""
    """Folder that `from_pretrained` loads, or a name on the Hugging Face hub."""
    revision: str | None = None
    """Commit, branch or tag of a model of the hub."""
    layers: int = 0
    """Layers kept, from the first: a weaker model out of the same weights. 0 keeps all."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Numbers of the pretrained weights; those that are trained are float32, so `tune=full` takes no other."""
    pooling: Literal["auto", "last", "mean", "cls"] = "auto"
    """What represents a text: the `last` token, the `mean` over tokens, the first (`cls`); `auto` takes the last
    token of a causal model, the mean of a bidirectional one."""
    prompt: str = "{text}"
    """What a model reads of a text, such as `Review: {text}\\nSentiment:`; conversations are read as they are."""
    chat_template: bool = True
    """Conversations are read by the tokeniser's chat template, where it has one; else as plain text."""
    max_length: int = 256
    """Tokens kept of a text, from its start; of a longer one in a prompt, so many that all of the prompt is read."""

    def __post_init__(self) -> None:
        if "{text}" not in self.prompt:
            raise UsageError(f"prompt: {self.prompt!r:.80} has no {{text}}, the place of the text")


def load_backbone(
    model: str, revision: str | None, options: Options, identity: dict[str, str], option: str
) -> Backbone:
    """Returns a network that pools by the attention mask, and its tokeniser cut at the options' `max_length`.

    A causal network that comes with a language model's output layer is a `Language`. W2SError, naming `option`, where
    something is missing, damaged or not a model that reads text.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer

    from w2s_bench.training.pooling import Language, Pooled, is_causal, width_of

    name = identity["name"]
    with quiet():
        try:
            config = AutoConfig.from_pretrained(model, revision=revision)
            tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
            loaded, report = class_for(config).from_pretrained(
                model,
                revision=revision,
                config=config,
                dtype=getattr(torch, options.dtype),
                output_loading_info=True,
            )
        except Exception as error:  # OSError, ValueError, KeyError, SafetensorError and more, by what is wrong
            raise W2SError(
                f"{option}={name} cannot be loaded as a model with its tokeniser: {hub.one_line(error)}"
            ) from error
    network = reader(loaded.base_model)
    if options.layers:
        keep_layers(network, options.layers, f"{option.partition('.')[0]}.layers={options.layers}")
    absent = [key for key in report["missing_keys"] if not key.startswith(("pooler.", "decoder."))]
    if absent:
        raise W2SError(
            f"{option}={name}: the weights file lacks {len(absent)} of the network's weights "
            f"(such as {absent[0]}), which would be random; is it complete, and of this architecture?"
        )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise W2SError(f"{option}={name}: its tokeniser knows no words; is tokenizer.json missing?")
    words: Any = network.get_input_embeddings()
    vocabulary = words.weight.shape[0]
    pad, pad_id = tokenizer.pad_token, tokenizer.pad_token_id
    if pad_id is not None and pad_id >= vocabulary:
        raise W2SError(
            f"{option}={name}: its tokeniser pads with {pad!r}, token {pad_id}, but the network's "
            f"embedding ends at {vocabulary - 1}; save the model after `model.resize_token_embeddings(len(tokenizer))`"
            ", or the tokeniser after `tokenizer.pad_token = tokenizer.eos_token`"
        )
    causal = is_causal(network, vocabulary)
    pooling = ("last" if causal else "mean") if options.pooling == "auto" else options.pooling
    limit = positions(network, config, tokenizer.model_max_length)
    cut = min(options.max_length, limit or options.max_length)
    empty = next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), 0)

    has_template = options.chat_template and bool(tokenizer.chat_template)

    def ids_of(texts: list[str], special: bool) -> list[list[int]]:
        if not texts:
            return []
        return tokenizer(
            texts, truncation=True, max_length=cut, return_attention_mask=False, add_special_tokens=special
        )["input_ids"]

    def prompted(text: str) -> str:
        """Returns a text in its prompt, shortened where both together are too long: the prompt's end must stay."""
        asked = options.prompt.replace("{text}", text)
        over = len(tokenizer(asked)["input_ids"]) - cut
        if over <= 0 or not tokenizer.is_fast:
            return asked
        ends = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        kept = len(ends) - over - 1  # one more, for the last may join with what comes behind it
        return options.prompt.replace("{text}", text[: ends[kept - 1][1]] if kept > 0 else "")

    def encode(texts: list[str]) -> list[list[int]]:
        """Returns token ids; one token for an empty text, so that there is something to pool."""
        conversations = {i: text for i, text in enumerate(texts) if has_template and isinstance(text, Conversation)}
        asked = texts if options.prompt == "{text}" else [prompted(text) for text in texts]
        ids = ids_of(["" if i in conversations else text for i, text in enumerate(asked)], special=True)
        written = [_by_template(tokenizer, text, name, option) for text in conversations.values()]
        for i, row in zip(conversations, ids_of(written, special=False), strict=True):  # a template writes its own
            ids[i] = row
        largest = max((max(row) for row in ids if row), default=0)
        if largest >= vocabulary:
            raise W2SError(
                f"{option}={name}: its tokeniser gives token {largest}, but the network knows "
                f"{vocabulary}: they do not belong together"
            )
        return [row or [empty] for row in ids]

    output = loaded.get_output_embeddings() if causal and loaded is not network else None
    pooled = Pooled(network, pooling, causal) if output is None else Language(network, output, pooling)
    differs = {"chat_template": "off" if not options.chat_template else "", "layers": str(options.layers or "")}
    differs["prompt"] = options.prompt if options.prompt != "{text}" else ""
    differs["dtype"] = options.dtype if options.dtype != "float32" else ""
    return Backbone(
        pooled,
        encode,
        pad_id=next((i for i in (pad_id, tokenizer.eos_token_id) if i is not None and i < vocabulary), 0),
        width=width_of(pooled, vocabulary),
        identity={**identity, "pooling": pooling, **{k: v for k, v in differs.items() if v}},
        max_length=limit,
        **(_writing(tokenizer) if isinstance(pooled, Language) and tokenizer.eos_token_id is not None else {}),
    )


def _writing(tokenizer: Any) -> dict[str, Any]:
    """Returns what a backbone needs to write: an answer's first word is one behind a blank."""

    def decode(rows: list[list[int]]) -> list[str]:
        return [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def encode_answers(texts: list[str]) -> list[list[int]]:
        return tokenizer([f" {text}" for text in texts], add_special_tokens=False)["input_ids"] if texts else []

    return {"decode": decode, "end_id": tokenizer.eos_token_id, "encode_answers": encode_answers}


def class_for(config: PreTrainedConfig) -> Any:
    """Returns the class that loads a model: with its output layer, where the folder is a causal language model's."""
    from transformers import AutoModel, AutoModelForCausalLM

    whole = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or ())
    return AutoModelForCausalLM if whole and type(config) in AutoModelForCausalLM._model_mapping else AutoModel


def keep_layers(network: PreTrainedModel, layers: int, what: str) -> None:
    """Leaves a network its first layers; UsageError where it has fewer, or none that is recognised."""
    import torch

    config = network.config.get_text_config()
    have = getattr(config, "num_hidden_layers", None)
    stacks = [m for m in network.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == have]
    if not stacks:
        raise UsageError(f"{what}: this architecture's layers are not to be found; leave the option out")
    if not 1 <= layers <= len(stacks[0]):
        raise UsageError(f"{what}: the network has {len(stacks[0])} layers; keep 1 to {len(stacks[0])}")
    del stacks[0][layers:]
    config.num_hidden_layers = layers


def _by_template(tokenizer: Any, text: Conversation, name: str, option: str) -> str:
    """Returns a conversation as the tokeniser's chat template writes it; W2SError where the template refuses it."""
    messages = [{"role": role, "content": content} for role, content in text.messages]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception as error:  # jinja's errors, and whatever the template's own code raises
        roles = ", ".join(role for role, _ in text.messages[:6])
        who = option.partition(".")[0]
        raise W2SError(
            f"{option}={name}: its chat template refuses a conversation of {roles}: {hub.one_line(error)}; "
            f"{who}.chat_template=false reads conversations as plain text"
        ) from error


def reader(network: PreTrainedModel) -> PreTrainedModel:
    """Returns the part that reads: an encoder-decoder's encoder, and never the pooler, which nothing here trains."""
    import torch

    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # type: ignore[assignment]
    network.config.use_cache = False
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "NewGELUActivation":  # nine passes over what torch does in one
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return network


def positions(network: PreTrainedModel, config: PreTrainedConfig, tokenizer_limit: float) -> int | None:
    """Returns the longest input in tokens, or None where there is no limit."""
    limits = [getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer_limit]
    table: Any = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    if table is not None and table.padding_idx is not None:  # RoBERTa's kind counts from behind the padding id
        limits.append(table.num_embeddings - table.padding_idx - 1)
    real = [int(n) for n in limits if n is not None and 0 < n < NO_POSITIONS]
    return min(real, default=None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps bars and reports of loading away: what matters of them is an error here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
