"""Controls that must behave: what their rows show when the machinery is sound."""

from __future__ import annotations

from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.board.labels import NAIVE, Group
from w2s_bench.board.statistics import half_width
from w2s_bench.store.records import Record

Key = tuple[Group, str]
SURE = 0.01
"""How seldom a sound board may be called unsound by chance."""


def misbehaviour(rows: list[dict[str, Any]], records: dict[Key, list[Record]], keys: list[Key]) -> dict[str, Any]:
    """Returns how many control rows were checked, and one line for each that does not behave."""
    checked, lines = 0, []
    chance_rows = [k for k, row in zip(keys, rows, strict=True) if row["control"] and _name(k[1]) == "random_labels"]
    for key in chance_rows:
        line = _at_chance(key, records[key], len(chance_rows))
        checked += line is not None
        lines += [line] if line else []
    for key, row in zip(keys, rows, strict=True):
        base = (key[0], NAIVE)
        if row["control"] and _name(key[1]) == "identity" and records.get(base) and records[key]:
            checked += 1
            lines += _equal(key, records[key], records[base])
    return {"checked": checked, "misbehaving": lines}


def _name(stack: str) -> str:
    return stack.partition("(")[0]


def _at_chance(key: Key, records: list[Record], family: int) -> str | None:
    """Returns a line where accuracy clearly differs from chance, an empty one where not, None where none can tell."""
    known = [(c, r) for r in records if (c := _chance(r)) is not None]
    if len(known) < 2:
        return None
    off = np.array([r.test["student"]["accuracy"] - c for c, r in known])
    n = np.mean([r.test["n"] for _, r in known])
    seeds = off.var(ddof=1) / len(off)
    examples = np.array(0.25 / n)  # one test set may serve all seeds
    half = float(half_width(seeds, len(off) - 1.0, examples, 1 - SURE / family))
    if abs(off.mean()) <= half:
        return ""
    return f"random_labels is {off.mean():+.3f} from chance on {key[0].place} (at most {half:.3f} by chance)"


def _chance(record: Record) -> float | None:
    """Returns the accuracy of answers that know nothing of the truth; None where the record's files do not tell.

    `test.chance` where the record has it; else from predictions and scores, which give the truth of two classes. More
    classes are taken for balanced.
    """
    chance = record.test.get("chance")
    if isinstance(chance, float):
        return chance
    try:
        ids, p = exchange.read_predictions(record.files.read(record.raw["predictions"]["path"]))["test"]
        if p.shape[1] > 2:
            return 1 / p.shape[1]
        scored, right_of = exchange.read_scores(record.files.read(record.raw["scores"]["path"]))
    except (KeyError, TypeError, OSError, ValueError, IndexError):
        return None
    right = dict(zip(scored, right_of["student"].tolist(), strict=True))
    chosen = p.argmax(1)
    ones = np.array([c if right.get(i) else 1 - c for c, i in zip(chosen, ids, strict=True)]).mean()
    return float(chosen.mean() * ones + (1 - chosen.mean()) * (1 - ones))


def _equal(key: Key, records: list[Record], naive: list[Record]) -> list[str]:
    base = {r.seed: r.test for r in naive}
    differing = [
        r.seed
        for r in records
        if r.seed in base
        and (r.test.get("joint"), r.test["student"]) != (base[r.seed].get("joint"), base[r.seed]["student"])
    ]
    if not differing:
        return []
    return [f"identity differs from naive on {key[0].place}, seed {', '.join(map(str, sorted(differing)))}"]
