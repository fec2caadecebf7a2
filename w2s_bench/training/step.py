"""One optimiser step: losses that the stack of mitigations decides, their weighted mean, AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from w2s_bench.interfaces import Inputs
from w2s_bench.training.batches import Batch, sent
from w2s_bench.training.language import check_language_model, text_losses
from w2s_bench.training.student import StudentModel

if TYPE_CHECKING:
    from w2s_bench.training.stack import Stack


class TrainableStudent(StudentModel, lightning.LightningModule):
    """A student in training, by Lightning's loop or a mitigation's own; fitted, it predicts as any `StudentModel`."""

    def __init__(self, stack: Stack, *model: Any, **options: Any) -> None:
        super().__init__(*model, **options)
        self.stack = stack
        self.total_steps = 1
        self.lr_scale = 1.0
        self.objective = "labels"
        self._optimizer: torch.optim.Optimizer | None = None
        self.taken_before = 0
        """Steps of this round that another process took, see `resume`."""
        self.after_step: Callable[[], None] | None = None

    def begin(self, total_steps: int, lr_scale: float, objective: str = "labels") -> None:
        """Prepares for a round of `total_steps` steps."""
        if objective == "text":
            check_language_model(self.backbone, self.recipe.tune, self.task.kind)
        self.objective = objective
        self.total_steps, self.lr_scale, self.taken, self._optimizer = max(total_steps, 1), lr_scale, 0, None
        self.train()  # `from_pretrained` leaves a body in eval mode, with its dropout silently off

    # --- the step

    def losses(self, batch: Batch, progress: float, params: dict[str, Tensor] | None = None) -> Tensor:
        """Returns losses [B], targets and loss decided by the stack.

        `params` (see `trainable`) replaces the weights, for a step that is differentiated through; attention then
        runs on the one backend that has second derivatives.
        """
        self._count(batch)
        batch = batch.to(self.target_device)
        if self.objective == "text":
            with self._precision():
                return text_losses(self.classifier.body, batch.inputs, self.classifier.pairs)
        logits = self._logits(batch, params)
        with self._precision():
            if self.stack.members:  # a mitigation must not be blamed for what it makes of them
                self.check_finite(logits)
            targets = self.stack.training_targets(batch, logits, progress)
            return self.stack.training_loss(batch, logits, targets, progress)

    def logits_of(self, batch: Batch, params: dict[str, Tensor] | None = None) -> Tensor:
        """Returns logits [B, C] of a batch, mixed where it says so; `params` as in `losses`."""
        self._count(batch)
        return self._logits(batch.to(self.target_device), params)

    def _logits(self, batch: Batch, params: dict[str, Tensor] | None) -> Tensor:
        arguments = (batch.inputs,) if batch.mix is None else (batch.inputs, batch.mix)
        with self._precision():
            if params is None:
                return self.classifier(*arguments).float()
            with sdpa_kernel(SDPBackend.MATH):
                return torch.func.functional_call(self.classifier, params, arguments).float()

    def step_loss(self, losses: Tensor, weights: Tensor, total: Tensor | None = None) -> Tensor:
        """Returns what the next step descends on, see `weighted_mean`, and sets the learning rates of that step."""
        self.set_learning_rates()
        loss = weighted_mean(losses, sent(weights, self.target_device), total)
        self.check_finite(loss)
        return loss

    def training_step(self, part: tuple[Batch, float, Tensor], _: int) -> Tensor:
        """Returns the loss of a micro-batch; Lightning does the rest of the step."""
        batch, progress, weight = part
        return self.step_loss(self.losses(batch, progress), batch.weights, weight)

    def step(self, losses: Tensor, batch: Batch, chosen: Tensor | None = None) -> None:
        """Takes one optimiser step down the weighted mean of losses [B], or of the `chosen` ones among them.

        For mitigations with a loop of their own.
        """
        weights = sent(batch.weights, self.target_device)
        if chosen is not None:
            losses, weights = losses[chosen], weights[chosen]
        optimizer = self._optimizer or self.configure_optimizers()
        loss = self.step_loss(losses, weights)
        optimizer.zero_grad()
        loss.backward()
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.classifier.parameters(), self.recipe.clip_norm)
        optimizer.step()
        self._stepped(self.taken + 1)

    def on_train_batch_end(self, *_: Any) -> None:
        """Counts the step that Lightning took."""
        self._stepped(self.taken_before + self.trainer.global_step)
        if self.after_step is not None:
            self.after_step()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns the batch as it is: `losses` moves it, for Lightning's loop and any other alike."""
        return batch

    def _stepped(self, taken: int) -> None:
        self.meter.steps += taken - self.taken
        self.taken = taken

    def _count(self, batch: Batch) -> None:
        """Counts what a batch costs, before it is moved: a sum on an accelerator would have to be waited for."""
        tokens = int(batch.inputs["attention_mask"].sum()) if "attention_mask" in batch.inputs else len(batch.labels)
        self.meter.trained(len(batch.labels), tokens, self.n_parameters)

    # --- the optimiser

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns AdamW over two groups, head and body, each with its own peak learning rate."""
        head = list(self.classifier.head.parameters())
        body = [p for p in self.classifier.body.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": head, "peak": self.recipe.head_lr}]
        if body:
            groups.append({"params": body, "peak": self.recipe.body_lr})
        self._optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=self.recipe.weight_decay, fused=True)
        return self._optimizer

    def set_learning_rates(self) -> None:
        """Sets both learning rates for the step about to be taken: linear warm-up times cosine or linear decay."""
        assert self._optimizer is not None
        factor = self._lr_factor()
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def _lr_factor(self) -> float:
        return self.lr_scale * rate(self.taken, self.total_steps, self.recipe.warmup, self.recipe.schedule)

    # --- a step that is differentiated through

    def trainable(self) -> dict[str, Tensor]:
        """Returns the weights being trained, by the names that `losses(params=...)` takes."""
        return {n: p for n, p in self.classifier.named_parameters() if p.requires_grad}

    def look_ahead(self, grads: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the `trainable` weights as one step of the optimiser along these gradients would make them.

        AdamW's step without its first moment, as one of SGD would be without its momentum: what these gradients move
        in the end, which the moment spreads over the steps that follow. It can be differentiated in `grads`; the
        second moment counts as a constant there, for otherwise a first step, along the signs of the gradients, has no
        derivative.
        """
        optimizer = self._optimizer or self.configure_optimizers()
        clip = self.recipe.clip_norm
        if clip:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads.values()]))
            grads = {name: g * (clip / (norm + 1e-6)).clamp(max=1.0) for name, g in grads.items()}
        group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        stepped = {}
        for name, weight in self.trainable().items():
            group, state = group_of[id(weight)], optimizer.state.get(weight, {})
            beta, lr = group["betas"][1], group["peak"] * self._lr_factor()
            square = (1 - beta) * grads[name].detach() ** 2 + beta * state.get("exp_avg_sq", 0.0)
            size = (square / (1 - beta ** (self.taken + 1))).sqrt() + group["eps"]
            stepped[name] = weight * (1 - lr * group["weight_decay"]) - lr * grads[name] / size
        return stepped

    def logits(self, inputs: Inputs, index: Tensor, params: dict[str, Tensor]) -> Tensor:
        """Returns logits [B, C] of the examples at `index`, with `params` in place of the weights."""
        batch = {k: sent(v, self.target_device) for k, v in self.batch_inputs(inputs, index.numpy()).items()}
        with sdpa_kernel(SDPBackend.MATH), self._precision():
            return torch.func.functional_call(self.classifier, params, (batch,)).float()


def weighted_mean(losses: Tensor, weights: Tensor, total: Tensor | None = None) -> Tensor:
    """Returns the mean of losses [B] under weights [B], zero where all weights are.

    `total` replaces the sum of the weights: of a micro-batch, its share of the whole batch's.
    """
    total = weights.sum() if total is None else total
    return (losses * weights).sum() / total.clamp(min=1e-8)


def rate(step: int, total: int, warmup: float, schedule: str) -> float:
    """Returns the factor on the learning rate at `step` of `total`, in (0, 1]."""
    rise = min(1.0, (step + 1) / max(1.0, warmup * total))
    done = step / total
    return rise * (1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))
