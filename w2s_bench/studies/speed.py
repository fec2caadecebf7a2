"""How many tokens a second students learn from, beside a loop written by hand and transformers' Trainer."""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_bench.interfaces import Backbone, Inputs, Recipe, TaskInfo
from w2s_bench.training.batches import bucketed, sent, tokenise
from w2s_bench.training.classifier import Classifier
from w2s_bench.training.finetune import fit_on_labels
from w2s_bench.training.loop import StageContext
from w2s_bench.training.meter import Meter
from w2s_bench.training.pooling import Pooled

TASK = TaskInfo("lengths", "classification", 2, ["no", "yes"])
WORDS = 1000
"""Words that the texts are made of; each is one token."""
MEDIAN, SPREAD, LONGEST = 124, 0.5, 512
"""Tokens of a text: log-normal, about as BoolQ's questions with their passages; cut at the longest."""
WARM = 6
"""Steps before the ones that are timed."""


@dataclass(frozen=True)
class Shape:
    """A Llama network, its weights drawn at random."""

    name: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int

    def config(self) -> Any:
        """Returns the configuration that transformers builds it from."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocabulary, hidden_size=self.width, num_hidden_layers=self.layers,
            num_attention_heads=self.heads, num_key_value_heads=self.kv_heads, intermediate_size=self.inner,
            max_position_embeddings=LONGEST, pad_token_id=0, use_cache=False,
        )  # fmt: skip


SHAPES = {
    "tiny": Shape("tiny", 32, 2, 2, 1, 64, 2000),
    "0.5b": Shape("0.5b", 896, 24, 14, 2, 4864, 151_936),
    "1.5b": Shape("1.5b", 1536, 28, 12, 2, 8960, 151_936),
}


@dataclass(frozen=True)
class Speed:
    """What a way to train reaches."""

    tokens: float
    """Real tokens a second, padding not counted."""
    flops: float
    """6 x weights outside the embedding x tokens, a second; of adapters too, so that rows compare."""
    memory: int
    """Peak bytes of the device."""


def texts(size: int, seed: int = 0) -> Inputs:
    """Returns texts of random words, about as long as BoolQ's."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(np.log(MEDIAN), SPREAD, size)).astype(int).clip(8, LONGEST)
    words = [" ".join(f"w{w}" for w in rng.integers(0, WORDS, n)) for n in lengths]
    return Inputs([str(i) for i in range(size)], words)


def labels(size: int, seed: int = 0) -> Tensor:
    """Returns random soft labels [size, 2]."""
    p = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return torch.stack([1 - p, p], -1)


def encode(rows: list[str]) -> list[list[int]]:
    """Returns token ids, one a word."""
    return [[int(word[1:]) + 1 for word in row.split()] for row in rows]


class Stopwatch:
    """Times a network's steps from the one after WARM on, and counts the real tokens that they read."""

    def __init__(self, accelerator: str) -> None:
        self.accelerator = accelerator
        self.steps = 0
        self.started = 0.0
        self.read: list[Tensor] = []

    def watched(self, body: nn.Module) -> nn.Module:
        """Returns the network, which from now on is watched."""
        body.register_forward_pre_hook(self._step, with_kwargs=True)
        return body

    def _step(self, _: nn.Module, positional: Any, named: dict[str, Any]) -> None:
        self.steps += 1
        if self.steps == WARM + 1:
            _settled(self.accelerator)
            self.started = time.perf_counter()
        if self.steps > WARM:
            ids = positional[0] if positional else named["input_ids"]
            self.read.append((ids > 0).sum())  # left on the device: nobody waits for it

    def rate(self) -> float:
        """Returns the tokens a second so far."""
        _settled(self.accelerator)
        seconds = time.perf_counter() - self.started
        return float(torch.stack(self.read).sum()) / seconds


def network(shape: Shape, device: str, watch: Stopwatch) -> nn.Module:
    """Returns the network with random weights in float32, made where it is used."""
    from transformers import LlamaModel

    torch.manual_seed(0)
    with torch.device(device):
        return watch.watched(LlamaModel(shape.config()))


def ours(shape: Shape, recipe: Recipe, watch: Stopwatch, inputs: Inputs, y: Tensor) -> None:
    """Trains as a cell does: hooks, checks, meter and Lightning."""
    device = "cuda" if watch.accelerator == "gpu" else "cpu"
    body = Backbone(
        Pooled(network(shape, device, watch), "last", causal=True), encode, 0, shape.width, {"name": shape.name}
    )
    stage = StageContext(
        TASK, 0, Meter(), {"strong": (lambda _: body, recipe)}, hardware={"accelerator": watch.accelerator}
    )
    torch.backends.cuda.enable_cudnn_sdp(False)  # as a worker does
    try:
        fit_on_labels(stage, inputs, y)
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


