"""The usable rows of a table, and which of them a task draws from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from w2s_bench.interfaces import Inputs
from w2s_bench.plugins.tables.columns import opaque
from w2s_bench.seeds import derive


@dataclass(frozen=True)
class Rows:
    """The usable rows, checked."""

    ids: list[str]
    text: list[str]
    other: list[str] | None
    truth: np.ndarray | None
    """None for chosen and rejected: which one comes first is drawn per split."""
    class_names: list[str]
    group: list[str] | None
    difficulty: np.ndarray | None
    in_test: np.ndarray | None
    notes: tuple[str, ...]

    def take(self, at: Sequence[int]) -> Rows:
        """Returns the rows at these positions."""
        taken = Inputs(self.ids, self.text, self.other, self.difficulty).take(at)
        return replace(
            self,
            ids=taken.ids,
            text=taken.text,
            other=taken.other,
            difficulty=taken.difficulty,
            truth=None if self.truth is None else self.truth[at],
            in_test=None if self.in_test is None else self.in_test[at],
            group=None if self.group is None else [self.group[i] for i in at],
        )


def with_text_groups(rows: Rows) -> Rows:
    """Returns the rows with equal texts as groups, without those training rows whose text is in the test split."""
    group = [opaque(t, o) for t, o in zip(rows.text, rows.other or [""] * len(rows.text), strict=True)]
    if rows.in_test is None:
        return replace(rows, group=group)
    seen = {g for g, tested in zip(group, rows.in_test, strict=True) if tested}
    at = [i for i, g in enumerate(group) if rows.in_test[i] or g not in seen]
    return replace(rows, group=group).take(at)


def drawn_once(rows: Rows, number: int) -> Rows:
    """Returns `number` rows, of training and of test rows each where the table tells them apart; groups stay whole."""
    assert rows.group is not None
    kept: list[int] = []
    in_test = np.zeros(len(rows.ids), bool) if rows.in_test is None else rows.in_test
    for side in (np.flatnonzero(~in_test), np.flatnonzero(in_test)):
        members: dict[str, list[int]] = {}
        for i in side.tolist():
            members.setdefault(rows.group[i], []).append(i)
        groups, chosen = list(members.values()), 0
        for g in np.random.default_rng(derive(0, "rows")).permutation(len(groups)):
            if chosen >= number:
                break
            kept += groups[g]
            chosen += len(groups[g])
    return rows.take(sorted(kept))
