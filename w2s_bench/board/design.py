"""All lines of a board: from records and score files to blocks, and contrasts by name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from w2s_bench import exchange
from w2s_bench.board.blocks import Block
from w2s_bench.board.labels import Group, Labels
from w2s_bench.board.statistics import Moments, Ratio, add, fieller
from w2s_bench.store.records import JOINT, JOINT_BITS, Record, shared_test

FLOOR, CEILING = "<floor>", "<ceiling>"
"""Names of lines beside the stacks' own; no entry may be called so."""

AT_ONCE = 100
"""Score files that a thread reads before it asks for more."""

Series = tuple[Group, str]
Weights = Mapping[Series, float]


@dataclass
class Design:
    """Blocks of lines, and where each line is."""

    blocks: dict[str, Block]
    where: dict[Series, tuple[str, int]]

    def parts(self, contrasts: Iterable[Weights], like: Series | None = None) -> dict[str, Moments]:
        """Returns the moments of each block's share of these contrasts, by block.

        They rest on the seeds that all lines of a block's share have, and `like`, where named and in that block.
        """
        rows = list(contrasts)
        placed: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
        for k, weights in enumerate(rows):
            for line, weight in weights.items():
                name, at = self.where[line]
                placed[name].append((k, at, weight))
        block, like_at = self.where[like] if like else ("", 0)
        parts = {}
        for name, entries in placed.items():  # of the lines that have a part alone: a block may have thousands
            contrast, lines, values = (np.array(column) for column in zip(*entries, strict=True))
            among, columns = np.unique(lines, return_inverse=True)
            matrix = np.zeros((len(rows), len(among)))
            matrix[contrast, columns] = values
            parts[name] = self.blocks[name].moments(matrix, (like_at,) if name == block else (), among)
        return parts

    def moments(self, contrasts: Iterable[Weights], like: Series | None = None) -> Moments:
        """Returns the moments of these contrasts."""
        return add(list(self.parts(contrasts, like).values()))

    def ratio(self, above: Weights, below: Weights) -> Ratio:
        """Returns the ratio of two contrasts with its Fieller interval."""
        return ratio_of(list(self.parts([above, below]).values()))

    def series(self, line: Series) -> np.ndarray:
        """Returns a line's accuracies by seed [S], NaN where there is none."""
        name, at = self.where[line]
        return self.blocks[name].values[at]


def ratio_of(parts: list[Moments]) -> Ratio:
    """Returns the ratio of sums over independent parts, each with two contrasts."""
    total = add(parts)
    value = total.mean[0] / total.mean[1] if total.mean[1] else 0.0
    w = np.array([1.0, -value])
    along = [Moments(p.mean[:1], np.array([[w @ p.seeds @ w]]), p.df[:1], np.zeros((1, 1))) for p in parts]
    df = add(along).df
    return fieller(Moments(total.mean, total.seeds, np.repeat(df, 2), total.examples))


@dataclass
class _Lines:
    """The lines of one block while it is being filled."""

    names: list[Series] = field(default_factory=list)
    by_seed: list[dict[int, float]] = field(default_factory=list)
    scores: list[dict[int, np.ndarray]] = field(default_factory=list)
    sealed: dict[Group, dict[str, list[np.ndarray]]] = field(default_factory=lambda: defaultdict(dict))


def design_of(records: list[Record], labels: Labels, notes: list[str]) -> Design:
    """Returns the design of these finished records; score files that cannot be used get a line in `notes`."""
    scores = _read_scores(records, notes)
    blocks: dict[str, _Lines] = defaultdict(_Lines)
    at: dict[Series, tuple[str, int]] = {}
    clashes: dict[Group, int] = defaultdict(int)
    for record in records:
        group, stack = labels.group(record), labels.stack(record)
        accuracy = accuracies(record)
        imported = (record.raw.get("imported") or {}).get("baselines") or {}
        right = scores.pop(record.digest, None)
        for who, (name, value) in enumerate(zip((FLOOR, stack, CEILING), accuracy, strict=True)):
            baseline = imported.get({FLOOR: "floor", CEILING: "ceiling"}.get(name, ""))
            block = f"{group.task_name}" if baseline is None else f"{group.task_name} {name} {group}"
            line = (group, name)
            if line not in at:
                lines = blocks[block]
                at[line] = (block, len(lines.names))
                lines.names.append(line)
                lines.by_seed.append({})
                lines.scores.append({})
            lines, k = blocks[block], at[line][1]
            if baseline is None:
                clashes[group] += lines.by_seed[k].setdefault(record.seed, value) != value
            else:
                lines.by_seed[k].update(enumerate(baseline))
            if right is not None:
                lines.scores[k][record.seed] = right[who].copy()  # the three apart: baselines come with every record
        if shared_test(record) and right is None and record.test.get("joint"):
            blocks[group.task_name].sealed[group].setdefault(stack, []).append(_joint(record))
    for group, count in clashes.items():
        if count:
            notes.append(
                f"{group.place}: {count} floors or ceilings differ from another record's of the same seed; the first "
                "by digest counts. Were supervisors or tasks changed between runs? Rerun the older records"
            )
    return Design({name: _block(lines) for name, lines in blocks.items()}, at)


