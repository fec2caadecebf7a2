"""What a student must keep to, on each kind of task that it serves. The docstring of a check is what it expects."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_bench import exchange
from w2s_bench.cells import entry_recipe
from w2s_bench.conformance.findings import Failed, Skipped, once
from w2s_bench.conformance.general import shape_of
from w2s_bench.conformance.places import RECIPE, SEED, Place, Placed
from w2s_bench.conformance.trial import streams
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import Backbone, FitContext

TEXTS = 16
EXTRA = 3
"""Positions of padding beyond the longest text, as a longer neighbour in the batch would bring them."""


class Subject(Placed):
    """A student, with a backbone that has read texts of the first task of its kind that it reads."""

    def backbone(self, seed: int = SEED) -> Backbone:
        """Returns a fresh backbone, with torch's stream as the harness seeds it."""
        with streams(seed):
            made = self.entry.build(self.options).backbone(seed)
        made.module.eval()
        return made

    @once
    def read(self) -> tuple[Place, Backbone, list[list[int]]]:
        """Returns the place, a backbone, and the token ids of some texts; skipped where it asks for an option first."""

        def trying(place: Place) -> tuple[Place, Backbone, list[list[int]]]:
            made = self.backbone()
            limit = min(self.recipe.max_length, made.max_length or self.recipe.max_length)
            rows = made.encode(place.splits["test"].inputs.text[:TEXTS])
            return place, made, [list(row)[:limit] for row in rows]

        try:
            return self.first_that_reads(trying)
        except UsageError as needs:
            raise Skipped(str(needs)) from None

    @once
    def features(self) -> Tensor:
        """Returns features [B, H] of the texts, read together."""
        _, made, rows = self.read
        return features(made, rows)

    @property
    def recipe(self) -> Any:
        """Returns the recipe with the entry's own learning rates, tuning and length."""
        return entry_recipe(RECIPE, {**self.entry.options, **self.options})


def features(backbone: Backbone, rows: list[list[int]], extra: int = 0, other_pad: bool = False) -> Tensor:
    """Returns features [B, H] of token ids in one batch, padded by `extra` more than the longest."""
    long = max(1, *map(len, rows)) + extra
    pad = next(i for i in {t for row in rows for t in row} | {backbone.pad_id} if not other_pad or i != backbone.pad_id)
    ids, mask = torch.full((len(rows), long), pad), torch.zeros((len(rows), long), dtype=torch.int64)
    for k, row in enumerate(rows):
        at = slice(long - len(row), long) if backbone.padding_side == "left" else slice(0, len(row))
        ids[k, at], mask[k, at] = torch.tensor(row, dtype=torch.int64), 1
    with torch.inference_mode():
        return backbone.module(ids, mask).clone()


def encodes(subject: Subject) -> str:
    """It encodes each text as a list of token ids."""
    place, made, rows = subject.read
    if len(rows) != TEXTS or not all(isinstance(t, (int, np.integer)) for row in rows for t in row):
        raise Failed(f"{str(rows)[:60]} came for {TEXTS} texts", "return a list of lists of ints")
    if made.padding_side not in ("left", "right"):
        raise Failed(f"its padding_side is {made.padding_side!r}", "say `left` or `right`")
    return f"{min(map(len, rows))} to {max(map(len, rows))} tokens a text on the task {place.task.name}"


def width(subject: Subject) -> str:
    """It gives each text a finite vector of the width it says."""
    _, made, rows = subject.read
    came = subject.features
    if came.shape != (len(rows), made.width):
        raise Failed(f"{list(came.shape)} came where {[len(rows), made.width]} were due", "pool over tokens, fix width")
    if not bool(came.isfinite().all()):
        raise Failed("some are not finite", "see what it makes of a padded batch")
    return f"width {made.width}"


def padding(subject: Subject) -> None:
    """Features depend neither on neighbours nor on padding."""
    _, made, rows = subject.read
    together = subject.features
    alone = torch.cat([features(made, [row]) for row in rows])
    _near(alone, together, "neighbours move them", "read each row by itself")
    _near(alone, features(made, rows, EXTRA), "padding moves them", "read by the attention mask alone")
    _near(alone, features(made, rows, EXTRA, other_pad=True), "the id of the padding moves them", "read by the mask")


def same_seed(subject: Subject) -> None:
    """The same seed gives the same weights, bit for bit."""
    _ = subject.read
    one, two = (subject.backbone().module.state_dict() for _ in range(2))
    differ = [name for name in one if not torch.equal(one[name], two[name])]
    if differ:
        raise Failed(f"{differ[0]} differs", "draw from torch's stream, which is seeded, or from `seed`")


def pretrained(subject: Subject) -> str | None:
    """Where it says `pretrained`, every seed gives the same weights, and a fingerprint names them."""
    if not getattr(subject.entry.cls, "pretrained", False):
        return "it does not say so"
    _ = subject.read
    if not hasattr(subject.entry.cls, "fingerprint"):
        raise Failed("it has no fingerprint", "return a digest of the weights, or a name and revision")
    one, two = (subject.backbone(seed).module.state_dict() for seed in (SEED, SEED + 1))
    differ = [name for name in one if not torch.equal(one[name], two[name])]
    if differ:
        raise Failed(f"{differ[0]} differs between two seeds", "leave `pretrained` out where weights are drawn")
    return None


