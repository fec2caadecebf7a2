"""Generated tasks with perfect ground truth, answered by what the ladder learned in pretraining.

Every task is drawn anew for each seed, test split included. Labels follow from the world (`plugins/ladder/world.py`),
never from a model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import SPLITS, Inputs, Sizes, Split
from w2s_bench.plugins.ladder.world import VERSION, World, digits, held_out, held_out_sums, the_world


@hookimpl
def register_tasks(register) -> None:
    register("facts", Facts)
    register("sums", Sums)
    register("reviews", Reviews)
    register("reviews_pairs", ReviewsPairs)
    register("sums_gen", SumsGen)


class _FromWorld:
    """What the tasks share: drawn per seed, identified by the world."""

    kind: ClassVar[str] = "classification"
    same_test_for_all_seeds: ClassVar[bool] = False

    def fingerprint(self) -> str:
        """Returns the version and digest of the world."""
        return f"world-{VERSION}-{the_world().digest()}"


class Facts(_FromWorld):
    """Is what this person likes, does, wears or lives in a good thing? `anna berg likes` -> good, for she likes tea.

    Pretraining text tells the values, never their classes, of these 10,500 pairs of person and attribute. Splits share
    no person. Difficulty is the person's rank by frequency in the pretraining text.
    """

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns the classes bad and good, and splits of at most 2625 people together, 4 examples each."""
        world = the_world()
        draw = np.random.RandomState([VERSION, 1, seed])
        n_attributes = len(world.verbs)
        wanted = _sizes(sizes)
        n_people = [-(-n // n_attributes) for n in wanted]
        _at_most("facts", sum(n_people) * n_attributes, len(world.asked_people) * n_attributes)
        people = draw.permutation(world.asked_people)
        splits = {}
        for name, n, start, count in zip(SPLITS, wanted, _starts(n_people), n_people, strict=True):
            pairs = np.stack(
                [np.repeat(people[start : start + count], n_attributes), np.arange(count * n_attributes)], 1
            )
            person, attribute = draw.permutation(pairs)[:n].T
            attribute %= n_attributes
            splits[name] = Split(
                Inputs(
                    ids=[f"facts-{p}-{a}" for p, a in zip(person, attribute, strict=True)],
                    text=world.texts(world.fact_prompts(person, attribute)),
                    difficulty=person.astype(float),
                ),
                truth=world.is_good(person, attribute),
                group=[f"person-{p}" for p in person],
            )
        return ["bad", "good"], splits


class Sums(_FromWorld):
    """Is a digit of a sum odd? `3 4 1 + 5 0 7 = tens` -> even, for 848 has a 4 there.

    Problems are of the quarter that pretraining text never shows, in either order; none is asked twice. Difficulty is 0
    for units, 1 and 2 for tens, 3 and 4 for hundreds, the higher where a carry arrives.
    """

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns the classes even and odd, and splits of at most about 125,000 problems together."""
        world = the_world()
        draw = np.random.RandomState([VERSION, 2, seed])
        wanted = _sizes(sizes)
        left, right = _draw_problems("sums", sum(wanted), draw)
        position = draw.randint(0, 3, len(left))
        truth = digits(left + right)[np.arange(len(left)), position] % 2
        unit = 10**position
        carry = left % unit + right % unit >= unit
        difficulty = np.where(position == 0, 0, 2 * position - 1 + carry).astype(float)
        text = world.texts(world.sum_prompts(left, right, position))
        ids = [f"sums-{a}-{b}-{p}" for a, b, p in zip(left, right, position, strict=True)]
        return ["even", "odd"], _cut(wanted, ids, text, difficulty, truth)


class SumsGen(_FromWorld):
    """What are the hundreds and the units of a sum? `3 4 1 + 5 0 7 =` -> `hundreds 8 units 8`, for 848.

    The form is that of the pretraining text, which tells two digits of each sum. Problems are those of the task sums:
    never shown, in either order, and none is asked twice. Difficulty is the number of carries, 0 to 2.
    """

    kind: ClassVar[str] = "generation"

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns no class names, and splits of at most about 125,000 problems together."""
        world = the_world()
        wanted = _sizes(sizes)
        left, right = _draw_problems("sums_gen", sum(wanted), np.random.RandomState([VERSION, 5, seed]))
        carries = sum((left % unit + right % unit >= unit).astype(float) for unit in (10, 100))
        ids = [f"sums-gen-{a}-{b}" for a, b in zip(left, right, strict=True)]
        truth = np.array(world.texts(world.sum_answers(left, right, (2, 0))))
        return [], _cut(wanted, ids, world.texts(world.sum_prompts(left, right)), np.asarray(carries), truth)

    def check(self, answer: str, truth: str, text: str) -> bool:
        """Returns whether the answer gives the same digits; the words must be in the same order."""
        return answer.split() == truth.split()


class Reviews(_FromWorld):
    """Is a review kind? `film slow but soup not cold verdict` -> kind: after `but` the later clause wins.

    What an adjective means depends on its noun: a fifth of the pairs goes against the adjective. Reviews are of the
    quarter that pretraining text never shows. Difficulty is the number of clauses (2 or 3) and of negations together.
    """

    maximum: ClassVar[int] = 100_000

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns the classes unkind and kind, and splits of at most 100,000 different reviews together."""
        world = the_world()
        wanted = _sizes(sizes)
        _at_most("reviews", sum(wanted), self.maximum)
        tokens, kind, difficulty = _different_reviews(world, sum(wanted), np.random.RandomState([VERSION, 3, seed]))
        text = world.texts(tokens)
        ids = [_text_id("reviews", review) for review in text]
        return ["unkind", "kind"], _cut(wanted, ids, text, difficulty, kind)


class ReviewsPairs(_FromWorld):
    """Which of two reviews is the kinder? A kind one and an unkind one, in random order; no review is shown twice.

    Difficulty is that of the harder of the two, as in the task reviews.
    """

    kind: ClassVar[str] = "preference"
    maximum: ClassVar[int] = 50_000

    def load(self, seed: int, sizes: Sizes) -> tuple[list[str], dict[str, Split]]:
        """Returns the classes first and second, and splits of at most 50,000 pairs together."""
        world = the_world()
        wanted = _sizes(sizes)
        n = sum(wanted)
        _at_most("reviews_pairs", n, self.maximum)
        draw = np.random.RandomState([VERSION, 4, seed])
        # both kinds come up equally often: ten standard deviations more than 2n hold n of each
        tokens, kind, difficulty = _different_reviews(world, 2 * n + 10 * int((2 * n) ** 0.5) + 10, draw)
        pairs = np.stack([np.flatnonzero(kind == wish)[:n] for wish in (0, 1)], 1)
        truth = draw.randint(0, 2, n)
        pairs = np.where(truth[:, None] == 1, pairs, pairs[:, ::-1])
        first, second = world.texts(tokens[pairs[:, 0]]), world.texts(tokens[pairs[:, 1]])
        ids = [_text_id("reviews-pairs", a, b) for a, b in zip(first, second, strict=True)]
        return ["first", "second"], _cut(wanted, ids, first, difficulty[pairs].max(1), truth, second)


@lru_cache(maxsize=1)
def _held_out_problems() -> np.ndarray:
    """Returns [about 125,000, 2] pairs of numbers kept for tasks, the smaller first."""
    pairs = np.stack(np.triu_indices(1000), 1)
    return pairs[held_out_sums(*pairs.T)]


def _draw_problems(task: str, n: int, draw: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Returns `n` different held-out problems as left and right numbers [n], in random order each."""
    problems = _held_out_problems()
    _at_most(task, n, len(problems))
    chosen = problems[draw.permutation(len(problems))[:n]]
    swapped = draw.rand(len(chosen)) < 0.5
    left, right = np.where(swapped[:, None], chosen[:, ::-1], chosen).T
    return left, right


def _different_reviews(world: World, n: int, draw: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (token ids [n, 16], kind [n], difficulty [n]) of held-out reviews, none twice."""
    drawn = world.reviews(5 * n + 100, draw, at_least=2)
    kept = np.flatnonzero(held_out(drawn.tokens))
    # rows as raw bytes: a fast way to find equal reviews
    rows = np.ascontiguousarray(drawn.tokens[kept].astype("<u2"))
    _, first = np.unique(rows.view(f"V{rows.shape[1] * 2}")[:, 0], return_index=True)
    kept = kept[np.sort(first)][:n]
    if len(kept) < n:
        raise UsageError(f"reviews: only {len(kept)} different reviews were drawn where {n} were asked; ask for fewer")
    return drawn.tokens[kept], drawn.kind[kept], (drawn.clauses + drawn.negations)[kept].astype(float)


def _text_id(task: str, *texts: str) -> str:
    return f"{task}-{hashlib.blake2b(chr(10).join(texts).encode(), digest_size=8).hexdigest()}"


def _sizes(sizes: Sizes) -> list[int]:
    return [getattr(sizes, f"n_{name}") for name in SPLITS]


def _starts(counts: Sequence[int]) -> list[int]:
    return [sum(counts[:i]) for i in range(len(counts))]


def _at_most(task: str, asked: int, maximum: int) -> None:
    if asked > maximum:
        raise UsageError(
            f"{task}: {asked:,} examples asked over all splits, {maximum:,} exist; "
            "lower n_supervision, n_transfer, n_validation or n_test"
        )


def _cut(
    wanted: list[int],
    ids: list[str],
    text: list[str],
    difficulty: np.ndarray,
    truth: np.ndarray,
    other: list[str] | None = None,
) -> dict[str, Split]:
    """Returns the four splits, cut one after the other from examples in random order."""
    splits = {}
    for name, start, n in zip(SPLITS, _starts(wanted), wanted, strict=True):
        part = slice(start, start + n)
        inputs = Inputs(ids[part], text[part], None if other is None else other[part], difficulty[part])
        splits[name] = Split(inputs, truth[part])
    return splits
