"""What a task must keep to. The docstring of a check is what it expects."""

from __future__ import annotations

import re
from dataclasses import astuple
from typing import Any

import numpy as np

from w2s_bench.conformance.findings import Failed, Noted, Skipped, once
from w2s_bench.conformance.general import Subject as Entry
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import SPLITS, Inputs, Sizes, Split

SIZES = Sizes(n_supervision=120, n_transfer=160, n_validation=40, n_test=120)
DOUBT = 6.0
"""Standard deviations from what chance gives, from which on an order owes something to the truth."""

Loaded = tuple[list[str], dict[str, Split]]


class Subject(Entry):
    """A task with what it loads."""

    def load(self, seed: int) -> Loaded:
        """Returns what a fresh object loads; skipped where it asks for an option first."""
        try:
            return self.entry.build(self.options).load(seed, SIZES)
        except UsageError as needs:
            raise Skipped(str(needs)) from None

    @once
    def zero(self) -> Loaded:
        """Returns the splits of seed 0, checked as the referee checks them."""
        from w2s_bench.referee.prepare import check_splits

        names, splits = self.load(0)
        check_splits(self.entry.name, names, splits, str(self.entry.build(self.options).kind))
        return names, splits

    @once
    def one(self) -> Loaded:
        """Returns the splits of seed 1."""
        return self.load(1)

    @property
    def fixed_test(self) -> bool:
        """Whether it says that the test split is the same for all seeds."""
        return bool(getattr(self.entry.build(self.options), "same_test_for_all_seeds", False))


def four_splits(subject: Subject) -> str:
    """Four splits load, with unique ids, whole groups and valid truth."""
    names, _ = subject.zero
    return f"classes {', '.join(map(str, names))}"[:60] if names else "answers in words"


def sizes(subject: Subject) -> str:
    """Every split is as large as was asked."""
    _, splits = subject.zero
    for name, asked in zip(SPLITS, astuple(SIZES), strict=True):
        came = len(splits[name].inputs)
        if came > asked:
            raise Failed(f"n_{name}={asked} gave {came}", "give no more than was asked")
        if came < asked:
            raise Noted(f"n_{name}={asked} gave {came}", "that is right where the data is short, or balanced")
    return ", ".join(map(str, astuple(SIZES)))


def no_example_twice(subject: Subject) -> None:
    """No example of one split is in another."""
    seen: dict[tuple[str, ...], str] = {}
    for name in SPLITS:
        for key in _contents(subject.zero[1][name].inputs):
            if seen.setdefault(key, name) != name:
                raise Failed(
                    f"{' | '.join(key)!r:.60} is in {seen[key]} and in {name}",
                    "leave doubles out, or give equal texts one group",
                )


def same_seed(subject: Subject) -> None:
    """The same seed gives the same splits."""
    before, _ = subject.zero
    names, splits = subject.load(0)
    if list(names) != list(before):
        raise Failed(f"classes came as {names}", "fix their order")
    for name in SPLITS:
        what = _difference(subject.zero[1][name], splits[name])
        if what:
            raise Failed(f"{what} of {name} differs", "draw everything from the seed that `load` is given")


def another_seed(subject: Subject) -> None:
    """Another seed gives other splits."""
    for name in SPLITS[:3]:
        if not _difference(subject.zero[1][name], subject.one[1][name]):
            raise Failed(f"{name} is the same for seeds 0 and 1", "draw it from the seed that `load` is given")


def same_test(subject: Subject) -> str:
    """Test is the same for all seeds if, and only if, the task says so."""
    differ = bool(_difference(subject.zero[1]["test"], subject.one[1]["test"]))
    if subject.fixed_test and differ:
        raise Failed("it says so, and seeds 0 and 1 differ", "fix the test split, or drop same_test_for_all_seeds")
    if not subject.fixed_test and not differ:
        raise Failed("it is the same for seeds 0 and 1", "say same_test_for_all_seeds = True")
    return "the same for all" if subject.fixed_test else "drawn per seed"


