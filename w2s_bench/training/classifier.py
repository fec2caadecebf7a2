"""A backbone with a head: logits for classes, or for which of two candidates is better."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, TaskInfo

HEAD_SCALE = 0.3
"""Head weights start at HEAD_SCALE / sqrt(width): small, so that the first steps do not shake the body."""


class Classifier(nn.Module):
    """Logits [B, C] from token ids; preference tasks score each candidate alone, so C = 2 scores make the logits."""

    def __init__(self, backbone: Backbone, task: TaskInfo, seed: int, tune: str) -> None:
        super().__init__()
        self.pairs = task.kind == "preference"
        self.body = backbone.module
        rows = 1 if self.pairs else task.n_classes
        self.head = nn.Linear(backbone.width, rows)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(rows, backbone.width, generator=generator))
            self.head.weight.mul_(HEAD_SCALE * backbone.width**-0.5)
            self.head.bias.zero_()
        self.tune = tune
        tuned_body(self, tune)

    def features(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns pooled features [B, H] (preference: [2B, H])."""
        if "features" in inputs:
            return inputs["features"].flatten(0, -2)
        return self.body(inputs["input_ids"], inputs["attention_mask"])

    def forward(self, inputs: dict[str, Tensor], mix: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns logits [B, C]; of features mixed as `Batch.mix` says, B being its length."""
        features = self.features(inputs).to(self.head.weight.dtype)
        if mix is not None:
            partner, share = mix[0], mix[1][:, None].to(features.dtype)
            features = features.view(2 if self.pairs else 1, -1, features.shape[-1])
            features = (share * features[:, : len(partner)] + (1 - share) * features[:, partner]).flatten(0, 1)
        scores = self.head(features)
        return scores.view(2, -1).T if self.pairs else scores


def tuned_body(classifier: nn.Module, tune: str) -> None:
    """Makes of a classifier's body what `tune` says: frozen, with adapters, or all of it to be trained, in float32."""
    body = classifier.body
    assert isinstance(body, nn.Module)
    if tune == "probe":
        body.requires_grad_(False)
    elif tune == "lora":
        classifier.body = with_adapters(body)
    elif any(weight.dtype != torch.float32 for weight in body.parameters()):
        raise W2SError(
            "student.tune=full trains weights in float32; leave student.dtype out and take "
            "protocol.training.precision=bf16-mixed, or use tune=lora"
        )


def with_adapters(body: nn.Module) -> nn.Module:
    """Returns the network with rank-8 adapters (Hu et al. 2021, LoRA) on every linear layer, all else frozen."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise W2SError("student.tune=lora needs the package peft: pip install 'w2s_bench[lora]'") from error
    output = getattr(body, "output", None)  # of a language model, which may share its weights with the words
    layers = [(n, m) for n, m in body.named_modules() if m is not output]
    linear = [n for n, m in layers if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"]
    if not linear:
        raise W2SError("student.tune=lora: this student has no linear layers; use tune=full or tune=probe")
    body.requires_grad_(False)
    with warnings.catch_warnings():  # peft sees by itself that a Conv1D stores its weights transposed, and says so
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        return inject_adapter_in_model(LoraConfig(r=8, lora_alpha=16, target_modules=linear), body)
