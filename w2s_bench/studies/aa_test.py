"""What the board says of naive against itself, on real cells: `python -m w2s_bench.studies.aa_test STORE`.

The store's cells are all naive and differ in `student.replicate`, which changes the student's noise and nothing else.
One replicate plays naive, the others play mitigations: whatever the board calls better or worse is a false claim.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

from w2s_bench.board.blocks import Block
from w2s_bench.board.design import CEILING, FLOOR, Design, design_of
from w2s_bench.board.labels import NAIVE, Group, labels_of
from w2s_bench.store.records import Record, read_stores
from w2s_bench.studies.claims import judged, signs
from w2s_bench.studies.markdown import table
from w2s_bench.studies.noise import POWER_TITLES, noise_of, noise_table, power_row

Replicates = dict[Group, list[Group]]
"""For each group, its replicates as groups of the design, in order."""


def replicates_of(records: list[Record]) -> tuple[Design, Replicates]:
    """Returns the design of these records, and which of its groups are replicates of one; ValueError says why not."""
    labels = labels_of(records)
    design = design_of(records, labels, [])
    plain = [Record(json.loads(json.dumps(r.raw)), r.files) for r in records]
    for record in plain:
        record.cell["student"].pop("replicate", None)
    names = labels_of(plain)
    replicates: dict[Group, dict[int, Group]] = defaultdict(dict)
    for record, bare in zip(records, plain, strict=True):
        if labels.stack(record) != NAIVE:
            raise ValueError(f"records/{record.digest}.json is of {labels.stack(record)}; expected naive alone")
        replicates[names.group(bare)][record.cell["student"].get("replicate", 0)] = labels.group(record)
    common = set.intersection(*map(set, replicates.values())) if replicates else set()
    whole = [k for k in sorted(common) if _whole(design, replicates, k)]
    if len(whole) < 4:
        raise ValueError(
            f"{len(whole)} values of student.replicate finished on two or more seeds, and on all that the first "
            "one finished on, in every group; expected 4 or more"
        )
    return design, {g: [numbered[k] for k in whole] for g, numbered in sorted(replicates.items())}


def _whole(design: Design, replicates: dict[Group, dict[int, Group]], replicate: int) -> bool:
    """Returns whether a replicate finished wherever the first did."""
    for numbered in replicates.values():
        had, first = (np.isfinite(design.series((numbered[k], NAIVE))) for k in (replicate, min(numbered)))
        if first.sum() < 2 or not had[first].all():
            return False
    return True


def played(design: Design, replicates: Replicates, rng: np.random.Generator | None = None) -> Design:
    """Returns the board on which the first replicate is naive and the others are mitigations `1`, `2` and so on.

    With `rng` replicates change places, ceilings with students, at each seed of each task anew: as likely a board as
    the first if nothing tells replicates apart.
    """
    tasks: dict[str, Replicates] = defaultdict(dict)
    for group, replicas in replicates.items():
        tasks[group.task_name][group] = replicas
    blocks, where = {}, {}
    for task, groups in tasks.items():
        block = design.blocks[task]
        rows = np.array([[[design.where[g, name][1] for g in replicas] for name in (FLOOR, CEILING, NAIVE)]
                         for replicas in groups.values()])  # [groups, 3, R]  # fmt: skip
        seeds = np.flatnonzero(np.isfinite(block.values[rows.ravel()]).all(0))
        count = rows.shape[2]
        order = np.array([rng.permutation(count) if rng else np.arange(count) for _ in seeds])  # [S, R]
        lines: list[np.ndarray] = []  # of the old block, by seed [S]
        for group, (floor, ceiling, naive) in zip(groups, rows, strict=True):
            for name, line in [(FLOOR, floor[order[:, 0]]), (CEILING, ceiling[order[:, 0]]),
                               *((str(k) if k else NAIVE, naive[order[:, k]]) for k in range(count))]:  # fmt: skip
                where[group, name] = (task, len(lines))
                lines.append(line)
        values = np.array([block.values[line, seeds] for line in lines])
        right, sets = {}, {}
        if block.right:
            right = {
                k: np.array([block.right[i][s] for i, s in zip(line, seeds, strict=True)])
                for k, line in enumerate(lines)
            }
            sets = {k: block.sets[line[0]] for k, line in enumerate(lines)}
        blocks[task] = Block(values, right, sets)
    return Design(blocks, where)


def claims(board: Design) -> tuple[np.ndarray, np.ndarray]:
    """Returns the verdicts of the overall family and of the single rows, +1, -1 or 0."""
    groups = sorted({g for g, _ in board.where})
    stacks = list(dict.fromkeys(name for _, name in board.where if name not in (FLOOR, CEILING)))
    overall, entries = judged(board, groups, stacks)
    others = [s for s in stacks if s != NAIVE]
    return signs(overall[s]["over_naive"] for s in others), signs(e.over for e in entries if e.stack != NAIVE)


def main() -> None:
    """Prints what the board says of naive against itself, as run and with replicates permuted, and the seed noise."""
    parser = argparse.ArgumentParser(prog="python -m w2s_bench.studies.aa_test", description=main.__doc__)
    parser.add_argument("store", type=Path, help="of cells `mitigation=[naive] student.replicate=0,1,...`")
    parser.add_argument("--boards", type=int, default=400, help="boards with replicates permuted [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the random generator [%(default)s]")
    arguments = parser.parse_args()
    try:
        design, replicates = replicates_of([r for r in read_stores([arguments.store]).records if r.ok])
    except ValueError as error:
        parser.error(f"{arguments.store}: {error}")
    first = played(design, replicates)
    families = ("overall family", "cell family")
    rng = np.random.default_rng(arguments.seed)
    permuted = [[v.any() for v in claims(played(design, replicates, rng))] for _ in range(arguments.boards)]
    seeds = max(block.values.shape[1] for block in first.blocks.values())
    print(f"{len(first.blocks)} tasks, {seeds} seeds, {len(next(iter(replicates.values())))} replicates of naive.\n")
    rows = []
    for name, verdict, count in zip(families, claims(first), np.sum(permuted, 0), strict=True):
        low, high = stats.binomtest(int(count), arguments.boards).proportion_ci(method="wilson")
        verdicts = f"{(verdict > 0).sum()} better, {(verdict < 0).sum()} worse of {len(verdict)}"
        percent = f"{100 * count / arguments.boards:.1f} %, {100 * low:.1f} to {100 * high:.1f}"
        share = f"{count} of {arguments.boards} ({percent})"
        rows.append([name, verdicts, share])
    print(table(["family", "replicates against the first", "permuted boards with any verdict"], rows) + "\n")
    stacks = {g: [NAIVE, *(str(k) for k in range(1, len(replicas)))] for g, replicas in replicates.items()}
    noise = noise_of(first, stacks)
    print(noise_table(noise) + "\n")
    print(table(POWER_TITLES, [power_row("replicates of naive", noise.plan())]))


if __name__ == "__main__":
    main()
