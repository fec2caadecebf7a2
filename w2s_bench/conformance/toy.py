"""Toy problems that plugins are tried on, one of each kind of task: made of nothing, fitted in a tenth of a second.

Texts are eight words out of sixty-four, and each word has a value. Classification: is their sum above zero?
Preference: whose sum is larger? Generation (toy_answers.py): the last two words, in reverse.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from w2s_bench.interfaces import Backbone, FitContext, Inputs, Sizes, Split

WORDS = [f"w{i}" for i in range(64)]
NUMBERS = {word: number for number, word in enumerate(WORDS)}
VALUES = np.random.default_rng(7).normal(size=64)


def ids_of(texts: list[str]) -> list[list[int]]:
    """Returns the numbers of each text's words; a word out of another vocabulary has the number of some word."""
    return [[NUMBERS.get(w, int(coin(w, "word") * len(WORDS))) for w in t.split()] for t in texts]


def sums_of(texts: list[str]) -> np.ndarray:
    """Returns sums of values [N]."""
    return np.array([VALUES[row].sum() for row in ids_of(texts)])


def coin(text: str, salt: str) -> float:
    """Returns a number in [0, 1) that depends on the two alone."""
    return int.from_bytes(hashlib.sha256((salt + text).encode()).digest()[:4], "big") / 2**32


class ToyTask:
    """Sums of word values above zero."""

    kind: ClassVar[str] = "classification"
    class_names: ClassVar[list[str]] = ["below", "above"]

    def fingerprint(self) -> str:
        """Returns the version."""
        return f"toy-{self.kind}-1"

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns the classes and the splits."""
        rng = np.random.default_rng(seed)
        counts = (sizes.n_supervision, sizes.n_transfer, sizes.n_validation, sizes.n_test)
        total = 2 * sum(counts) if self.kind == "preference" else sum(counts)
        drawn = np.unique(rng.integers(0, 64, (2 * total, 8)), axis=0)
        rows = iter(drawn[rng.permutation(len(drawn))])
        splits, start = {}, 0
        for name, size in zip(("supervision", "transfer", "validation", "test"), counts, strict=True):
            words = [next(rows) for _ in range(size)]
            text = [" ".join(WORDS[i] for i in row) for row in words]
            other = [" ".join(WORDS[i] for i in next(rows)) for _ in words] if self.kind == "preference" else None
            ids = [f"toy-{start + i}" for i in range(size)]
            inputs = Inputs(ids, text, other, np.array([row.max() for row in words], dtype=float))
            splits[name] = Split(inputs, self.truth(inputs))
            start += size
        return list(self.class_names), splits

    def truth(self, inputs: Inputs) -> np.ndarray:
        """Returns classes [N]."""
        return (sums_of(inputs.text) > 0).astype(np.int64)


class ToyPairs(ToyTask):
    """Which of two texts has the larger sum?"""

    kind: ClassVar[str] = "preference"
    class_names: ClassVar[list[str]] = ["first", "second"]

    def truth(self, inputs: Inputs) -> np.ndarray:
        """Returns 1 where the other text is better, [N]."""
        assert inputs.other is not None
        return (sums_of(inputs.other) > sums_of(inputs.text)).astype(np.int64)


class ToySupervisor:
    """A ridge fit on the first `words` words of the vocabulary, some of whose labels are flipped."""

    @dataclass
    class Options:
        words: int = 64
        """How much of the vocabulary it knows."""
        flips: float = 0.0
        """Share of labels that it gets wrong at random, always the same ones."""
        salt: str = "a"
        """Which ones."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Solves the ridge regression."""
        x = self._counts(inputs)
        self.weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (2.0 * truth - 1.0))

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns probabilities [N, 2]."""
        p = self._clean(inputs)
        flipped = np.array([coin(t, self.options.salt) < self.options.flips for t in inputs.text], dtype=bool)
        p = np.where(flipped, 1 - p, p)
        return np.stack([1 - p, p], 1)

    def reward(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] the probability of each class, or half the log-odds of each candidate."""
        p, answers = self.label(inputs), np.asarray(answers)
        if inputs.other is None:
            return p[np.arange(len(inputs)), answers]
        return np.where(answers == 1, 1, -1) * np.log(p[:, 1] / p[:, 0]) / 2

    def correct(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] what it thinks itself, flips apart."""
        return (self._clean(inputs) > 0.5).astype(int)

    def save(self, folder: Path) -> None:
        """Writes weights.json."""
        (folder / "weights.json").write_text(json.dumps(self.weights.tolist()))

    def restore(self, folder: Path, context: FitContext) -> None:
        """Reads it."""
        self.weights = np.array(json.loads((folder / "weights.json").read_text()))

    def _counts(self, inputs: Inputs) -> np.ndarray:
        """Returns how often each known word occurs, [N, 64]; of pairs, how much oftener in the other text."""
        counts = np.zeros((len(inputs), 64))
        for texts, sign in ((inputs.text, -1.0 if inputs.other else 1.0), (inputs.other, 1.0)):
            if texts:
                for n, row in enumerate(ids_of(texts)):
                    np.add.at(counts[n], row, sign)
        counts[:, self.options.words :] = 0.0
        return counts

    def _clean(self, inputs: Inputs) -> np.ndarray:
        return 1 / (1 + np.exp(-4 * self._counts(inputs) @ self.weights))


class ToyStudent:
    """A bag of word embeddings under one hidden layer."""

    @dataclass
    class Options:
        width: int = 128
        """Hidden units."""
        body_lr: float = 1e-2
        """Peak learning rate of the body."""
        head_lr: float = 1e-2
        """Peak learning rate of the head."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def backbone(self, seed: int) -> Backbone:
        """Returns a new bag, its weights drawn from torch's global generator, which the harness has seeded."""
        import torch

        class Bag(torch.nn.Module):
            def __init__(self, width):
                super().__init__()
                self.words = torch.nn.Embedding(65, 32)
                self.hidden = torch.nn.Linear(32, width)

            def states(self, input_ids, rows):
                bag = self.words(input_ids).cumsum(1).flatten(0, 1)[rows]
                return torch.relu(self.hidden(bag))

            def lm_logits(self, states):
                return states @ self.hidden.weight @ self.words.weight.T

            def forward(self, input_ids, attention_mask):
                bag = (self.words(input_ids) * attention_mask[..., None]).sum(1)
                return torch.relu(self.hidden(bag))

        return Backbone(
            module=Bag(self.options.width),
            encode=ids_of,
            pad_id=64,
            width=self.options.width,
            identity={"name": "toy", "width": str(self.options.width)},
        )
