"""The size of a network, as far as hours and memory depend on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """What a student's or supervisor's optional method `shape()` returns, without loading any weight."""

    weights: int
    """All of them, embeddings included."""
    layers: int
    hidden: int
    """Numbers in a token's state."""
    vocabulary: int
    """Rows of the embedding, and of an output layer with weights of its own."""
    positions: int | None = None
    """Longest input in tokens; None where there is no limit."""
    weight_bytes: int = 4
    """Of one weight as it is loaded, such as 2 in bfloat16."""
    name: str = ""
    """What people call the model; the entry's name where empty."""

    @property
    def widths(self) -> float:
        """The sum over a layer's matrices of rows times columns by `hidden`: 12 x hidden in GPT-2's layers."""
        return max(self.weights - self.vocabulary * self.hidden, 0) / self.hidden / self.layers
