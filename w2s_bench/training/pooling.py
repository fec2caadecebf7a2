"""One feature vector per text out of a Hugging Face network, whatever side the padding is on and whatever its id."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn


class Pooled(nn.Module):
    """(input_ids [B, T], attention_mask [B, T]) -> features [B, width], of real tokens alone."""

    def __init__(self, network: nn.Module, pooling: str, causal: bool = False) -> None:
        super().__init__()
        self.network = network
        self.causal = causal
        self.pool = POOLINGS[pooling]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Returns pooled features [B, width]."""
        input_ids, attention_mask = to_the_left(input_ids, attention_mask)
        # No real token of a causal network sees the padding behind it, and attention without a mask is the fast kind.
        mask = None if self.causal else attention_mask
        hidden = self.network(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return self.pool(hidden, attention_mask)


class Language(Pooled):
    """A causal network with its output layer: it pools as `Pooled` does, and knows how likely each next token is."""

    def __init__(self, network: nn.Module, output: nn.Module, pooling: str) -> None:
        super().__init__(network, pooling, causal=True)
        self.output = output

    def states(self, input_ids: Tensor, rows: Tensor) -> Tensor:
        """Returns states [R, width] at flat positions `rows` of token ids [B, T], padded on the right."""
        hidden = self.network(input_ids=input_ids, attention_mask=None).last_hidden_state
        return hidden.flatten(0, 1)[rows]

    @property
    def advance(self) -> Any:
        """(input_ids [B, T], memory) -> states [B, width] at the last token and the memory of all tokens so far.

        AttributeError where the network keeps no keys and values, as state-space models do.
        """
        if "past_key_values" not in inspect.signature(self.network.forward).parameters:
            raise AttributeError("advance")

        def step(input_ids: Tensor, memory: Any) -> tuple[Tensor, Any]:
            out = self.network(input_ids=input_ids, past_key_values=memory, use_cache=True)
            return out.last_hidden_state[:, -1], out.past_key_values

        return step

    def lm_logits(self, states: Tensor) -> Tensor:
        """Returns logits [R, V] of the token after states [R, width], scaled and capped as the configuration says."""
        config = self.network.config.get_text_config()  # type: ignore[operator, union-attr]
        logits = self.output(states.to(self.output.weight.dtype))  # type: ignore[arg-type]
        logits = logits * (getattr(config, "logit_scale", None) or 1) / (getattr(config, "logits_scaling", None) or 1)
        cap = getattr(config, "final_logit_softcapping", None)
        return cap * (logits / cap).tanh() if cap else logits


def to_the_left(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ids and mask [B, T] with every text's real tokens first, in their order.

    Networks number positions from the left, or look for their own padding id to do so; with the padding on the right
    all of them number real tokens from the start.
    """
    order = attention_mask.argsort(dim=1, descending=True, stable=True)
    return input_ids.gather(1, order), attention_mask.gather(1, order)


def last_token(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Returns the state at each text's last token [B, width] from states [B, T, width]."""
    last = (attention_mask.sum(1) - 1).clamp(min=0)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def mean(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Returns the mean state over each text's tokens [B, width], in float32."""
    mask = attention_mask.unsqueeze(-1).float()
    return (hidden.float() * mask).sum(1) / mask.sum(1).clamp(min=1)


def first_token(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Returns the state at each text's first token [B, width]."""
    return hidden[:, 0]


POOLINGS = {"last": last_token, "mean": mean, "cls": first_token}


@torch.no_grad()
def width_of(pooled: Pooled, vocabulary: int) -> int:
    """Returns how many numbers a text's features have.

    Asked of the network itself, for a configuration's `hidden_size` is the width inside: OPT-350m projects its states
    to fewer on the way out, Reformer puts two beside each other.
    """
    training = pooled.training
    ids = torch.tensor([[vocabulary // 2]], device=next(pooled.parameters()).device)
    width = pooled.eval()(ids, torch.ones_like(ids)).shape[-1]
    pooled.train(training)
    return width


@torch.no_grad()
def is_causal(network: nn.Module, vocabulary: int) -> bool:
    """Returns True where no token sees a later one, found by changing the last of three.

    Asked of the network itself, for a configuration does not always say: BERT has a decoder's class too, and there are
    bidirectional networks in the shape of a causal one.
    """
    device = next(network.parameters()).device
    v = vocabulary  # from the middle of it: the first ids are often special, some of them never trained
    ids = torch.tensor([[v // 2, v // 3, v // 4], [v // 2, v // 3, v // 5]], device=device)
    training = network.training
    network.eval()
    hidden = network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, :2].float()
    network.train(training)
    return torch.allclose(hidden[0], hidden[1], rtol=1e-4, atol=1e-5 * float(hidden.abs().max()))
