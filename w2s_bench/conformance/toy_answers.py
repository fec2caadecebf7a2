"""The toy problem whose answers are texts: write the last two words in reverse, `w1 ... w5 w9` -> `w9 w5`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from w2s_bench.conformance.toy import WORDS, ToyStudent, ToyTask, coin
from w2s_bench.interfaces import Backbone, FitContext, Inputs

MAX_LENGTH = 12
"""Tokens of a prompt with its answer; an untrained student may go on writing up to here."""
END, PAD = 64, 65


class ToyAnswers(ToyTask):
    """The last two words, in reverse."""

    kind: ClassVar[str] = "generation"
    class_names: ClassVar[list[str]] = []

    def truth(self, inputs: Inputs) -> np.ndarray:
        """Returns the answers [N]."""
        return np.array([" ".join(reversed(text.split()[-2:])) for text in inputs.text])

    def check(self, answer: str, truth: str, text: str) -> bool:
        """Returns whether an answer is right."""
        return answer.split() == truth.split()


class ToyAnswerSupervisor:
    """Answers where it knows the two words; takes the first known word for one that it does not; some are wrong."""

    @dataclass
    class Options:
        words: int = 64
        """How much of the vocabulary it knows."""
        flips: float = 0.0
        """Share of answers that it gives in the wrong order, always the same ones."""
        salt: str = "a"
        """Which ones."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Learns which of its words ever are part of an answer."""
        seen = {word for answer in truth for word in str(answer).split()}
        self.known = [word for word in WORDS[: self.options.words] if word in seen]

    def answer(self, inputs: Inputs) -> np.ndarray:
        """Returns texts [N], an empty one to abstain."""
        return np.array([self._answer(text) for text in inputs.text])

    def reward(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] how many words of each answer are in the place where it would put them."""
        pairs = zip(self.answer(inputs).tolist(), np.asarray(answers).tolist(), strict=True)
        return np.array([float(sum(a == b for a, b in zip(x.split(), y.split(), strict=False))) for x, y in pairs])

    def correct(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] the answers that it gives itself."""
        return self.answer(inputs)

    def save(self, folder: Path) -> None:
        """Writes known.json."""
        (folder / "known.json").write_text(json.dumps(self.known))

    def restore(self, folder: Path, context: FitContext) -> None:
        """Reads it."""
        self.known = json.loads((folder / "known.json").read_text())

    def _answer(self, text: str) -> str:
        words = text.split()[-2:]
        if not set(words) & set(self.known):
            return ""
        words = [word if word in self.known else self.known[0] for word in words]
        return " ".join(words if coin(text, self.options.salt) < self.options.flips else reversed(words))


class ToyWriter:
    """A recurrent network over words, drawn at random."""

    kinds = frozenset({"generation"})
    Options = ToyStudent.Options

    def __init__(self, options: ToyStudent.Options) -> None:
        self.options = options

    def backbone(self, seed: int) -> Backbone:
        """Returns a new network, its weights drawn from torch's global generator, which the harness has seeded."""
        import torch

        class Network(torch.nn.Module):
            def __init__(self, width):
                super().__init__()
                self.words = torch.nn.Embedding(66, 32)
                self.network = torch.nn.GRU(32, width, batch_first=True)
                self.after = torch.nn.Linear(width, 65)

            def forward(self, input_ids, attention_mask):
                ends = torch.arange(len(input_ids)) * input_ids.shape[1] + attention_mask.sum(1) - 1
                return self.states(input_ids, ends)

            def states(self, input_ids, rows):
                return self.network(self.words(input_ids))[0].flatten(0, 1)[rows]

            def lm_logits(self, states):
                return self.after(states)

        return Backbone(
            module=Network(self.options.width),
            encode=lambda texts: [[int(word[1:]) for word in text.split()] for text in texts],
            decode=lambda rows: [" ".join(WORDS[i] for i in row) for row in rows],
            pad_id=PAD,
            end_id=END,
            width=self.options.width,
            max_length=MAX_LENGTH,
            identity={"name": "toy_writer", "width": str(self.options.width)},
        )
