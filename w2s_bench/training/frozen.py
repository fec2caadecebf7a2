"""Features of a frozen body, each text read once: what a probe learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from w2s_bench.interfaces import Inputs
from w2s_bench.training.batches import cached_array, content_key


class FrozenFeatures:
    """A frozen body's features of texts, kept in memory and, where `cache` names a folder, on disk.

    `identity` is all that the features depend on beside the texts and the weights; `read` computes them.
    """

    def __init__(self, body: torch.nn.Module, identity: Any, read: Callable[[Inputs], Tensor], cache: str) -> None:
        self.body, self.identity, self.read, self.cache = body, identity, read, cache
        self._splits: dict[int, tuple[Inputs, Tensor]] = {}
        self._texts: dict[tuple[str, str], Tensor] = {}

    def features(self, inputs: Inputs) -> Tensor:
        """Returns features [N, H] (preference: [2, N, H])."""
        if id(inputs) not in self._splits:
            self._splits[id(inputs)] = (inputs, self._of(inputs))
        return self._splits[id(inputs)][1]

    def _of(self, inputs: Inputs) -> Tensor:
        texts = list(zip(inputs.text, inputs.other or inputs.text, strict=True))
        if texts and all(text in self._texts for text in texts):  # a part of a split that was read
            return torch.stack([self._texts[text] for text in texts], -2)
        key = "features-" + content_key(inputs, self.identity, weights_key(self.body))
        arrays = cached_array(self.cache, key, lambda: {"features": self.read(inputs).numpy()})
        features = torch.from_numpy(arrays["features"])
        self._texts.update(zip(texts, features.unbind(-2), strict=True))
        return features


def weights_key(body: torch.nn.Module) -> str:
    """Returns a digest of the first values of each weight: identities do not tell bodies drawn at random apart."""
    sha = hashlib.sha256()
    for name, weight in body.state_dict().items():
        sha.update(name.encode())
        sha.update(weight.flatten()[:64].double().cpu().numpy().tobytes())
    return sha.hexdigest()
