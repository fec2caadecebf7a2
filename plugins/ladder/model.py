"""The ladder's network: GPT-2's shape and parameter names, computed only where somebody looks.

`transformers` loads the same weights (GPT2Config with n_positions 16, ReLU, no dropout). ReLU instead of GELU because
GELU costs several times as much on CPUs without a fast tanh, and changes nothing else here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

PREFIX = "transformer."
"""Before every parameter's name in a file, as GPT2LMHeadModel writes it."""


@dataclass(frozen=True)
class Shape:
    """The size of a rung."""

    width: int
    layers: int
    heads: int
    vocabulary: int
    positions: int = 16


class Affine(nn.Module):
    """x @ weight + bias, with the weight [in, out] as GPT-2 stores it."""

    def __init__(self, n_in: int, n_out: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x, self.weight)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.width
        self.heads = shape.heads
        self.c_attn = Affine(d, 3 * d, 0.6 * d**-0.5)
        self.c_proj = Affine(d, d, 0.5 * (d * shape.layers) ** -0.5)

    def forward(self, x: torch.Tensor, n_texts: int) -> torch.Tensor:
        """Returns what each word sees of the words up to itself [B*T, d], before the output projection."""
        d = x.shape[1]
        q, k, v = self.c_attn(x).view(n_texts, -1, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        # bf16 attention is several times slower than fp32 on CPU, and these are the smallest products anyway
        with torch.autocast(x.device.type, enabled=False):
            seen = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True)
        return seen.transpose(1, 2).reshape(-1, d)


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.width
        self.c_fc = Affine(d, 4 * d, 0.6 * d**-0.5)
        self.c_proj = Affine(4 * d, d, 0.5 * (4 * d * shape.layers) ** -0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(F.relu(self.c_fc(x)))


class TransformerBlock(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(shape.width), Attention(shape)
        self.ln_2, self.mlp = nn.LayerNorm(shape.width), MLP(shape)

    def forward(self, x: torch.Tensor, n_texts: int, rows: torch.Tensor | None) -> torch.Tensor:
        """Returns the new states [B*T, d], or [R, d] of `rows` alone."""
        seen = self.attn(self.ln_1(x), n_texts)
        if rows is not None:
            x, seen = x[rows], seen[rows]
        x = x + self.attn.c_proj(seen)
        return x + self.mlp(self.ln_2(x))


class Ladder(nn.Module):
    """A small causal transformer; called, it returns one feature vector a text: the state at the last real word."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocabulary, shape.width)
        self.wpe = nn.Embedding(shape.positions, shape.width)
        self.h = nn.ModuleList(TransformerBlock(shape) for _ in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width)

    def states(self, input_ids: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the final states [B*T, d] of token ids [B, T], or [R, d] at the flat positions `rows` alone.

        Rows save most of the last layer. Padding must be on the right, where no word looks.
        """
        n_texts, length = input_ids.shape
        x = (self.wte(input_ids) + self.wpe.weight[:length]).view(n_texts * length, -1)
        for block in self.h[:-1]:
            x = block(x, n_texts, None)
        return self.ln_f(self.h[-1](x, n_texts, rows))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Returns [B, d] from token ids and mask [B, T], padded on the right."""
        last = attention_mask.sum(1) - 1
        start = torch.arange(len(input_ids), device=input_ids.device) * input_ids.shape[1]
        return self.states(input_ids, start + last)

    def lm_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Returns logits [R, V] of the word after states [R, d]."""
        return states @ self.wte.weight.T

    def draw(self, seed: int) -> None:
        """Draws fresh weights from `seed`, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        for weight, scale in self._scales():
            weight.data.copy_(torch.randn(weight.shape, generator=generator) * scale)

    def _scales(self) -> Iterator[tuple[torch.Tensor, float]]:
        yield self.wte.weight, 0.02
        yield self.wpe.weight, 0.02
        for module in self.modules():
            if isinstance(module, Affine):
                yield module.weight, module.scale


def load(folder: Path) -> Ladder:
    """Returns a rung from a folder with `config.json` and `model.safetensors`, in float32."""
    import json

    config = json.loads((folder / "config.json").read_text())
    shape = Shape(config["n_embd"], config["n_layer"], config["n_head"], config["vocab_size"], config["n_positions"])
    model = Ladder(shape)
    stored = load_file(folder / "model.safetensors")
    model.load_state_dict({name.removeprefix(PREFIX): tensor.float() for name, tensor in stored.items()})
    return model
