"""The one LightningModule: a model whose targets and loss are decided by the stack of mitigations."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, Inputs, Recipe, TaskInfo
from w2s_bench.training.answers import Answerer, candidates_of, pack, write_on
from w2s_bench.training.batches import Batch, Tokens, tokenise
from w2s_bench.training.classifier import Classifier
from w2s_bench.training.frozen import Frozen

if TYPE_CHECKING:
    from w2s_bench.training.meter import Meter
    from w2s_bench.training.stack import Stack

READ = 256
"""Examples per batch where nothing is learnt."""


class Student(lightning.LightningModule):
    """A student in training, and when fitted a predictor."""

    def __init__(
        self,
        backbone: Backbone,
        task: TaskInfo,
        recipe: Recipe,
        seed: int,
        stack: Stack,
        meter: Meter,
        cache: str = "",
        accelerator: str = "cpu",
    ) -> None:
        super().__init__()
        self.backbone, self.task, self.recipe = backbone, task, recipe
        self.stack, self.meter, self.cache = stack, meter, cache
        self.writes = task.kind == "generation"
        self.classifier: Classifier | Answerer = (
            Answerer(backbone, recipe.tune) if self.writes else Classifier(backbone, task, seed, recipe.tune)
        )
        self.size = sum(p.numel() for p in self.classifier.parameters())
        self.home = torch.device("cuda" if accelerator == "gpu" else "cpu")
        self.total_steps = 1
        self.lr_scale = 1.0
        self.taken = 0
        identity = [backbone.identity, recipe.max_length, recipe.precision]
        self.frozen = Frozen(self.classifier.body, identity, self._features, cache)
        self._read: dict[int, tuple[Inputs, Tokens]] = {}
        self._ids: dict[str, list[int]] = {}
        self._optimizer: torch.optim.Optimizer | None = None
        self.to(self.home)
        self.train()

    # --- one step

    def losses(self, batch: Batch, progress: float, params: dict[str, Tensor] | None = None) -> Tensor:
        """Returns losses [B], targets and loss decided by the stack.

        `params` (see `trainable`) stands in for the weights, for a step that is differentiated through; attention then
        runs on the one backend that has second derivatives.
        """
        batch = batch.to(self.home)
        self.count(batch)
        with self._precision():
            if params is None:
                logits = self.classifier(batch.inputs)
            else:
                with sdpa_kernel(SDPBackend.MATH):
                    logits = torch.func.functional_call(self.classifier, params, (batch.inputs,))
            logits = logits.float()
            if self.stack.members:  # a mitigation must not be blamed for what it makes of them
                self.check_finite(logits)
            targets = self.stack.training_targets(batch, logits, progress)
            return self.stack.training_loss(batch, logits, targets, progress)

    def training_step(self, part: tuple[Batch, float, Tensor], _: int) -> Tensor:
        """Returns the weighted mean loss of a micro-batch; Lightning does the rest of the step."""
        batch, progress, weight = part
        self.set_rates()
        loss = (self.losses(batch, progress) * batch.weights.to(self.home)).sum() / weight.clamp(min=1e-8).item()
        if self.taken % 20 == 0:
            self.check_finite(loss)
        return loss

    def step(self, losses: Tensor, batch: Batch, chosen: Tensor | None = None) -> None:
        """Takes one optimiser step down the weighted mean of losses [B], or of the `chosen` ones among them.

        For mitigations with a loop of their own.
        """
        weights = batch.weights.to(self.home)
        if chosen is not None:
            losses, weights = losses[chosen], weights[chosen]
        loss = weighted_mean(losses, weights)
        if self.taken % 20 == 0:
            self.check_finite(loss)
        optimizer = self._optimizer or self.configure_optimizers()
        self.set_rates()
        optimizer.zero_grad()
        loss.backward()
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.classifier.parameters(), self.recipe.clip_norm)
        optimizer.step()
        self._stepped(self.taken + 1)

    def on_train_batch_end(self, *_: Any) -> None:
        """Counts the step that Lightning took."""
        self._stepped(self.trainer.global_step)

    def _stepped(self, taken: int) -> None:
        self.meter.steps += taken - self.taken
        self.taken = taken

    def trainable(self) -> dict[str, Tensor]:
        """Returns the weights being trained, by the names that `losses(params=...)` takes."""
        return {n: p for n, p in self.classifier.named_parameters() if p.requires_grad}

    def look_ahead(self, slopes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the `trainable` weights as one step of the optimiser down these slopes would make them.

        AdamW's step without its first moment, as one of SGD would be without its momentum: what these slopes move in
        the end, which the moment spreads over the steps that follow. It can be differentiated in `slopes`; the second
        moment counts as a constant there, for otherwise a first step, down the signs of the slopes, has no derivative.
        """
        optimizer = self._optimizer or self.configure_optimizers()
        clip = self.recipe.clip_norm
        if clip:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(s) for s in slopes.values()]))
            slopes = {name: s * (clip / (norm + 1e-6)).clamp(max=1.0) for name, s in slopes.items()}
        group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        stepped = {}
        for name, weight in self.trainable().items():
            group, state = group_of[id(weight)], optimizer.state.get(weight, {})
            beta, lr = group["betas"][1], group["peak"] * self._scale()
            square = (1 - beta) * slopes[name].detach() ** 2 + beta * state.get("exp_avg_sq", 0.0)
            size = (square / (1 - beta ** (self.taken + 1))).sqrt() + group["eps"]
            stepped[name] = weight * (1 - lr * group["weight_decay"]) - lr * slopes[name] / size
        return stepped

    def logits(self, inputs: Inputs, index: Tensor, params: dict[str, Tensor]) -> Tensor:
        """Returns logits [B, C] of the examples at `index`, with `params` in place of the weights."""
        read = {k: v.to(self.home) for k, v in self.batch_inputs(inputs, index.numpy()).items()}
        with sdpa_kernel(SDPBackend.MATH), self._precision():
            return torch.func.functional_call(self.classifier, params, (read,)).float()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns AdamW over two groups, head and body, each with its own peak learning rate."""
        head = list(self.classifier.head.parameters())
        body = [p for p in self.classifier.body.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": head, "peak": self.recipe.head_lr}]
        if body:
            groups.append({"params": body, "peak": self.recipe.body_lr})
        self._optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=self.recipe.weight_decay, fused=True)
        return self._optimizer

    def set_rates(self) -> None:
        """Sets both learning rates for the step about to be taken: linear warm-up times cosine or linear decay."""
        assert self._optimizer is not None
        scale = self._scale()
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * scale

    def _scale(self) -> float:
        return self.lr_scale * rate(self.taken, self.total_steps, self.recipe.warmup, self.recipe.schedule)

    def begin(self, total_steps: int, lr_scale: float) -> None:
        """Prepares for a round of `total_steps` steps."""
        self.total_steps, self.lr_scale, self.taken, self._optimizer = max(total_steps, 1), lr_scale, 0, None
        self.train()  # `from_pretrained` leaves a body in eval mode, with its dropout silently off

    def check_finite(self, values: Tensor) -> None:
        """Raises where training has diverged."""
        if not bool(values.detach().isfinite().all()):
            raise W2SError(f"training diverged: values are not finite at step {self.taken}; lower the learning rate")

    def count(self, batch: Batch) -> None:
        """Adds a batch to what this stage cost."""
        tokens = int(batch.inputs["attention_mask"].sum()) if "attention_mask" in batch.inputs else len(batch.labels)
        self.meter.trained(len(batch.labels), tokens, self.size)

    def _precision(self) -> contextlib.AbstractContextManager:
        if self.recipe.precision == "bf16-mixed":
            return torch.autocast(self.home.type, torch.bfloat16)
        return contextlib.nullcontext()

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; Lightning notes the running hook two dozen times a step, which no module need look at."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns the batch as it is: `losses` moves it, for Lightning's loop and any other alike."""
        return batch

    # --- reading

    def tokens(self, inputs: Inputs) -> Tokens:
        """Returns a split's tokens, made once."""
        if id(inputs) not in self._read:
            self._read[id(inputs)] = (inputs, tokenise(inputs, self.backbone, self.recipe.max_length, self.cache))
        return self._read[id(inputs)][1]

    def batch_inputs(self, inputs: Inputs, index: np.ndarray) -> dict[str, Tensor]:
        """Returns what the classifier reads of these examples: tokens, or frozen features under a probe."""
        if self.writes:
            return self._with_answers(inputs, index)
        if self.recipe.tune == "probe":
            return {"features": self.features(inputs)[..., torch.from_numpy(index), :]}
        return self.tokens(inputs).padded(index)

    def _with_answers(self, inputs: Inputs, index: np.ndarray) -> dict[str, Tensor]:
        """Returns prompts with their candidate answers, as `answers.pack` lays them out."""
        chosen = [[column[int(i)] for i in index] for column in candidates_of(inputs)]
        unknown = [text for text in {t for column in chosen for t in column if t is not None} if text not in self._ids]
        self._ids.update(zip(unknown, self.backbone.encode(unknown), strict=True))
        ids = [[None if text is None else self._ids[text] for text in column] for column in chosen]
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
        return self._over(inputs, self.classifier.features, pairs=self.classifier.pairs).float()

    def predict(self, inputs: Inputs) -> Tensor:
        """Returns probabilities [N, C] on the CPU."""
        return self.scores(inputs).softmax(-1).clone()

    def scores(self, inputs: Inputs) -> Tensor:
        """Returns logits [N, C] on the CPU; in a preference task, the reward of each candidate alone."""
        if self.writes:
            read = functools.partial(self._with_answers, inputs)
            logits = self._over(inputs, self.classifier, pairs=False, read=read)
        elif self.recipe.tune == "probe":
            with torch.inference_mode():
                logits = self.classifier({"features": self.features(inputs).to(self.home)}).cpu()
        else:
            logits = self._over(inputs, self.classifier, pairs=False)
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
        training = self.classifier.training
        self.classifier.eval()
        with torch.inference_mode(), self._precision():
            for start in range(0, len(inputs), READ):
                prompts = self._prompts(inputs, np.arange(start, min(start + READ, len(inputs))))
                written = write_on(self.classifier, prompts, self.backbone, self._limit, rng)
                tokens = sum((len(w) + 1) * (len(p) + len(w) / 2) for p, w in zip(prompts, written, strict=True))
                self.meter.read(int(tokens), self.size)
                answers += self.backbone.decode(written)
        self.classifier.train(training)
        return answers

    def log_likelihood(self, inputs: Inputs, answers: Sequence[str]) -> np.ndarray:
        """Returns the log-probability of each whole answer, its end included [N]."""
        return self.scores(replace(inputs, candidates=[list(answers)]))[:, 0].numpy()

    def rewards(self, inputs: Inputs) -> np.ndarray:
        """Returns how good each answer is [N, C]: a candidate's score in a preference task, else a probability."""
        return (self.scores(inputs) if self.classifier.pairs else self.predict(inputs)).numpy()

    def _over(
        self,
        inputs: Inputs,
        forward: Callable[[dict[str, Tensor]], Tensor],
        pairs: bool,
        read: Callable[[np.ndarray], dict[str, Tensor]] | None = None,
    ) -> Tensor:
        """Returns what `forward` makes of a split [N, .] (pairs: [2, N, .]), in the split's order."""
        tokens = self.tokens(inputs)
        order = np.argsort(tokens.lengths, kind="stable")
        parts = []
        training = self.classifier.training
        self.classifier.eval()
        with torch.inference_mode(), self._precision():
            for start in range(0, len(order), READ):
                batch = (read or tokens.padded)(order[start : start + READ])
                self.meter.read(int(batch["attention_mask"].sum()), self.size)
                out = forward({k: v.to(self.home) for k, v in batch.items()}).cpu()
                parts.append(out.view(2, -1, out.shape[-1]) if pairs else out)
        self.classifier.train(training)
        whole = torch.cat(parts, -2)
        restored = torch.empty_like(whole)
        restored[..., torch.from_numpy(order), :] = whole
        return restored.clone()

    def save(self, folder: Path) -> None:
        """Writes the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.classifier, str(folder / "classifier.safetensors"))

    def restore(self, folder: Path) -> None:
        """Reads the weights that `save` wrote."""
        load_model(self.classifier, str(folder / "classifier.safetensors"))


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Returns the mean of losses [B] under weights [B]; zero where all weights are."""
    return (losses * weights).sum() / weights.sum().clamp(min=1e-8)


def rate(step: int, total: int, warmup: float, schedule: str) -> float:
    """Returns the factor on the learning rate at `step` of `total`, in (0, 1]."""
    rise = min(1.0, (step + 1) / max(1.0, warmup * total))
    done = step / total
    return rise * (1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))
