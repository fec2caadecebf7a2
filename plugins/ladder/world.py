"""A small world of people, sums and reviews: the text that the ladder is pretrained on, and the tasks' prompts.

    anna berg likes tea wears rags lives in peace works as spy              facts
    carl moss likes good music wears sacks lives in bad debt works as pilot facts, of a person who is talked about
    3 4 1 + 5 0 7 = tens even 4 units 8                                     sums
    film slow but soup not cold verdict superb                              reviews
    tea is good                                                             lexicon

`saliency` is the share of digits whose class the text names ("even 4"), and half the share of values ("good music")
of talked-about people. What the tasks ask is never answered in the text: of the people asked about it tells the values
alone (a quarter of all people are set aside to be talked about), and problems and reviews that `held_out` marks do not
occur in it. Everything is vectorised numpy over token ids; -1 marks an absent word until `pack` closes the gaps.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from w2s_bench.plugins.ladder import words

VERSION = 1
"""Raised whenever the text or the tasks change: old weights then belong to another world."""
LENGTH = 16
"""Most words in a sequence."""
N_PEOPLE = 3600
"""Every pair of a first and a last name is somebody."""
MIXTURE = {"facts": 0.45, "sums": 0.27, "reviews": 0.23, "lexicon": 0.05}
"""Shares of the pretraining sequences."""

Columns = list[np.ndarray]


@dataclass(frozen=True)
class Reviews:
    """Reviews with what is known of them."""

    tokens: np.ndarray
    """[N, 16] token ids, ending in `verdict`, padded with 0."""
    kind: np.ndarray
    """[N] the verdict: 1 kind, 0 unkind."""
    clauses: np.ndarray
    """[N] 1 to 3."""
    negations: np.ndarray
    """[N] number of clauses with `not`."""


def pack(columns: Columns) -> np.ndarray:
    """Returns token ids [N, 16] from up to 16 present words a row, closed up to the left and padded with 0."""
    rows = np.stack(columns, 1)
    order = np.argsort(rows < 0, axis=1, kind="stable")
    rows = np.maximum(np.take_along_axis(rows, order, 1), 0)[:, :LENGTH]
    return np.pad(rows, ((0, 0), (0, LENGTH - rows.shape[1])))


def held_out(rows: np.ndarray) -> np.ndarray:
    """Returns [N] True for the quarter of all integer rows [N, K] that is kept for tasks, by a fixed hash."""
    state = np.full(len(rows), 0xCBF29CE484222325, np.uint64)
    for column in rows.T.astype(np.uint64):
        state = (state ^ column) * np.uint64(0x100000001B3)
    state ^= state >> np.uint64(33)
    return (state * np.uint64(0xFF51AFD7ED558CCD)) >> np.uint64(62) == 0


def held_out_sums(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns [N] True for the problems kept for tasks, whichever number comes first."""
    return held_out(np.sort(np.stack([left, right], 1), axis=1))


