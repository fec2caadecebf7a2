"""Any Hugging Face sequence model as a student, causal or bidirectional, by name or local path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from w2s_bench import hookimpl, hub
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import Backbone, Conversation

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""The first of these in a folder is what `from_pretrained` reads."""
BESIDE_WEIGHTS = ("*.json", "vocab*", "merges.txt", "*.model", "*.tiktoken", "*.jinja")
"""Configuration, tokeniser and chat template."""
NO_POSITIONS = 1_000_000
"""From here on a length is a placeholder."""


@hookimpl
def register_students(register) -> None:
    """Registers the student."""
    register("hf", HfStudent)


class Pretrained:
    """A pretrained model that options name; what the student and the supervisor share."""

    role: str
    """What the model serves as, for messages."""
    options: Any

    def fingerprint(self) -> str:
        """Returns the digest of a local folder, or the name and commit of a model of the hub."""
        identity = self._identity()
        return f"{identity['name']}@{identity.get('revision') or identity['digest']}"

    def load(self) -> Backbone:
        """Returns a fresh copy of the network, in float32, with the tokeniser that came with it."""
        option = f"{self.role}.model"
        model, revision, identity = self.options.model, None, self._identity()
        if "revision" in identity:
            revision = identity["revision"]
        else:
            model = str(Path(model).expanduser())
        o = self.options
        return load_backbone(model, revision, o.pooling, o.max_length, o.chat_template, identity, option)

    def _identity(self) -> dict[str, str]:
        model, option = self.options.model, f"{self.role}.model"
        if not model:
            raise UsageError(f"{self.role}=hf needs {option}=NAME_OR_PATH")
        path = Path(model).expanduser()
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise UsageError(f"{option}={model}: no model in this folder (config.json is missing)")
            return {"name": path.resolve().name, "digest": folder_digest(path)}
        if path.exists() or not hub.NAME.fullmatch(model):
            raise UsageError(f"{option}={model}: no such folder; give a folder with config.json, or a name of the hub")
        return {"name": model, "revision": hub.resolve_commit(model, "model", self.options.revision, option)}