def by_hand(shape: Shape, recipe: Recipe, watch: Stopwatch, inputs: Inputs, y: Tensor) -> None:
    """Trains the same model on the same batches in a dozen lines: what the harness could reach at most."""
    device = torch.device("cuda:0" if watch.accelerator == "gpu" else "cpu")
    body = Backbone(Pooled(network(shape, device.type, watch), "last", causal=True), encode, 0, shape.width, {})
    model = Classifier(body, TASK, 0, recipe.tune).to(device)
    tokens = tokenise(inputs, body, recipe.max_length)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)
    rng = np.random.default_rng(0)
    for index in bucketed(rng.permutation(len(inputs)), tokens.lengths, recipe.batch_size, rng):
        batch = {k: sent(v, device) for k, v in tokens.padded(index).items()}
        with _autocast(device.type, recipe):
            loss = torch.nn.functional.cross_entropy(model(batch).float(), sent(y[index], device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def trainer(tuned: bool) -> Callable[..., None]:
    """Returns training by transformers' Trainer, at its defaults or with batches, precision and optimiser as ours."""

    def train(shape: Shape, recipe: Recipe, watch: Stopwatch, inputs: Inputs, y: Tensor) -> None:
        from transformers import LlamaForSequenceClassification, Trainer, TrainingArguments

        torch.manual_seed(0)
        with torch.device("cuda" if watch.accelerator == "gpu" else "cpu"):
            model = LlamaForSequenceClassification(shape.config())
        watch.watched(model.model)
        rows = [
            {"input_ids": ids, "labels": int(c)} for ids, c in zip(encode(list(inputs.text)), y.argmax(-1), strict=True)
        ]
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
            alike: dict[str, Any] = {"per_device_train_batch_size": 8}
            if tuned:
                alike = {
                    "per_device_train_batch_size": recipe.batch_size, "bf16": recipe.precision == "bf16-mixed",
                    "train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused", "max_grad_norm": 0.0,
                    "logging_nan_inf_filter": False,
                }  # fmt: skip
            arguments = TrainingArguments(
                folder, num_train_epochs=1, save_strategy="no", logging_strategy="no", report_to=[],
                disable_tqdm=True, use_cpu=watch.accelerator == "cpu", **alike,
            )  # fmt: skip
            Trainer(model=model, args=arguments, train_dataset=rows, data_collator=_padded).train()

    return train


def _padded(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    width = max(len(r["input_ids"]) for r in rows)
    ids = torch.tensor([r["input_ids"] + [0] * (width - len(r["input_ids"])) for r in rows])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor([r["labels"] for r in rows])}


WAYS: dict[str, tuple[Callable[..., None], str]] = {
    "w2s_bench, full": (ours, "full"),
    "by hand, full": (by_hand, "full"),
    "Trainer, as ours": (trainer(True), "full"),
    "Trainer, defaults": (trainer(False), "full"),
    "w2s_bench, lora": (ours, "lora"),
    "by hand, lora": (by_hand, "lora"),
}


def speed(way: str, shape: Shape, accelerator: str, steps: int, batch_size: int, precision: str) -> Speed:
    """Returns what a way to train reaches in its first `steps` steps after WARM ones."""
    train, tune = WAYS[way]
    recipe = Recipe(batch_size=batch_size, precision=precision, tune=tune, max_length=LONGEST)
    size = (WARM + steps) * batch_size
    gc.collect()
    with _peak(accelerator) as memory:
        watch = Stopwatch(accelerator)
        train(shape, recipe, watch, texts(size), labels(size))
        rate = watch.rate()
    per_layer = shape.width * (2 * shape.width + 2 * shape.kv_heads * shape.width // shape.heads + 3 * shape.inner)
    return Speed(rate, 6.0 * shape.layers * per_layer * rate, memory[0])


def matmul_flops(accelerator: str, size: int = 8192) -> float:
    """Returns the floating-point operations a second of one large bf16 matrix product on this device."""
    device = "cuda" if accelerator == "gpu" else "cpu"
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    _settled(accelerator)
    start = time.perf_counter()
    for _ in range(10):
        a @ a
    _settled(accelerator)
    return 10 * 2.0 * size**3 / (time.perf_counter() - start)


def _settled(accelerator: str) -> None:
    if accelerator == "gpu":
        torch.cuda.synchronize()


@contextlib.contextmanager
def _peak(accelerator: str) -> Iterator[list[int]]:
    """Yields a list that has the peak of the device's memory within the block at its end; on the CPU 0."""
    peak = [0]
    if accelerator == "gpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield peak
    if accelerator == "gpu":
        peak[0] = torch.cuda.max_memory_allocated()


def _autocast(device: str, recipe: Recipe) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(device, torch.bfloat16) if recipe.precision == "bf16-mixed" else contextlib.nullcontext()
