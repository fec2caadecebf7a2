"""Whether students are right as often as they are sure, from prediction and score files; read for this plot alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.board.render.drawing import GROUPS_AT_MOST, named
from w2s_bench.board.render.formatting import BoardContent
from w2s_bench.board.rows import group_of
from w2s_bench.board.statistics import half_width
from w2s_bench.store.records import Record, shared_test
from w2s_bench.store.verify import file_of, probabilities_of

BINS = 15
"""Of confidence, as many and as wide as those of the metric `ece`."""
LEAST = 30
"""Test examples, over all seeds, that a bin needs to be shown."""


def with_reliability(board: BoardContent, notes: list[str]) -> dict[str, Any]:
    """Returns the board's data with the curves of the plot `reliability` added, a group each.

    Groups without one are left out: sealed tasks have no scores, answers in words no probabilities. Files that cannot
    be used get a line in `notes`.
    """
    shown = named(board.data)
    groups: dict[Any, list[tuple[dict[str, Any], list[Record]]]] = {}
    for row, records in zip(board.data["rows"], board.records, strict=True):
        usable = [r for r in records if r.ok and r.raw.get("predictions") and r.raw.get("scores")]
        if usable and row["mitigation"] in shown:
            groups.setdefault(group_of(row), []).append((row, usable))
    drawn: list[dict[str, Any]] = []
    left = len(groups)
    for rows in groups.values():
        if len(drawn) == GROUPS_AT_MOST:
            break
        left -= 1
        curves = {row["mitigation"]: curve for row, records in rows if (curve := curve_of(records, notes))}
        if curves:
            place = {k: rows[0][0].get(k) for k in ("task", "supervisors", "student", "varied")}
            drawn.append(place | {"curves": {name: curves[name] for name in shown if name in curves}})
    return board.data | {"reliability": drawn, "reliability_left": left}


def curve_of(records: list[Record], notes: list[str]) -> list[dict[str, Any]]:
    """Returns one stack's bins, all its seeds pooled, without those of fewer than LEAST examples.

    `low` and `high` bound a bin's share as the board's intervals do: over seeds, and over test examples where all
    seeds have the same; None for one seed.
    """
    counted = [c for r in records if (c := _counted(r, notes)) is not None]
    if not counted:
        return []
    counts = np.stack(counted)  # [S, BINS, 3]
    examples, sure, right = counts.sum(0).T
    kept = np.flatnonzero(examples >= LEAST)
    examples, sure, right = examples[kept], sure[kept], right[kept]
    share, seeds = right / examples, len(counts)
    off = counts[:, kept, 2] - share * counts[:, kept, 0]
    between = (off**2).sum(0) / examples**2 * seeds / max(seeds - 1, 1)
    within = share * (1 - share) / (examples / seeds) * any(shared_test(r) for r in records)
    half = half_width(between, np.full(len(kept), seeds - 1.0), within)
    return [
        {
            "examples": int(n),
            "confidence": float(x),
            "share": float(y),
            "low": max(0.0, float(y - h)) if np.isfinite(h) else None,
            "high": min(1.0, float(y + h)) if np.isfinite(h) else None,
        }
        for n, x, y, h in zip(examples, sure / examples, share, half, strict=True)
    ]


def _counted(record: Record, notes: list[str]) -> np.ndarray | None:
    """Returns a record's test examples by bin, None where its files do not tell."""
    problems: list[str] = []
    predictions, scores = (file_of(record, what, problems) for what in ("predictions", "scores"))
    counts = None
    if predictions is not None and scores is not None:
        try:
            counts = _by_confidence(predictions, scores)
        except (ValueError, KeyError, TypeError, OSError) as error:
            problems.append(f"its files cannot be read together ({type(error).__name__}: {error})")
    notes += [f"records/{record.digest}.json: {line}; left out" for line in problems]
    return counts


def _by_confidence(predictions: bytes, scores: bytes) -> np.ndarray | None:
    """Returns [BINS, 3] by bin: examples, the sum of their confidence, right answers; None for answers in words.

    Bins are (low, high], as the metric's.
    """
    answers = probabilities_of(predictions)
    if answers is None:
        return None
    ids, right_of = exchange.read_scores(scores)
    known = dict(zip(ids, right_of["student"].tolist(), strict=True))
    if known.keys() != set(answers[0]) or not {0, 1}.issuperset(known.values()):
        raise ValueError("predictions and scores are about different test examples, or a score is neither 0 nor 1")
    confidence = answers[1].max(axis=1)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    right = np.array([known[i] for i in answers[0]])
    return np.stack([np.bincount(bins, w, BINS) for w in (np.ones(len(bins)), confidence, right)], axis=1)
