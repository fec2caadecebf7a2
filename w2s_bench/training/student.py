"""A student: a model with its head, and what it predicts. How it is trained is in `step.py` and `loop.py`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, Inputs, Recipe, TaskInfo
from w2s_bench.training.answers import Answerer, candidates_of, generate, pack
from w2s_bench.training.batches import Tokens, batches_within, of_one_shape, sent, tokenise
from w2s_bench.training.checks import demand
from w2s_bench.training.classifier import Classifier
from w2s_bench.training.frozen import Deferred, FrozenFeatures

if TYPE_CHECKING:
    from w2s_bench.training.meter import Meter

EVAL_BATCH_SIZE = 256
"""Examples per batch where nothing is learnt, at most."""
EVAL_TOKENS = {"cpu": 4096, "cuda": 1 << 30}
"""Tokens in such a batch, padding included, at most: on a CPU more do not fit into its caches."""


class StudentModel(torch.nn.Module):
    """A backbone with its head on a device, and its predictions."""

    def __init__(
        self,
        backbone: Backbone,
        task: TaskInfo,
        recipe: Recipe,
        seed: int,
        meter: Meter,
        cache: tuple[str, ...] = (),
        accelerator: str = "cpu",
    ) -> None:
        super().__init__()
        self.backbone, self.task, self.recipe = backbone, task, recipe
        self.meter, self.cache = meter, cache
        self.generative = task.kind == "generation"
        self.classifier: Classifier | Answerer = (
            Answerer(backbone, recipe.tune) if self.generative else Classifier(backbone, task, seed, recipe.tune)
        )
        self.n_parameters = sum(p.numel() for p in self.classifier.parameters())
        if isinstance(self.classifier.body, Deferred):
            self.n_parameters += self.classifier.body.n_weights
        self.target_device = torch.device("cuda:0" if accelerator == "gpu" else "cpu")
        self.taken = 0
        """Optimiser steps of this round so far."""
        identity = [backbone.identity, recipe.max_length, recipe.precision]
        self.frozen = FrozenFeatures(self.classifier.body, identity, self._read, cache)
        self._tokens: dict[int, tuple[Inputs, Tokens]] = {}
        self._answer_ids: dict[str, list[int]] = {}
        self.to(self.target_device)
        self.train()

    def _precision(self) -> contextlib.AbstractContextManager:
        """Returns the context that computes in the recipe's precision."""
        if self.recipe.precision == "bf16-mixed":
            return torch.autocast(self.target_device.type, torch.bfloat16)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Computes without dropout and gradients, in the recipe's precision."""
        was_training = self.classifier.training
        self.classifier.eval()
        with torch.inference_mode(), self._precision():
            yield
        self.classifier.train(was_training)

    def check_finite(self, values: Tensor) -> None:
        """Raises W2SError where training has diverged, as `checks.demand` does."""
        step = self.taken
        error = f"training diverged: values are not finite at step {step}; lower the learning rate"
        demand(values.detach().isfinite().all(), lambda: W2SError(error))

    # --- what it reads

    def tokens(self, inputs: Inputs) -> Tokens:
        """Returns a split's tokens, made once."""
        if id(inputs) not in self._tokens:
            self._tokens[id(inputs)] = (inputs, tokenise(inputs, self.backbone, self.recipe.max_length, self.cache))
        return self._tokens[id(inputs)][1]

    def lengths(self, inputs: Inputs) -> np.ndarray:
        """Returns the length of each example [N], by which batches are put together; of frozen features all are one."""
        probe = self.recipe.tune == "probe" and not self.generative
        return np.ones(len(inputs), np.int64) if probe else self.tokens(inputs).lengths

    def batch_inputs(self, inputs: Inputs, index: np.ndarray) -> dict[str, Tensor]:
        """Returns what the classifier reads of these examples: tokens, or frozen features under a probe."""
        if self.generative:
            return self._with_answers(inputs, index)
        if self.recipe.tune == "probe":
            return {"features": self.features(inputs)[..., torch.from_numpy(index), :]}
        return self.tokens(inputs).padded(index)

    def _with_answers(self, inputs: Inputs, index: np.ndarray) -> dict[str, Tensor]:
        """Returns prompts with their candidate answers, as `answers.pack` lays them out."""
        chosen = [[column[int(i)] for i in index] for column in candidates_of(inputs)]
        texts = {text for column in chosen for text in column if text is not None}
        unknown = [text for text in texts if text not in self._answer_ids]
        self._answer_ids.update(
            zip(unknown, (self.backbone.encode_answers or self.backbone.encode)(unknown), strict=True)
        )
        ids = [[None if text is None else self._answer_ids[text] for text in column] for column in chosen]
        return pack(self._prompts(inputs, index), ids, self.backbone, self._limit)

    def _prompts(self, inputs: Inputs, index: np.ndarray) -> list[np.ndarray]:
        tokens = self.tokens(inputs)
        return [tokens.flat[tokens.starts[i] : tokens.starts[i + 1]] for i in index]

    @property
    def _limit(self) -> int:
        return min(self.recipe.max_length, self.backbone.max_length or self.recipe.max_length)

    def features(self, inputs: Inputs) -> Tensor:
        """Returns the body's features [N, H] (preference: [2, N, H]); of a probe's frozen body, read once."""
        return self.frozen.features(inputs) if self.recipe.tune == "probe" else self._features(inputs)

    def _features(self, inputs: Inputs) -> Tensor:
        """Returns the body's features as it now is: [N, H] (preference: [2, N, H])."""
        return self._forward_all(inputs, self.classifier.features, pairs=self.classifier.pairs).float()

    def _read(self, texts: list[str]) -> Tensor:
        """Returns the body's features of texts [n, H], each the same whatever the others are: shapes are its own."""
        tokens = tokenise(Inputs(texts, texts), self.backbone, self.recipe.max_length)
        parts, order = [], []
        with self._evaluating():
            for width, at in of_one_shape(tokens.lengths, self._limit, self.target_device.type):
                batch = tokens.padded(at, width)
                self.meter.read(int(tokens.lengths[np.unique(at)].sum()), self.n_parameters)
                out = self.classifier.features({k: sent(v, self.target_device) for k, v in batch.items()})
                parts.append(out.float().cpu())
                order.append(at)
        features = torch.empty(len(texts), parts[0].shape[-1])
        features[torch.from_numpy(np.concatenate(order))] = torch.cat(parts)
        return features

    # --- what it predicts

    def predict(self, inputs: Inputs) -> Tensor:
        """Returns probabilities [N, C] on the CPU."""
        return self.scores(inputs).softmax(-1).clone()

    def scores(self, inputs: Inputs) -> Tensor:
        """Returns logits [N, C] on the CPU; in a preference task, the reward of each candidate alone."""
        if self.generative:
            batch_of = functools.partial(self._with_answers, inputs)
            logits = self._forward_all(inputs, self.classifier, pairs=False, batch_of=batch_of)
        elif self.recipe.tune == "probe":
            with torch.inference_mode():
                logits = self.classifier({"features": self.features(inputs).to(self.target_device)}).cpu()
        else:
            logits = self._forward_all(inputs, self.classifier, pairs=False)
        self.check_finite(logits)
        return logits.float()

    def answer(self, inputs: Inputs, rng: torch.Generator | None = None) -> Any:
        """Returns the answers [N]: class numbers, or in a generation task texts, word by word the likeliest.

        With `rng` (generation tasks) the words are drawn from the student's probabilities.
        """
        if not isinstance(self.classifier, Answerer):
            return self.predict(inputs).argmax(-1)
        assert self.backbone.decode is not None
        answers: list[str] = []
        with self._evaluating():
            for start in range(0, len(inputs), EVAL_BATCH_SIZE):
                prompts = self._prompts(inputs, np.arange(start, min(start + EVAL_BATCH_SIZE, len(inputs))))
                written = generate(self.classifier, prompts, self.backbone, self._limit, rng)
                tokens = sum((len(w) + 1) * (len(p) + len(w) / 2) for p, w in zip(prompts, written, strict=True))
                self.meter.read(int(tokens), self.n_parameters)
                answers += self.backbone.decode(written)
        return answers

    def log_likelihood(self, inputs: Inputs, answers: Sequence[str]) -> np.ndarray:
        """Returns the log-probability of each whole answer, its end included [N]."""
        return self.scores(replace(inputs, candidates=[list(answers)]))[:, 0].numpy()

    def rewards(self, inputs: Inputs) -> np.ndarray:
        """Returns how good each answer is [N, C]: a candidate's score in a preference task, else a probability."""
        return (self.scores(inputs) if self.classifier.pairs else self.predict(inputs)).numpy()

    def _forward_all(
        self,
        inputs: Inputs,
        forward: Callable[[dict[str, Tensor]], Tensor],
        pairs: bool,
        batch_of: Callable[[np.ndarray], dict[str, Tensor]] | None = None,
    ) -> Tensor:
        """Returns the outputs of `forward` over a split [N, .] (pairs: [2, N, .]), in the split's order."""
        tokens = self.tokens(inputs)
        order = np.argsort(tokens.lengths, kind="stable")
        parts = []
        with self._evaluating():
            for index in batches_within(order, tokens.lengths, EVAL_BATCH_SIZE, EVAL_TOKENS[self.target_device.type]):
                batch = (batch_of or tokens.padded)(index)
                self.meter.read(int(batch["attention_mask"].sum()), self.n_parameters)
                out = forward({k: sent(v, self.target_device) for k, v in batch.items()}).cpu()
                parts.append(out.view(2, -1, out.shape[-1]) if pairs else out)
        by_length = torch.cat(parts, -2)
        in_order = torch.empty_like(by_length)
        in_order[..., torch.from_numpy(order), :] = by_length
        return in_order.clone()

    def save(self, folder: Path) -> None:
        """Writes the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.classifier, str(folder / "classifier.safetensors"))

    def restore(self, folder: Path) -> None:
        """Reads the weights that `save` wrote."""
        load_model(self.classifier, str(folder / "classifier.safetensors"))
