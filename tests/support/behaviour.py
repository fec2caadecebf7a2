"""Made-up supervisors and students for cases in which one thing goes wrong, and what a mitigation changes there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from support.bench import RECIPE, data, student_of, supervisor
from w2s_bench.conformance.toy import VALUES, WORDS, ToyStudent, coin, ids_of, sums_of
from w2s_bench.interfaces import Inputs, Split
from w2s_bench.registry import load

SEEDS = range(5)


# --- supervisors: what they say depends on the text alone


class Rule:
    """A supervisor whose probability of the class `above` is a function of the texts."""

    def __init__(self, above: Callable[[list[str]], np.ndarray]) -> None:
        self.above = above

    def label(self, inputs):
        p = np.asarray(self.above(inputs.text), dtype=float)
        return np.stack([1 - p, p], 1)


def flipped(rate: float, sure: float = 0.9, salt: str = "a") -> Rule:
    """Returns a supervisor that is wrong about this share of texts, drawn at random, and as sure as ever."""

    def above(texts):
        wrong = np.array([coin(text, salt) < rate for text in texts])
        return np.where((sums_of(texts) > 0) ^ wrong, sure, 1 - sure)

    return Rule(above)


def one_sided(rate: float, salt: str = "a") -> Rule:
    """Returns a supervisor that takes this share of the texts above for ones below."""

    def above(texts):
        missed = np.array([coin(text, salt) < rate for text in texts])
        return np.where((sums_of(texts) > 0) & ~missed, 0.9, 0.1)

    return Rule(above)


def doubtful(rate: float) -> Rule:
    """Returns a supervisor that is unsure (.55) of all it is wrong about, and of half the rest."""

    def above(texts):
        wrong = np.array([coin(text, "a") < rate for text in texts])
        sure = np.array([coin(text, "as") < 0.5 for text in texts]) & ~wrong
        p = np.where(sure, 0.95, 0.55)
        return np.where((sums_of(texts) > 0) ^ wrong, p, 1 - p)

    return Rule(above)


def topical(rate: float) -> Rule:
    """Returns a supervisor of `topics` that is wrong about this share."""

    def above(texts):
        odd = np.array([sum(word % 2 for word in row) >= 4.5 for row in ids_of(texts)])
        return np.where(odd ^ np.array([coin(text, "a") < rate for text in texts]), 0.9, 0.1)

    return Rule(above)


SUPERVISORS: dict[str, Callable[[int], list[Any]]] = {
    "flips": lambda _: [flipped(0.35)],
    "fewer flips": lambda _: [flipped(0.3)],
    "sure flips": lambda _: [flipped(0.35, sure=0.99)],
    "hard flips": lambda _: [flipped(0.3, sure=1.0)],
    "mostly flips": lambda _: [flipped(0.45)],
    "timid": lambda _: [flipped(0.02, sure=0.65)],
    "doubts": lambda _: [doubtful(0.35)],
    "three": lambda seed: [supervisor(seed, words=known) for known in (24, 40, 48)],
    "two": lambda seed: [supervisor(seed, flips=0.3), supervisor(seed, flips=0.2, salt="b")],
    "one-sided": lambda _: [one_sided(0.55)],
    "two one-sided": lambda _: [one_sided(0.55), flipped(0.2, salt="b")],
    "noise": lambda seed: [supervisor(seed, flips=0.4)],
    "better critic": lambda seed: [supervisor(seed, words=16), supervisor(seed, words=60)],
    "topics": lambda _: [topical(0.35)],
}


# --- students


class Knowing:
    """The toy student, one of whose embedding's dimensions is each word's value: pretraining has taught it the task."""

    def __init__(self, scale: float, width: int = 128) -> None:
        self.scale = scale
        self.toy = ToyStudent(ToyStudent.Options(width=width))

    def backbone(self, seed):
        body = self.toy.backbone(seed)
        with torch.no_grad():
            body.module.words.weight[:64, 0] = torch.tensor(VALUES, dtype=torch.float32) * self.scale
        return body


class Speaking(Knowing):
    """One of its features is the text's sum, with the sign of the last word: whether that word fits the text."""

    def backbone(self, seed):
        body = self.toy.backbone(seed)
        values = torch.cat([torch.tensor(VALUES, dtype=torch.float32), torch.zeros(1)])
        scale = self.scale

        class Fit(type(body.module)):
            def forward(self, input_ids, attention_mask):
                last = input_ids.gather(1, attention_mask.sum(1, keepdim=True).long() - 1)[:, 0]
                rest = (values[input_ids] * attention_mask).sum(1) - values[last]
                words = (self.words(input_ids) * attention_mask[..., None]).sum(1)
                return torch.relu(
                    self.hidden(torch.cat([scale * (rest * values[last].sign())[:, None], words[:, 1:]], 1))
                )

        body.module.__class__ = Fit
        return body


