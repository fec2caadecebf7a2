"""The split rule for data that comes as one table: by seed, groups whole, classes in equal numbers. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from w2s_bench.errors import UsageError
from w2s_bench.interfaces import SPLITS, Sizes
from w2s_bench.seeds import derive

SHARES = {"supervision": 8, "transfer": 8, "validation": 1, "test": 8}
"""How splits share too few examples: in these parts, except that none gets more than was asked for."""


def split_examples(
    truth: np.ndarray,
    sizes: Sizes,
    seed: int,
    *,
    group: Sequence[str] | None = None,
    in_test: np.ndarray | None = None,
    balance: bool = True,
    class_names: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Returns positions by split, each in a seeded order that owes nothing to the truth.

    `truth` [N] are class numbers from 0. `in_test` [N] booleans fix the test split: it is then the same for every
    seed (a fixed draw where it has more than `n_test`), and the other splits come from the rest. With `balance`
    every split has each class equally often, by leaving examples out. Examples of one `group` share a split.
    Splits are as large as asked or, where the data is short, shrunk by `SHARES`; a UsageError if one would be empty.
    """
    truth = np.asarray(truth)
    names = [str(c) for c in range(int(truth.max()) + 1)] if class_names is None else list(class_names)
    strata, names = (truth, names) if balance else (np.zeros(len(truth), dtype=np.int64), ["any"])
    number: dict[str, int] = {}
    unit = np.array(range(len(truth)) if group is None else [number.setdefault(g, len(number)) for g in group])
    wanted = {s: int(getattr(sizes, f"n_{s}")) for s in SPLITS}
    everything = np.arange(len(truth))
    if in_test is None:
        return _draw(wanted, everything, strata, names, unit, seed)
    in_test = np.asarray(in_test, dtype=bool)
    straddling = np.intersect1d(unit[in_test], unit[~in_test])
    if len(straddling):
        name = group[int(np.flatnonzero(unit == straddling[0])[0])] if group is not None else ""
        raise UsageError(
            f"group {name!r} has examples inside and outside the given test split ({len(straddling)} such groups): "
            "keep each group on one side, or leave out the split column to have the splits drawn"
        )
    test = _draw({"test": wanted.pop("test")}, everything[in_test], strata, names, unit, derive(0, "test split"))
    return {**_draw(wanted, everything[~in_test], strata, names, unit, seed), **test}


def _draw(
    wanted: dict[str, int], at: np.ndarray, strata: np.ndarray, names: list[str], unit: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Returns positions out of `at` for each wanted split."""
    rng = np.random.default_rng(seed)
    for split, n in wanted.items():
        if n < len(names):
            raise UsageError(f"n_{split}={n}: a split needs at least one example of each class ({len(names)})")
    have = np.bincount(strata[at], minlength=len(names))
    quota = shrink({s: n // len(names) for s, n in wanted.items()}, int(have.min()))
    dealt = _deal(quota, at, strata, unit, len(names), rng)
    out = {}
    for split, by_class in dealt.items():
        n = min(len(rows) for rows in by_class)
        if n == 0:
            rarest = int(have.argmin())
            raise UsageError(
                f"too few examples: split {split!r} would be empty. {', '.join(wanted)} come from {len(at)} examples, "
                f"of class {names[rarest]!r} there are {have[rarest]}; give more data or fewer, smaller groups"
            )
        # From the order of the file, so that the order within a split tells nothing of how classes were picked.
        out[split] = rng.permutation(np.sort(np.concatenate([rows[:n] for rows in by_class])))
    return out


def shrink(wanted: dict[str, int], available: int) -> dict[str, int]:
    """Returns sizes that sum to no more than `available`, at least 1 each; unchanged where there is enough."""
    if sum(wanted.values()) <= available:
        return dict(wanted)
    out, pending, left = {}, dict(wanted), available
    while pending:
        level = left / sum(SHARES[s] for s in pending)
        small = {s: n for s, n in pending.items() if n <= SHARES[s] * level}
        if not small:
            out.update({s: max(int(SHARES[s] * level), 1) for s in pending})
            break
        out.update(small)
        left -= sum(small.values())
        pending = {s: n for s, n in pending.items() if s not in small}
    return {s: out[s] for s in wanted}


def _deal(
    quota: dict[str, int],
    at: np.ndarray,
    strata: np.ndarray,
    unit: np.ndarray,
    n_classes: int,
    rng: np.random.Generator,
) -> dict[str, list[list[int]]]:
    """Returns positions by split and class: whole groups, in random order, each to the split that is emptiest yet."""
    splits = list(quota)
    full = np.repeat(np.array(list(quota.values()), dtype=float)[:, None], n_classes, axis=1)  # [splits, classes]
    need = full.copy()
    dealt: dict[str, list[list[int]]] = {s: [[] for _ in range(n_classes)] for s in splits}
    rows = at[np.argsort(unit[at], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(unit[rows]) != 0, True])
    for u in rng.permutation(len(starts) - 1):
        members = rows[starts[u] : starts[u + 1]]
        present = np.unique(strata[members])
        missing = need[:, present].sum(1) / full[:, present].sum(1)
        best = int(missing.argmax())
        if missing[best] <= 0:
            if not need.any():
                break
            continue
        for row in members.tolist():
            c = int(strata[row])
            if need[best, c] > 0:
                need[best, c] -= 1
                dealt[splits[best]][c].append(row)
    return dealt