def accuracies(record: Record) -> tuple[float, float, float]:
    """Returns the accuracies of floor, student and ceiling, from the joint counts where there are any."""
    if record.test.get("joint"):
        counts = _joint(record)
        right = JOINT_BITS.T @ counts / counts.sum()
        return float(right[0]), float(right[1]), float(right[2])
    return tuple(float(record.test[w]["accuracy"]) for w in ("floor", "student", "ceiling"))  # type: ignore[return-value]


def _joint(record: Record) -> np.ndarray:
    joint = record.test["joint"]
    return np.array([joint.get(k, 0) for k in JOINT], dtype=float)


def _read_scores(records: list[Record], notes: list[str]) -> dict[str, np.ndarray]:
    """Returns [3, n] of 0 and 1 by digest, for records whose test examples are shared by all seeds."""
    wanted = [r for r in records if r.raw.get("scores") and r.test.get("joint") and shared_test(r)]
    bunches = [wanted[k : k + AT_ONCE] for k in range(0, len(wanted), AT_ONCE)]
    with ThreadPoolExecutor(2) as pool:
        read = list(chain.from_iterable(pool.map(lambda bunch: list(map(_scores_of, bunch)), bunches)))
    first_ids: dict[str, bytes] = {}
    scores = {}
    for record, result in zip(wanted, read, strict=True):
        if isinstance(result, str):
            notes.append(f"records/{record.digest}.json: {result}; its joint counts are used instead")
            continue
        right, ids = result
        task = str(sorted((k, str(v)) for k, v in record.cell["task"].items()))
        if first_ids.setdefault(task, ids) != ids:
            notes.append(
                f"records/{record.digest}.json: other test examples than the records before it, though its task "
                "declares one test set for all seeds; its joint counts are used instead"
            )
            continue
        scores[record.digest] = right
    return scores


def _scores_of(record: Record) -> tuple[np.ndarray, bytes] | str:
    """Returns right or wrong [3, n] with the ids' digest, or what is wrong with the file."""
    name = str(record.raw["scores"].get("path"))
    try:
        names, by_side = exchange.read_scores(record.files.read(name))
        right = np.stack(list(by_side.values())).astype(np.int8)
        ids = hashlib.sha256("\0".join(names).encode()).digest()
    except (OSError, KeyError, ValueError, TypeError) as error:
        return f"{name} cannot be used ({type(error).__name__})"
    code = right[0] * 4 + right[1] * 2 + right[2]
    counts = np.bincount(code, minlength=8).tolist() if right.min() >= 0 else []
    if counts != list(_joint(record)):
        return f"{name} does not give the record's joint counts"
    return right, ids


def _block(lines: _Lines) -> Block:
    seeds = sorted({s for by_seed in lines.by_seed for s in by_seed})
    values = np.array([[by.get(s, np.nan) for s in seeds] for by in lines.by_seed])
    right, sets = {}, {}
    for k, by in enumerate(lines.scores):
        if by and set(by) >= set(lines.by_seed[k]):
            n = len(next(iter(by.values())))
            empty = np.zeros(n, dtype=np.int8)
            right[k] = np.stack([by.get(s, empty) for s in seeds])
            sets[k] = f"{lines.names[k][0].task} {n}"
    sealed = []
    where = {name: k for k, name in enumerate(lines.names)}
    for group, stacks in lines.sealed.items():
        places = [where[group, FLOOR], where[group, CEILING], *(where[group, s] for s in stacks)]
        sealed.append((np.array(places), _bound([np.mean(j, 0) for j in stacks.values()])))
    return Block(values, right, sets, sealed)


def _bound(joints: list[np.ndarray]) -> np.ndarray:
    """Returns [2 + M, 2 + M], a bound on the example covariance of floor, ceiling and M students, from joint counts.

    Each seed's whole variance counts as the examples'. Students are taken as independent given floor and ceiling: in
    truth they go together, so that differences between them vary less than this.
    """
    n = joints[0].sum()
    cell = JOINT_BITS[:, 0] * 2 + JOINT_BITS[:, 2]
    share = np.array([[j[cell == c].sum() / n for c in range(4)] for j in joints]).mean(0)  # P(floor, ceiling)
    student_means = [[_mean(JOINT_BITS[cell == c, 1], j[cell == c]) for c in range(4)] for j in joints]
    means = np.array([[0, 0, 1, 1], [0, 1, 0, 1], *student_means], dtype=float)  # [2 + M, 4]
    centre = means @ share
    covariance = (means * share) @ means.T - np.outer(centre, centre)
    return (covariance + np.diag((means * (1 - means)) @ share)) / n


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(values @ weights / weights.sum()) if weights.sum() else 0.0
