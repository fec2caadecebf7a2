"""What one stage computes and keeps in memory: floating-point operations and bytes, from a network's shape.

    operations   6 x weights x tokens trained on, 4 where the body is frozen under adapters, 2 x weights x tokens read
    memory       weights, gradients and AdamW's two moments, 4 bytes each; under bf16 a copy of the weights, 2 bytes;
                 activations, ACTIVATION bytes for each layer, token of a (micro-)batch and unit of `Shape.widths`

Without adapters' own weights, about a hundredth of the network's. Each text counts with all tokens that it may have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from w2s_bench.estimate.machine import Machine
from w2s_bench.estimate.shape import Shape
from w2s_bench.interfaces import Recipe

ACTIVATION = {"32-true": 12.0, "bf16-mixed": 5.0}
"""Bytes; docs/performance.md has what was measured: 8.7 to 17.9 and 4.0 to 5.2."""
ADAPTED = 1.3
"""How many times as much is kept where each matrix has an adapter, which keeps its input once more."""
READ_BATCH = 256
"""Examples of a batch that is only read (`training.student.EVAL_BATCH_SIZE`), of which one layer is kept at a time."""
PROCESS = 0.5e9
"""Bytes of a process before its network: of a card's context, of the libraries on a processor."""


@dataclass(frozen=True)
class Work:
    """A network at work in one stage."""

    shape: Shape
    recipe: Recipe
    trained: int = 0
    """Examples of the split that it learns from."""
    read: int = 0
    """Examples that it predicts."""
    texts: int = 1
    """Texts of an example: two in a preference task."""
    fits: float = 1.0
    """How many times it is trained."""

    @property
    def length(self) -> int:
        """The most tokens that a text has."""
        return min(self.recipe.max_length, self.shape.positions or self.recipe.max_length)

    @property
    def steps(self) -> float:
        """Optimiser steps."""
        return self.fits * max(1, int(self.recipe.epochs * self.trained / self.recipe.batch_size + 1e-6))

    @property
    def operations(self) -> float:
        """Floating-point operations, of which a probe's training needs next to none."""
        per_text = float(self.shape.weights * self.length * self.texts)
        each = {"full": 6.0, "lora": 4.0}.get(self.recipe.tune, 0.0)
        trained = self.steps * self.recipe.batch_size if self.trained else 0.0
        return each * trained * per_text + 2.0 * self.read * per_text

    def seconds(self, machine: Machine) -> float:
        """Returns what it takes on a machine."""
        precision = self.recipe.precision
        computing = self.operations / (machine.peak[precision] * machine.reached[precision])
        return machine.start + computing + (self.steps * machine.step if self.trained else 0.0)

    @property
    def memory(self) -> float:
        """The most bytes that it needs at a time."""
        recipe, shape = self.recipe, self.shape
        half = recipe.precision == "bf16-mixed"
        whole = recipe.tune == "full" and self.trained > 0
        per_weight = 16 if whole else shape.weight_bytes
        per_weight += 2 if half and (whole or shape.weight_bytes > 2) else 0
        layers = shape.layers * (ADAPTED if recipe.tune == "lora" else 1.0)
        trains = self.trained and recipe.tune != "probe"
        examples = math.ceil(recipe.batch_size / recipe.accumulate) if trains else 0
        at_once = max(examples * layers, READ_BATCH) * self.length * self.texts
        kept = ACTIVATION[recipe.precision] * shape.widths * at_once
        return PROCESS + per_weight * shape.weights + kept
