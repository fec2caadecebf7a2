"""Features of a frozen body, what a probe learns from: each text is read once, and the body loaded only for that."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_bench.interfaces import Backbone, Inputs
from w2s_bench.training.batches import cached_array, content_key
from w2s_bench.training.shelf import Shelf


class FrozenFeatures:
    """A frozen body's features of texts: each text is read once a machine, where `cache` names folders.

    `identity` is all that the features depend on beside the texts and the weights; `read` computes them [n, H], each
    text's whatever others it is read with.
    """

    def __init__(
        self, body: torch.nn.Module, identity: Any, read: Callable[[list[str]], Tensor], cache: Sequence[str]
    ) -> None:
        self.body, self.identity, self.read, self.cache = body, identity, read, cache
        self._splits: dict[int, tuple[Inputs, Tensor]] = {}

    def features(self, inputs: Inputs) -> Tensor:
        """Returns features [N, H] (preference: [2, N, H])."""
        if id(inputs) not in self._splits:
            texts = [*inputs.text, *(inputs.other or ())]
            features = torch.from_numpy(self._shelf.features(texts, lambda missing: self.read(missing).numpy()))
            pairs = inputs.other is not None
            self._splits[id(inputs)] = (inputs, features.view(2, len(inputs), -1) if pairs else features)
        return self._splits[id(inputs)][1]

    @functools.cached_property
    def _shelf(self) -> Shelf:
        key = "features-" + content_key(self.identity, weights_key(self.body))
        return Shelf(*(Path(folder) / key for folder in self.cache))


class Deferred(torch.nn.Module):
    """A pretrained network that is loaded when it first reads a text.

    It shows no parameters: nothing trains, moves or saves what may never be loaded.
    """

    def __init__(self, load: Callable[[], torch.nn.Module], n_weights: int, weights_key: str) -> None:
        super().__init__()
        self.load, self.n_weights, self.weights_key = load, n_weights, weights_key

    @functools.cached_property
    def network(self) -> torch.nn.Module:
        """The network, loaded here; torch does not list it among this module's own."""
        with torch.random.fork_rng(), torch.inference_mode(False):
            return self.load().eval().requires_grad_(False)

    @property
    def lm_logits(self) -> Any:
        """A language model's output layer, see `Backbone.module`; AttributeError where the network has none."""
        return self.network.lm_logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Returns pooled features [B, H]."""
        return self.network.to(input_ids.device)(input_ids, attention_mask)


def deferred(load: Callable[[], Backbone], key: str, cache: Sequence[str]) -> Backbone:
    """Returns the backbone that `load` returns; its network and tokeniser are loaded when they are first used.

    The rest of it is kept in the cache under `key`, which must tell the weights and how texts are read.
    """
    loaded = functools.cache(load)

    def inspect() -> dict[str, np.ndarray]:
        module = loaded().module
        facts = {
            name: getattr(loaded(), name) for name in ("pad_id", "width", "identity", "padding_side", "max_length")
        }
        n_weights = sum(weight.numel() for weight in module.parameters())
        return {"facts": np.array(json.dumps([facts, n_weights, weights_key(module)]))}

    facts, n_weights, weights = json.loads(str(cached_array(cache, f"backbone-{key}", ("facts",), inspect)["facts"]))
    module = Deferred(lambda: loaded().module, n_weights, weights)

    def encode_answers(texts: list[str]) -> list[list[int]]:
        return (loaded().encode_answers or loaded().encode)(texts)

    return Backbone(module, lambda texts: loaded().encode(texts), encode_answers=encode_answers, **facts)


def weights_key(body: torch.nn.Module) -> str:
    """Returns a digest of the first values of each weight: identities do not tell bodies drawn at random apart."""
    if isinstance(body, Deferred):
        return body.weights_key
    sha = hashlib.sha256()
    for name, weight in body.state_dict().items():
        sha.update(name.encode())
        sha.update(weight.flatten()[:64].double().cpu().numpy().tobytes())
    return sha.hexdigest()