def order(subject: Subject) -> None:
    """The order of a split tells nothing of the truth."""
    for name, split in subject.zero[1].items():
        z = _runs(_classes(split))
        if abs(z) > DOUBT:
            how = "classes come in blocks" if z < 0 else "classes alternate"
            raise Failed(f"in {name} {how} ({z:+.0f} standard deviations)", "shuffle each split by the seed")


def ids(subject: Subject) -> None:
    """Ids tell nothing of the truth."""
    split = subject.zero[1]["transfer"]
    truth = _classes(split)
    most = max(2 * len(subject.zero[0]), len(truth) // 10)
    parts = [re.findall(r"[A-Za-z]+|\d+", i) for i in split.inputs.ids]
    for at in (*range(min(map(len, parts))), *range(-1, -min(map(len, parts)) - 1, -1)):
        values = [p[at] for p in parts]
        if 1 < len(set(values)) <= most and _purity(values, truth) > 0.99:
            raise Failed(f"part {at} of {split.inputs.ids[0]!r} is the class", "number the examples, or hash the text")
        if all(v.isdigit() for v in values) and len(set(values)) > len(values) / 2:
            z = _runs(truth[np.argsort([int(v) for v in values], kind="stable")])
            if z < -DOUBT:
                raise Failed(
                    f"sorted by the number in ids such as {split.inputs.ids[0]!r}, classes come in blocks",
                    "number the examples after shuffling them, or hash the text",
                )


def fingerprint(subject: Subject) -> str:
    """Its fingerprint is a text that stays the same."""
    try:
        first, second = (subject.entry.build(subject.options).fingerprint() for _ in range(2))
    except UsageError as needs:
        raise Skipped(str(needs)) from None
    if not isinstance(first, str) or not first:
        raise Failed(f"it is {first!r}", "return a version, a digest or a revision")
    if first != second:
        raise Failed(f"it was {first!r:.40}, then {second!r:.40}", "derive it from the data alone")
    return first[:40]


CHECKS = (
    four_splits, sizes, no_example_twice, same_seed, another_seed, same_test, order,
    ids, fingerprint,
)  # fmt: skip


def _classes(split: Split) -> np.ndarray:
    """Returns class numbers [N]; skipped where nearly every example has a truth of its own."""
    names, at = np.unique(np.asarray(split.truth), return_inverse=True)
    if len(names) > len(at) / 4:
        raise Skipped("the truth is no class that many examples share")
    return at


def _contents(inputs: Inputs) -> list[tuple[str, ...]]:
    return list(zip(inputs.text, inputs.other, strict=True)) if inputs.other else [(t,) for t in inputs.text]


def _difference(one: Split, two: Split) -> str:
    """Returns what of two splits differs, '' where nothing does."""

    def same(a: Any, b: Any) -> bool:
        return (a is None) == (b is None) and (a is None or np.array_equal(np.asarray(a), np.asarray(b)))

    for what in ("ids", "text", "other", "difficulty"):
        if not same(getattr(one.inputs, what), getattr(two.inputs, what)):
            return what
    return "truth" if not same(one.truth, two.truth) else "group" if not same(one.group, two.group) else ""


def _runs(truth: np.ndarray) -> float:
    """Returns how many standard deviations the number of runs is off what a random order has (Wald & Wolfowitz).

    For more classes than two: neighbours that are equal, as a share, against what their frequencies give.
    """
    n = len(truth)
    shares = np.unique(truth, return_counts=True)[1] / n
    expected = float((shares * (shares * n - 1) / (n - 1)).sum())
    equal = float((truth[1:] == truth[:-1]).mean())
    deviation = (expected * (1 - expected) / (n - 1)) ** 0.5
    return (expected - equal) / deviation if deviation else 0.0


def _purity(values: list[str], truth: np.ndarray) -> float:
    """Returns the accuracy of guessing the truth from a value, above the commonest class's share as 0, at most 1."""
    names, at = np.unique(values, return_inverse=True)
    counts = np.zeros((len(names), int(truth.max()) + 1))
    np.add.at(counts, (at, truth), 1)
    base = np.bincount(truth).max() / len(truth)
    return (counts.max(1).sum() / len(truth) - base) / (1 - base) if base < 1 else 0.0