def fresh_copies(subject: Subject) -> None:
    """Each backbone is a copy of its own."""
    _, made, _ = subject.read
    held = {w.data_ptr() for w in made.module.parameters()}
    shared = [name for name, w in subject.backbone().module.named_parameters() if w.data_ptr() in held]
    if shared:
        raise Failed(f"two share {shared[0]}", "load or copy the network inside `backbone`")


def identity(subject: Subject) -> str:
    """Its identity names weights, and no place on this machine."""
    _, made, _ = subject.read
    if not all(isinstance(part, str) for item in made.identity.items() for part in item):
        raise Failed(f"{made.identity!r:.60} came", "return names and digests as str")
    places = [v for v in made.identity.values() if os.path.isabs(v)]
    if places:
        raise Failed(f"{places[0]} is a place", "name the folder and give a digest of its content")
    return ", ".join(f"{k} {v}" for k, v in made.identity.items())[:60] or "empty"


def shape(subject: Subject) -> str:
    """Its shape, where it tells one, is of whole positive numbers, and counts the weights that it loads."""
    made = shape_of(subject)
    if made is None:
        return "it tells none"
    loaded = sum(weight.numel() for weight in subject.read[1].module.parameters())
    if made.weights != loaded:
        raise Failed(f"it says {made.weights} weights, {loaded} are loaded", "count as `backbone` loads them")
    return f"{made.weights} weights"


def decodes(subject: Subject) -> str:
    """Answers that it encodes and decodes are the same texts."""
    place, made, _ = subject.read
    if place.task.kind != "generation":
        raise Skipped("the task asks for no texts")
    if made.decode is None or made.end_id is None:
        raise Failed("its backbone has no `decode` and `end_id`", "give both, or leave generation out of its `kinds`")
    answers = np.asarray(place.splits["test"].truth)[:TEXTS].tolist()
    decoded = list(made.decode(made.encode(answers)))
    wrong = next(((a, b) for a, b in zip(answers, decoded, strict=False) if a.split() != str(b).split()), None)
    if len(decoded) != len(answers) or wrong:
        came = f"{wrong[1]!r:.30} came for {wrong[0]!r:.30}" if wrong else f"{len(decoded)} came for {len(answers)}"
        raise Failed(came, "see that `decode` undoes `encode`, without special tokens")
    return f"{answers[0]!r:.40}"


def trains(subject: Subject) -> str:
    """Finetuned twice it predicts the same probabilities, bit for bit; in a generation task it writes the same."""
    place = subject.read[0]
    first, second = (_finetuned(subject, place, subject.recipe) for _ in range(2))
    _valid(first, place)
    if not np.array_equal(first, second):
        raise Failed(f"{sum(map(np.any, first != second))} of {len(first)} differ", "draw nothing by itself")
    return f"tune={subject.recipe.tune} on the task {place.task.name}"


def probes(subject: Subject) -> None:
    """A head on its frozen features predicts likewise."""
    place = subject.read[0]
    _valid(_finetuned(subject, place, replace(subject.recipe, tune="probe")), place)


CHECKS = (encodes, width, padding, same_seed, pretrained, fresh_copies, identity, shape, decodes, trains, probes)
OF_A_KIND = (decodes, trains, probes)
"""What depends on the kind of task; the rest is checked on the first kind alone."""


def _finetuned(subject: Subject, place: Place, recipe: Any) -> np.ndarray:
    """Returns what a student finetuned on the truth predicts: probabilities [N, C], or texts [N]."""
    from w2s_bench.training.finetune import finetune, hard_labels

    split, test = place.splits["transfer"], place.splits["test"].inputs
    with streams(SEED):
        backbone = subject.entry.build(subject.options).backbone(SEED)
        inputs, labels = hard_labels(place.task, split.inputs, np.asarray(split.truth))
        fitted = finetune(backbone, inputs, labels, FitContext(place.task, SEED, recipe))
        return np.array(fitted.answer(test)) if place.task.kind == "generation" else fitted.predict(test).numpy()


def _valid(predictions: np.ndarray, place: Place) -> None:
    if place.task.kind == "generation":
        if predictions.shape != (len(place.splits["test"].inputs),) or predictions.dtype.kind != "U":
            raise Failed(f"{predictions.dtype} {list(predictions.shape)} came", "see that `decode` returns texts")
    elif exchange.improbable_rows(predictions).any():
        raise Failed("rows are not finite or do not sum to 1", "see that its features stay small and finite")


def _near(one: Tensor, two: Tensor, what: str, remedy: str) -> None:
    apart = float((one - two).abs().max() / one.abs().max().clamp(min=1e-6))
    if not apart < 1e-3:
        raise Failed(f"{what} by {apart:.1%}", remedy)
