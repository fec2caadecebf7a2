"""Simulated boards whose truth is known: seeds, examples, supervisors' errors that students inherit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from w2s_bench.board.blocks import Block
from w2s_bench.board.design import CEILING, FLOOR, Design
from w2s_bench.board.labels import Group


@dataclass(frozen=True)
class World:
    """How one group's cells come about. An answer is right where a sum of normal draws is above zero."""

    seeds: int = 5
    n: int = 1000
    """Test examples."""
    same_test: bool = False
    """One test set for all seeds, or one drawn with each."""
    noise: float = 0.01
    """Standard deviation over seeds of a line's accuracy, its test examples aside."""
    common: float = 0.5
    """Share of that variance which all lines of a seed have in common (split, supervisor)."""
    difficulty: float = 0.25
    """Share of an answer's variance that lies in the example, whoever answers."""
    own: float = 0.25
    """Share that lies in the example and the model, whatever the seed: what a pretrained network knows."""
    inherited: float = 0.15
    """Share that lies in the example and the seed: errors of the supervisor that its students inherit."""


def draw(
    world: World,
    truth: np.ndarray,
    rng: np.random.Generator,
    spread: np.ndarray | float = 1.0,
    model: Sequence[int] | None = None,
) -> np.ndarray:
    """Returns right or wrong, [L, S, n] of 0 and 1, of lines with these true accuracies [L].

    `spread` [L] scales each line's own seed noise. Lines of one `model` [L] know the same examples; without it each
    line is a model of its own.
    """
    lines, s, n = len(truth), world.seeds, world.n
    # what moves the accuracy by `noise` moves the threshold by noise / density
    density = stats.norm.pdf(stats.norm.ppf(truth))
    scale = world.noise / density
    own = np.sqrt(1 - world.common) * np.broadcast_to(spread, lines)
    total = np.sqrt(1 + scale**2 * (world.common + own**2))
    threshold = stats.norm.ppf(truth) * total
    shift = np.sqrt(world.common) * rng.standard_normal(s) + own[:, None] * rng.standard_normal((lines, s))
    level = (threshold[:, None] + scale[:, None] * shift).astype(np.float32)  # [L, S]
    shape = (1, n) if world.same_test else (s, n)
    example = np.sqrt(world.difficulty) * rng.standard_normal(shape, dtype=np.float32)
    seed = np.sqrt(world.inherited) * rng.standard_normal((s, n), dtype=np.float32)
    models = np.arange(lines) if model is None else np.asarray(model)
    known = np.sqrt(world.own) * rng.standard_normal((models.max() + 1, *shape), dtype=np.float32)
    rest = np.sqrt(1 - world.difficulty - world.own - world.inherited)
    noise = rng.standard_normal((lines, s, n), dtype=np.float32)
    noise *= np.float32(rest)
    noise += example + seed
    noise += known[models]
    return (noise + level[:, :, None] > 0).astype(np.int8)


def block_of(right: np.ndarray, same_test: bool) -> Block:
    """Returns the block of lines drawn together."""
    values = right.mean(2, dtype=np.float64)
    if not same_test:
        return Block(values)
    return Block(values, dict(enumerate(right)), dict.fromkeys(range(len(right)), "test"))


def board_of(
    world: World,
    truths: Sequence[Sequence[tuple[float, float, np.ndarray]]],
    stacks: Sequence[str],
    rng: np.random.Generator,
    spread: np.ndarray | float = 1.0,
) -> Design:
    """Returns a board's design: `truths` holds, for each task, its groups as (floor, ceiling, PGRs [M] of `stacks`).

    Groups of one task share seeds and test examples, as pairs with a common supervisor do.
    """
    blocks, where = {}, {}
    for t, groups in enumerate(truths):
        accuracy, at = [], 0
        for g, (floor, ceiling, pgr) in enumerate(groups):
            group = Group(f"task{t}", (f"weak{g}",), "strong", f"task{t}")
            names = [FLOOR, CEILING, *stacks]
            accuracy += [floor, ceiling, *(floor + pgr * (ceiling - floor))]
            for k, name in enumerate(names):
                where[group, name] = (f"task{t}", at + k)
            at += len(names)
        model = np.concatenate([[3 * g, 3 * g + 1, *([3 * g + 2] * len(stacks))] for g in range(len(groups))])
        spreads = np.tile(np.concatenate([[1.0, 1.0], np.broadcast_to(spread, len(stacks))]), len(groups))
        blocks[f"task{t}"] = block_of(draw(world, np.array(accuracy), rng, spreads, model.tolist()), world.same_test)
    return Design(blocks, where)