# --- texts


@functools.cache
def topics(seed: int) -> dict[str, Split]:
    """Returns splits whose classes are topics: four words in five are of the class's own half of the vocabulary."""
    rng = np.random.default_rng(seed + 50)
    splits, start = {}, 0
    for name, size in (("supervision", 400), ("transfer", 480), ("validation", 200), ("test", 1000)):
        truth = rng.integers(0, 2, size)
        typical = rng.random((size, 8)) < 0.8
        words = rng.integers(0, 32, (size, 8)) * 2 + np.where(typical, truth[:, None], 1 - truth[:, None])
        texts = [" ".join(WORDS[i] for i in row) for row in words]
        splits[name] = Split(Inputs([f"t{start + i}" for i in range(size)], texts, None, np.zeros(size)), truth)
        start += size
    return splits


# --- a case


@dataclass(frozen=True)
class Case:
    """What a mitigation should repair, and by how much more than naive does (`measure`: accuracy, or less log loss)."""

    supervisors: str
    epochs: float
    margin: float
    knows: float = 1.0
    """How large a part of the student's embedding knows the task; 0 is the toy student as it is."""
    options: dict[str, Any] = field(default_factory=dict)
    measure: str = "accuracy"
    student: Any = None
    small: tuple[float, float] | None = None
    """Of the intermediate student: what it knows, and its epochs."""
    gold: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)

    def run(self, name: str) -> np.ndarray:
        """Returns the measure under the mitigation [5], one a seed."""
        made = load([]).get("mitigation", name)
        members = [] if name == "naive" else [(name, lambda: made.build({**made.options, **self.options}))]
        return np.array([self._of(members, seed) for seed in SEEDS])

    def _of(self, members: list[Any], seed: int) -> float:
        splits = topics(seed) if self.supervisors == "topics" else data(seed)
        recipe = replace(RECIPE, epochs=self.epochs, **self.recipe)
        small = self.small and (Knowing(self.small[0], width=16), replace(RECIPE, epochs=self.small[1]))
        gold = gold_of(splits["supervision"], self.gold) if self.gold else None
        model = self.student or (Knowing(self.knows) if self.knows else None)
        weak = SUPERVISORS[self.supervisors](seed)
        student = student_of(members, weak, seed, recipe, model=model, small=small, splits=splits, gold=gold)
        return measured(student, splits["test"], self.measure)


def gold_of(split: Split, size: int) -> tuple[Inputs, torch.Tensor]:
    """Returns every so many of a split's examples with their truth one-hot; the split is sorted by class."""
    at = np.arange(0, len(split.truth), len(split.truth) // size)
    return split.inputs.take(at), torch.eye(2)[torch.from_numpy(split.truth[at])]


def measured(student: Any, test: Split, measure: str) -> float:
    """Returns a student's accuracy on a split, or minus its log loss there."""
    p = student.predict(test.inputs).double().numpy().clip(1e-7)
    if measure == "accuracy":
        return float((p.argmax(1) == test.truth).mean())
    return float(np.log(p[np.arange(len(p)), test.truth]).mean())
