"""Simulated boards whose truth is known: seeds, examples, supervisors' errors that students inherit."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

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
    noise: float | np.ndarray = 0.01
    """Standard deviation over seeds of a line's accuracy, its test examples aside; [B, 1] for boards that differ."""
    common: float = 0.5
    """Share of that variance which all lines of a seed have in common (split, supervisor)."""
    together: float = 0.0
    """Share of the rest of it which a mitigation's lines have in common in all groups of the task."""
    difficulty: float = 0.25
    """Share of an answer's variance that is in the example, whichever model answers."""
    of_model: float = 0.25
    """Share that is in the example and the model, whatever the seed: what a pretrained network knows."""
    inherited: float = 0.15
    """Share that is in the example and the seed: errors of the supervisor that its students inherit."""

    @property
    def rest(self) -> float:
        """Share that is drawn anew for every answer."""
        return 1 - self.difficulty - self.of_model - self.inherited


def draw(
    world: World,
    truth: np.ndarray,
    rng: np.random.Generator,
    spread: np.ndarray | float = 1.0,
    model: Sequence[int] | None = None,
    kin: Sequence[int] | None = None,
) -> np.ndarray:
    """Returns right or wrong, [..., L, S, n] of 0 and 1, of lines with these true accuracies [..., L].

    Leading axes are boards. `spread` [L] scales each line's own seed noise. Lines of one `model` [L] know the same
    examples, lines of one `kin` [L] share noise; without them each line has noise of its own.
    """
    *boards, lines = truth.shape
    least = -_levels(world, truth, rng, spread, kin).astype(np.float32)
    models = np.arange(lines) if model is None else np.asarray(model)
    each = (*boards, world.seeds, world.n)
    once = (*boards, 1, world.n) if world.same_test else each
    common = _normal(rng, world.difficulty, once) + _normal(rng, world.inherited, each)
    right = np.empty((*boards, lines, world.seeds, world.n), dtype=np.int8)
    for m in range(models.max() + 1):
        base = common + _normal(rng, world.of_model, once)
        for line in np.flatnonzero(models == m):
            answer = _normal(rng, world.rest, each)
            answer += base
            right[..., line, :, :] = answer > least[..., line, :, None]
    return right


def draw_shares(world: World, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns accuracies [..., L, S] of lines with these true ones [..., L], each its own model; a test set a seed.

    What `draw` gives, much faster: examples come in GRADES of difficulty, and right answers of a grade are binomial.
    """
    level = _levels(world, truth, rng)
    examples = rng.multinomial(world.n, SHARES, size=(*truth.shape[:-1], 1, world.seeds))  # [..., 1, S, grades]
    answer = level[..., None] + np.sqrt(world.difficulty + world.inherited) * GRADES
    right = rng.binomial(examples, special.ndtr(answer / np.sqrt(world.of_model + world.rest)))  # [..., L, S, grades]
    return right.sum(-1) / world.n


GRADES, SHARES = np.polynomial.hermite_e.hermegauss(12)
"""Values, and how often each is drawn, that represent a standard normal draw: Gauss and Hermite's, so that accuracies
and their covariances are those of the normal one."""
SHARES = SHARES / SHARES.sum()


def _normal(rng: np.random.Generator, variance: float, shape: tuple[int, ...]) -> np.ndarray:
    """Returns normal draws of mean 0, from 2^16 equally likely values: in a third of the time of exact ones."""
    return _quantiles(variance).take(np.frombuffer(rng.bytes(2 * math.prod(shape)), dtype=np.uint16)).reshape(shape)


@functools.cache
def _quantiles(variance: float) -> np.ndarray:
    return (special.ndtri((np.arange(2**16) + 0.5) / 2**16) * np.sqrt(variance)).astype(np.float32)


def _levels(
    world: World,
    truth: np.ndarray,
    rng: np.random.Generator,
    spread: np.ndarray | float = 1.0,
    kin: Sequence[int] | None = None,
) -> np.ndarray:
    """Returns [..., L, S], what is added to an answer's draws of total variance 1 at each seed."""
    at = special.ndtri(truth)
    # what moves the accuracy by `noise` moves the level by noise / density
    scale = world.noise * np.sqrt(2 * np.pi) * np.exp(at**2 / 2)
    line_noise = np.sqrt(1 - world.common) * np.broadcast_to(spread, truth.shape)
    middle = at * np.sqrt(1 + scale**2 * (world.common + line_noise**2))
    seed = rng.standard_normal((*truth.shape[:-1], 1, world.seeds))
    line = rng.standard_normal((*truth.shape, world.seeds))
    if kin is not None:
        together = rng.standard_normal((*truth.shape, world.seeds))[..., np.asarray(kin), :]
        line = np.sqrt(1 - world.together) * line + np.sqrt(world.together) * together
    shift = np.sqrt(world.common) * seed + line_noise[..., None] * line
    return middle[..., None] + scale[..., None] * shift


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
    """Returns a board's design: `truths` has, for each task, its groups as (floor, ceiling, PGRs [M] of `stacks`).

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
        kin = np.arange(len(accuracy)).reshape(len(groups), -1)
        kin[:, 2:] = kin[0, 2:]
        spreads = np.tile(np.concatenate([[1.0, 1.0], np.broadcast_to(spread, len(stacks))]), len(groups))
        right = draw(world, np.array(accuracy), rng, spreads, model.tolist(), kin.ravel().tolist())
        blocks[f"task{t}"] = block_of(right, world.same_test)
    return Design(blocks, where)