class HfStudent(Pretrained):
    """A Hugging Face model with a new head: `tune=full` all weights, `probe` the head alone, `lora` adapters."""

    role = "student"
    pretrained = True

    @dataclass
    class Options:
        model: str = ""
        """Folder that `from_pretrained` loads, or a name on the Hugging Face hub."""
        revision: str | None = None
        """Commit, branch or tag of a model of the hub."""
        pooling: Literal["auto", "last", "mean", "cls"] = "auto"
        """What represents a text: the `last` token, the `mean` over tokens, the first (`cls`); `auto` takes the last
        token of a causal model, the mean of a bidirectional one."""
        chat_template: bool = True
        """Conversations are read by the tokeniser's chat template, where it has one; else as plain text."""
        max_length: int = 256
        """Tokens kept of a text, from its start."""
        body_lr: float = 5e-5
        """Peak learning rate of the pretrained weights."""
        head_lr: float = 1e-3
        """Peak learning rate of the new head."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def backbone(self, seed: int) -> Backbone:
        """Returns a fresh copy of the network; `seed` plays no part, for no weight is drawn."""
        return self.load()


# --- loading


def load_backbone(
    model: str,
    revision: str | None,
    pooling: str,
    max_length: int,
    chat_template: bool,
    identity: dict[str, str],
    option: str,
) -> Backbone:
    """Returns a network in float32 that pools by the attention mask, and its tokeniser cut at `max_length`.

    W2SError, naming `option`, where something is missing, damaged or not a model that reads text.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from w2s_bench.training.pooling import Pooled, is_causal, width_of

    with _quiet():
        try:
            config = AutoConfig.from_pretrained(model, revision=revision)
            tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
            loaded, report = AutoModel.from_pretrained(
                model, revision=revision, config=config, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # OSError, ValueError, KeyError, SafetensorError and more, by what is wrong
            name = identity["name"]
            raise W2SError(
                f"{option}={name} cannot be loaded as a model with its tokeniser: {hub.one_line(error)}"
            ) from error
    network = _reader(loaded)
    absent = [key for key in report["missing_keys"] if not key.startswith(("pooler.", "decoder."))]
    if absent:
        raise W2SError(
            f"{option}={identity['name']}: the weights file lacks {len(absent)} of the network's weights "
            f"(such as {absent[0]}), which would be random; is it complete, and of this architecture?"
        )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise W2SError(f"{option}={identity['name']}: its tokeniser knows no words; is tokenizer.json missing?")
    words: Any = network.get_input_embeddings()
    vocabulary = words.weight.shape[0]
    pad, pad_id = tokenizer.pad_token, tokenizer.pad_token_id
    if pad_id is not None and pad_id >= vocabulary:
        raise W2SError(
            f"{option}={identity['name']}: its tokeniser pads with {pad!r}, token {pad_id}, but the network's "
            f"embedding ends at {vocabulary - 1}; save the model after `model.resize_token_embeddings(len(tokenizer))`"
            ", or the tokeniser after `tokenizer.pad_token = tokenizer.eos_token`"
        )
    causal = is_causal(network, vocabulary)
    if pooling == "auto":
        pooling = "last" if causal else "mean"
    limit = positions(network, config, tokenizer.model_max_length)
    cut = min(max_length, limit or max_length)
    empty = next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), 0)

    has_template = chat_template and bool(tokenizer.chat_template)

    def ids_of(texts: list[str], special: bool) -> list[list[int]]:
        if not texts:
            return []
        return tokenizer(
            texts, truncation=True, max_length=cut, return_attention_mask=False, add_special_tokens=special
        )["input_ids"]

    def encode(texts: list[str]) -> list[list[int]]:
        """Returns token ids; one token for an empty text, so that there is something to pool."""
        conversations = {i: text for i, text in enumerate(texts) if has_template and isinstance(text, Conversation)}
        ids = ids_of(["" if i in conversations else text for i, text in enumerate(texts)], special=True)
        written = [_by_template(tokenizer, text, identity["name"], option) for text in conversations.values()]
        for i, row in zip(conversations, ids_of(written, special=False), strict=True):  # a template writes its own
            ids[i] = row
        largest = max((max(row) for row in ids if row), default=0)
        if largest >= vocabulary:
            raise W2SError(
                f"{option}={identity['name']}: its tokeniser gives token {largest}, but the network knows "
                f"{vocabulary}: they do not belong together"
            )
        return [row or [empty] for row in ids]

    pooled = Pooled(network, pooling, causal)
    return Backbone(
        pooled,
        encode,
        pad_id=next((i for i in (pad_id, tokenizer.eos_token_id) if i is not None and i < vocabulary), 0),
        width=width_of(pooled, vocabulary),
        identity={**identity, "pooling": pooling, **({} if chat_template else {"chat_template": "off"})},
        max_length=limit,
    )


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


def _reader(network: PreTrainedModel) -> PreTrainedModel:
    """Returns the part that reads: an encoder-decoder's encoder, and never the pooler, which nothing here trains."""
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # type: ignore[assignment]
    network.config.use_cache = False
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
def _quiet() -> Iterator[None]:
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


# --- identity


def folder_digest(folder: Path) -> str:
    """Returns 32 hex digits over the weights, configuration and tokeniser in a folder."""
    weights = next((fitting for pattern in WEIGHTS if (fitting := list(folder.glob(pattern)))), [])
    files = {*weights, *(f for pattern in BESIDE_WEIGHTS for f in folder.glob(pattern))}
    summed = hashlib.sha256()
    for file in sorted(f for f in files if f.is_file()):
        state = file.stat()
        summed.update(f"{file.name} {_file_digest(str(file.resolve()), state.st_size, state.st_mtime_ns)}\n".encode())
    return summed.hexdigest()[:32]


@lru_cache(maxsize=1024)
def _file_digest(path: str, size: int, modified: int) -> str:
    """Returns sha256 of a file, read once while its size and time stay."""
    from w2s_bench.exchange import file_sha256  # not above: it brings pyarrow, which listing plugins must not wait for

    return file_sha256(Path(path))
