"""Do two tasks, or two stores, rank mitigations alike? `python -m w2s_bench.studies.agreement STORE [STORE ...]`

Spearman's rank correlation between the mitigations' differences from naive: for each pair of tasks, of one store or of
several, in accuracy, each the mean over the task's groups of supervisors and student; for each pair of stores, in
overall PGR; for each store and each task of another, in overall PGR and in accuracy. Controls are left out.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from w2s_bench.board.build import build_board

FEWEST = 5
"""Mitigations in common, below which no correlation is shown: its interval would contain nearly everything."""


def gains(data: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns, by task and mitigation, the mean difference from naive in accuracy; only what no group lacks."""
    differences: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    groups: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in data["rows"]:
        groups[row["task"]].add((*row["supervisors"], row["student"]))
        if row["over_naive"] and not row["control"] and row["status"] != "incomplete":
            differences[row["task"]][row["mitigation"]].append(row["over_naive"]["mean"])
    return {
        task: {m: float(np.mean(v)) for m, v in by_mitigation.items() if len(v) == len(groups[task])}
        for task, by_mitigation in differences.items()
    }


def overall_gains(data: dict[str, Any]) -> dict[str, float]:
    """Returns, by mitigation, the difference from naive in overall PGR."""
    shown = [row for row in data["overall"] if row["over_naive"] and row["complete"] and not row["control"]]
    return {row["mitigation"]: row["over_naive"]["mean"] for row in shown}


def rank_correlation(one: dict[str, float], two: dict[str, float]) -> tuple[int, float, float, float]:
    """Returns how many mitigations both have, Spearman's correlation of their gains and its 95 % interval.

    Bonett & Wright 2000, eq. 2: Fisher's z with variance (1 + r^2 / 2) / (n - 3). NaN where fewer than FEWEST are
    common. The interval is about which mitigations were compared; the noise of each gain only pulls r towards 0.
    """
    common = sorted(set(one) & set(two))
    n = len(common)
    if n < FEWEST:
        return n, np.nan, np.nan, np.nan
    r = float(stats.spearmanr([one[m] for m in common], [two[m] for m in common]).statistic)
    half = stats.norm.ppf(0.975) * np.sqrt((1 + r**2 / 2) / (n - 3))
    z = np.arctanh(np.clip(r, -0.999999, 0.999999))
    return n, r, float(np.tanh(z - half)), float(np.tanh(z + half))


def main() -> None:
    """Prints three tables in Markdown: stores, stores beside tasks of others, and tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", nargs="+", type=Path)
    stores: dict[str, dict[str, float]] = {}
    tasks: dict[str, dict[str, float]] = {}
    for store in parser.parse_args().stores:
        data = build_board([store]).data
        stores[store.name] = overall_gains(data)
        tasks |= {f"{store.name}: {task}": by_mitigation for task, by_mitigation in gains(data).items()}
    beside = [(one, two) for one in stores for two in tasks if not two.startswith(f"{one}: ")]
    for left, right, pairs in (
        ("store", "store", list(itertools.combinations(stores, 2))),
        ("store", "task", beside),
        ("task", "task", list(itertools.combinations(tasks, 2))),
    ):
        print(f"| {left} | {right} | mitigations in common | rank correlation (95 %) |\n|---|---|---:|---:|")
        for one, two in pairs:
            n, r, low, high = rank_correlation((stores | tasks)[one], (stores | tasks)[two])
            shown = f"{r:.2f} ({low:.2f} to {high:.2f})" if n >= FEWEST else "too few"
            print(f"| {one} | {two} | {n} | {shown} |")
        print()


if __name__ == "__main__":
    main()
