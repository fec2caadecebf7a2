"""Sets of ranks that contain the true ones: from simultaneous paired comparisons (Mogstad et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from w2s_bench.board.comparison import ALPHA
from w2s_bench.board.statistics import holm


def rank_sets(mean: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Returns [M, 2], first and last possible rank (1 is best) of each of M, jointly right with 95 %.

    `p` [M, M] has the p-values of all pairs; they are adjusted together.
    """
    m = len(mean)
    upper = np.triu_indices(m, 1)
    differs = np.zeros((m, m), dtype=bool)
    differs[upper] = holm(p[upper]) <= ALPHA
    differs |= differs.T
    above = differs & (mean[:, None] < mean[None, :])  # [i, j]: j is better than i
    return np.stack([1 + above.sum(1), m - above.sum(0)], -1)


def single_rank(sets: Sequence[int]) -> str:
    """Returns `3` or `2–5`."""
    low, high = sets
    return str(low) if low == high else f"{low}–{high}"