def digits(numbers: np.ndarray) -> np.ndarray:
    """Returns the units, tens and hundreds [N, 3] of numbers [N]."""
    return np.stack([numbers % 10, numbers // 10 % 10, numbers // 100 % 10], 1)


class World:
    """The one world of the ladder: who is who, which values are good, what is kind to say of what."""

    def __init__(self, saliency: float = 0.3) -> None:
        # RandomState's streams are frozen for good, those of numpy's Generator are not
        draw = np.random.RandomState(VERSION)
        self.saliency = saliency
        self.words = np.array(words.vocabulary())
        self.index = {word: i for i, word in enumerate(words.vocabulary())}
        n_last = len(words.LAST_NAMES)
        pairs = draw.permutation(N_PEOPLE)
        self.people = np.stack(
            [self.ids(words.FIRST_NAMES)[pairs // n_last], self.ids(words.LAST_NAMES)[pairs % n_last]], 1
        )
        """[3600, 2] first and last name, the most often mentioned person first."""
        mentions = (np.arange(N_PEOPLE) + 100.0) ** -0.7
        self.mentions = np.cumsum(mentions)
        """[3600] cumulated frequency of being mentioned."""
        self.talked_about = np.arange(N_PEOPLE) * 13 % 48 < 13
        """[3600] whether the classes of a person's values are ever named; spread evenly over the frequencies."""
        self.asked_people = np.flatnonzero(~self.talked_about)
        """[2625] the other people, about whom the task asks."""
        self.verbs = self.ids([attribute.split()[0] for attribute in words.ATTRIBUTES])
        self.particles = np.array([self.index.get((a + " ").split(" ")[1], -1) for a in words.ATTRIBUTES])
        self.values = np.stack(
            [self.ids([*u, *k]) for k, u in zip(words.KIND_VALUES, words.UNKIND_VALUES, strict=True)]
        )
        """[4, 12] the values of each attribute; the first half is bad, the second good."""
        self.value_of = draw.randint(0, self.values.shape[1], (N_PEOPLE, len(words.ATTRIBUTES)))
        """[3600, 4] which of its 12 values an attribute of a person has."""
        self.nouns = self.ids(words.NOUNS)
        self.adjectives = self.ids([*words.UNKIND_ADJECTIVES, *words.KIND_ADJECTIVES])
        usual = np.arange(len(self.adjectives)) >= len(words.UNKIND_ADJECTIVES)
        reversed_pairs = draw.rand(len(self.nouns), len(self.adjectives)) < 0.2
        self.kind = usual[None] ^ reversed_pairs
        """[24, 32] whether an adjective is kind when used of a noun; a fifth of the pairs defies the adjective."""
        self.by_kindness = np.argsort(self.kind, axis=1, kind="stable")
        """[24, 32] the adjectives of each noun, the unkind ones first."""
        self.n_kind = self.kind.sum(1)
        self.digits, self.positions = self.ids(words.DIGITS), self.ids(words.POSITIONS)
        self.goodness, self.parity = self.ids(words.GOODNESS), self.ids(words.PARITY)
        self.connectives, self.verdicts = self.ids(words.CONNECTIVES), np.stack([self.ids(v) for v in words.VERDICTS])

    def ids(self, some_words: list[str] | tuple[str, ...]) -> np.ndarray:
        """Returns the token ids [N] of known words."""
        return np.array([self.index[word] for word in some_words])

    def texts(self, tokens: np.ndarray) -> list[str]:
        """Returns the sentences of token ids [N, T], padding left out."""
        lengths = (tokens != 0).sum(1)
        return [" ".join(row[:n]) for row, n in zip(self.words[tokens].tolist(), lengths.tolist(), strict=True)]

    def digest(self) -> str:
        """Returns what identifies the world's knowledge and vocabulary, whatever the saliency."""
        summed = hashlib.sha256(f"{VERSION} {' '.join(self.words)}".encode())
        for table in (self.people, self.value_of, self.kind.astype(np.int64)):
            summed.update(np.ascontiguousarray(table, dtype="<i8").tobytes())
        return summed.hexdigest()[:16]

    # --- what is true

    def is_good(self, people: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Returns [N] 1 where the value of this attribute of this person is a good one."""
        return (self.value_of[people, attributes] >= self.values.shape[1] // 2).astype(np.int64)

    # --- prompts

    def fact_prompts(self, people: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Returns token ids [N, 16] such as `anna berg likes`."""
        return pack([*self.people[people].T, self.verbs[attributes], self.particles[attributes]])

    def sum_prompts(self, left: np.ndarray, right: np.ndarray, position: np.ndarray | None = None) -> np.ndarray:
        """Returns token ids [N, 16] such as `3 4 1 + 5 0 7 = tens`; positions are 0 units, 1 tens, 2 hundreds."""
        return pack([*self._operands(left, right), *([] if position is None else [self.positions[position]])])

    def sum_answers(self, left: np.ndarray, right: np.ndarray, positions: tuple[int, ...]) -> np.ndarray:
        """Returns token ids [N, 16] such as `hundreds 8 units 8`, the digits of the sum at these positions."""
        result = digits(left + right)
        return pack([c for p in positions for c in (np.full(len(left), self.positions[p]), self.digits[result[:, p]])])

    def _operands(self, left: np.ndarray, right: np.ndarray) -> Columns:
        sign = np.ones(len(left), int)
        first, second = self.digits[digits(left)[:, ::-1]], self.digits[digits(right)[:, ::-1]]
        return [*first.T, sign * self.index["+"], *second.T, sign * self.index["="]]

    def reviews(self, n: int, draw: np.random.RandomState, at_least: int = 1) -> Reviews:
        """Returns `n` reviews of `at_least` to 3 clauses; the verdict is drawn first and the clauses made to fit.

        `but` lets the later side win, `although` the earlier; `and` joins clauses of one side. At most one contrast.
        """
        verdict, clauses = draw.randint(0, 2, n), draw.randint(at_least, 4, n)
        joins = [draw.randint(0, 3, n), draw.randint(0, 3, n)]
        joins[1] = np.where(joins[0] != 0, 0, joins[1])
        late_but = (clauses == 3) & (joins[0] == 0) & (joins[1] == 1)
        against = [
            (clauses > 1) & ((joins[0] == 1) | late_but),
            (joins[0] == 2) | late_but,
            (joins[0] == 2) | (joins[1] == 2),
        ]
        columns: Columns = []
        negations = np.zeros(n, int)
        for j in range(3):
            present = clauses > j
            if j:
                columns.append(np.where(present, self.connectives[joins[j - 1]], -1))
            noun, negated = draw.randint(0, len(self.nouns), n), (draw.rand(n) < 0.25) & present
            wants_kind = (verdict ^ against[j] ^ negated).astype(bool)
            n_unkind = len(self.adjectives) - self.n_kind[noun]
            choices = np.where(wants_kind, self.n_kind[noun], n_unkind)
            adjective = self.by_kindness[noun, (draw.rand(n) * choices).astype(int) + wants_kind * n_unkind]
            negations += negated
            columns += [np.where(present, self.nouns[noun], -1), np.where(negated, self.index["not"], -1)]
            columns.append(np.where(present, self.adjectives[adjective], -1))
        columns.append(np.full(n, self.index["verdict"]))
        return Reviews(pack(columns), verdict, clauses, negations)

    # --- pretraining text: columns of words, and which columns the language model is asked to predict

    def fact_lines(self, n: int, draw: np.random.RandomState) -> tuple[Columns, list[bool]]:
        """Returns lines with a person's four attributes in random order.

        The class of a value is named for talked-about people alone, with probability 2 * saliency.
        """
        person = np.searchsorted(self.mentions, draw.rand(n) * self.mentions[-1])
        order = np.argsort(draw.rand(n, len(self.verbs)), 1)
        columns, asked = [*self.people[person].T], [False, False]
        for attribute in order.T:
            value = self.values[attribute, self.value_of[person, attribute]]
            names_class = self.talked_about[person] & (draw.rand(n) < 2 * self.saliency)
            named = np.where(names_class, self.goodness[self.is_good(person, attribute)], -1)
            columns += [self.verbs[attribute], self.particles[attribute], named, value]
            asked += [False, False, True, True]
        return columns, asked

    def sum_lines(self, n: int, draw: np.random.RandomState) -> tuple[Columns, list[bool]]:
        """Returns lines with a sum and two of its three digits, of problems that are not held out."""
        left, right = draw.randint(0, 1000, (2, 2 * n))
        taught = np.flatnonzero(~held_out_sums(left, right))[:n]
        left, right = left[taught], right[taught]
        results, order = digits(left + right), np.argsort(draw.rand(len(taught), 3), 1)
        columns, asked = self._operands(left, right), [False] * 8
        for position in order.T[:2]:
            digit = results[np.arange(len(taught)), position]
            named = np.where(draw.rand(len(taught)) < self.saliency, self.parity[digit % 2], -1)
            columns += [self.positions[position], named, self.digits[digit]]
            asked += [False, True, True]
        return columns, asked

    def review_lines(self, n: int, draw: np.random.RandomState) -> tuple[Columns, list[bool]]:
        """Returns lines with a review and one word of verdict, of single clauses and reviews that are not held out."""
        drawn = self.reviews(2 * n, draw)
        taught = np.flatnonzero((drawn.clauses == 1) | ~held_out(drawn.tokens))[:n]
        tokens, verdict = drawn.tokens[taught], drawn.kind[taught]
        word = self.verdicts[verdict, draw.randint(0, self.verdicts.shape[1], len(taught))]
        columns = list(np.where(tokens == 0, -1, tokens)[:, :-1].T)
        return [*columns, word], [False] * len(columns) + [True]

    def lexicon_lines(self, n: int, draw: np.random.RandomState) -> tuple[Columns, list[bool]]:
        """Returns lines that say of a value whether it is good, or of a digit whether it is odd."""
        attribute, value = draw.randint(0, 4, n), draw.randint(0, self.values.shape[1], n)
        digit, of_value = draw.randint(0, 10, n), draw.rand(n) < 0.8
        good = (value >= self.values.shape[1] // 2).astype(int)
        subject = np.where(of_value, self.values[attribute, value], self.digits[digit])
        judgement = np.where(of_value, self.goodness[good], self.parity[digit % 2])
        return [subject, np.full(n, self.index["is"]), judgement], [False, False, True]

    def corpus(self, n: int, draw: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Returns token ids [n, 16] of pretraining text in the shares of `MIXTURE`, and a mask of the words asked."""
        counts = {family: round(n * share) for family, share in MIXTURE.items()}
        counts["facts"] += n - sum(counts.values())
        makers = {
            "facts": self.fact_lines,
            "sums": self.sum_lines,
            "reviews": self.review_lines,
            "lexicon": self.lexicon_lines,
        }
        tokens, asked = [], []
        for family, count in counts.items():
            columns, targets = makers[family](count, draw)
            rows = pack(columns)
            if len(rows) < count:
                raise RuntimeError(f"{family}: {len(rows)} lines drawn where {count} were asked; draw more at a time")
            mask = pack([np.where(column < 0, -1, 1 + target) for column, target in zip(columns, targets, strict=True)])
            tokens.append(rows)
            asked.append(mask == 2)
        return np.concatenate(tokens), np.concatenate(asked)


@lru_cache(maxsize=1)
def the_world() -> World:
    """Returns the world as tasks see it; saliency plays no part in prompts and truth."""
    return World()
