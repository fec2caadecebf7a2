"""What planning, a store, its board and `w2s status` take as cells and records grow, and how fast that grows.

    python -m w2s_bench.studies.scale --cells 10000,30000,100000 --records 10000,30000,100000

Records have the shape of one that a run has left, with invented names and answers, and verify. Each step is done in a
process of its own: processor seconds, and peak memory beyond that of the process before it. The slope is that of a
straight line through the logarithms: 1 where twice as many take twice as much.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from w2s_bench import exchange
from w2s_bench.cells import digest
from w2s_bench.compose import runs
from w2s_bench.errors import UsageError
from w2s_bench.referee.plan import plan_cells
from w2s_bench.referee.schedule import Schedule
from w2s_bench.registry import Registry
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.records import JOINT, read_record
from w2s_bench.studies.markdown import table

TASKS, SUPERVISORS, SEEDS = 5, 5, 5
STACKS = ("naive", *(f"method_{i}" for i in range(19)))
A_STUDENT = TASKS * SUPERVISORS * SEEDS * len(STACKS)
"""Records of one student; more records are of more students."""
EXAMPLES = 250
"""Test examples of a record, the same for all seeds."""
SWEEP = (
    "task=facts,sums",
    "supervisor=[ladder_xs_0],[ladder_xs_1],[ladder_s_0],[ladder_s_1],[ladder_xs_0,ladder_s_0]",
    "student=ladder_m",
    "mitigation=[naive],[aux_confidence],[gce],[sce],[identity],[product],[mixup],[random_filter],"
    "[self_distillation],[easy_to_hard,aux_confidence]",
)
A_SEED = 100
"""Cells of one seed of the sweep."""

Answers = tuple[np.ndarray, np.ndarray]
"""Right or wrong [3, n] (floor, student, ceiling), and the true classes [n]."""


def template(store: Path) -> dict[str, Any]:
    """Returns a store's first finished record; UsageError where it has none."""
    files = StoreFiles(store)
    for name in files.names("records", ".json"):
        for record in read_record(files, name, []):
            if record.ok:
                return record.raw
    raise UsageError(f"store {store} has no finished record; name another one with --template")


def write(store: str, count: int, like: Path) -> None:
    """Writes records of the shape of one in the store `like`, their files, and the plan of their suite, `scale`."""
    shape = template(like)
    for part in ("records", "predictions", "scores", "suites"):
        Path(store, part).mkdir(parents=True)
    ids = pa.array([f"t{i}" for i in range(EXAMPLES)])
    digests = []
    for cell, answers in _cells(count, shape["cell"]):
        record = _record(shape, cell, answers[0])
        name = record["digest"]
        for part, content in (("predictions", _predictions(ids, answers)), ("scores", _scores(ids, answers[0]))):
            path = f"{part}/{name}.parquet"
            Path(store, path).write_bytes(content)
            record[part] = {"path": path, "sha256": hashlib.sha256(content).hexdigest()}
        Path(store, "records", f"{name}.json").write_bytes(exchange.json_of(record))
        digests.append(name)
    Path(store, "suites", "scale.json").write_bytes(exchange.json_of({"cells": digests}))


def _cells(count: int, like: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Answers]]:
    """Yields cells with what floor, student and ceiling answer; those of one task agree about the truth."""
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 2, (TASKS, EXAMPLES))
    floors = rng.random((TASKS, SUPERVISORS, SEEDS, EXAMPLES)) < 0.65
    for number in range(count):
        rest, stack = divmod(number, len(STACKS))
        rest, seed = divmod(rest, SEEDS)
        rest, supervisor = divmod(rest, SUPERVISORS)
        student, task = divmod(rest, TASKS)
        ceiling = np.random.default_rng((student, task, seed)).random(EXAMPLES) < 0.9
        answer = rng.random(EXAMPLES) < 0.7 + 0.01 * (stack % 7)
        cell = {
            "task": {**like["task"], "name": f"task_{task}"},
            "supervisors": [{**like["supervisors"][0], "name": f"weak_{supervisor}"}],
            "student": {**like["student"], "name": f"strong_{student}"},
            "mitigations": [{"name": STACKS[stack]}],
            "seed": seed,
        }
        yield cell, (np.stack([floors[task, supervisor, seed], answer, ceiling]), truths[task])


def _record(shape: dict[str, Any], cell: dict[str, Any], right: np.ndarray) -> dict[str, Any]:
    floor, student, ceiling = right.mean(1).tolist()
    sides = {"floor": floor, "student": student, "ceiling": ceiling}
    counts = np.bincount(right[0] * 4 + right[1] * 2 + right[2], minlength=8).tolist()
    test = shape["test"] | {who: shape["test"][who] | {"accuracy": value} for who, value in sides.items()}
    return {
        **shape,
        "cell": cell,
        "digest": digest([cell, shape["protocol"]]),
        "suite": "scale",
        "control": False,
        "test": test | {"n": EXAMPLES, "same_for_all_seeds": True, "joint": dict(zip(JOINT, counts, strict=True))},
        "pgr": (student - floor) / (ceiling - floor) if ceiling != floor else None,
    }


def _predictions(ids: pa.Array, answers: Answers) -> bytes:
    right, truth = answers
    second = 0.25 + 0.5 * np.where(right[1], truth, 1 - truth)
    p = np.stack([1 - second, second], 1).astype(np.float32).ravel()
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, len(p) + 1, 2, dtype=np.int32)), pa.array(p))
    columns = {"split": pa.repeat("test", len(ids)), "id": ids, "p_student": lists}
    return exchange.parquet_of(pa.table(columns), compression="zstd")


def _scores(ids: pa.Array, right: np.ndarray) -> bytes:
    columns = dict(zip(("floor", "student", "ceiling"), right.astype(np.int8), strict=True))
    return exchange.parquet_of(pa.table({"id": ids, **columns}), compression="zstd")


def plan(count: int) -> None:
    """Composes and plans cells, with the command and the place in the schedule of each."""
    from w2s_bench.registry import registry

    scheduled(count, registry.load())


def scheduled(count: int, registry: Registry) -> Schedule:
    """Returns the schedule of this many cells."""
    run = runs.cells([*SWEEP, f"seed=range(0,{count // A_SEED})"], True, registry)
    planned = plan_cells(run.cells, registry, run.commands)
    schedule = Schedule(planned)
    for stage in planned.stages:
        schedule.offer(stage)
    return schedule


def status(store: str) -> None:
    """Does what `w2s status` does."""
    from w2s_bench.referee.status import describe, look

    describe(look(store))


def board(store: str) -> None:
    """Does what `w2s board` does."""
    from w2s_bench.board import build_board
    from w2s_bench.board.render import render

    render(build_board([store], None))


def page(store: str) -> None:
    """Does what `w2s board --format html` does."""
    from w2s_bench.board import build_board
    from w2s_bench.board.render import render

    render(build_board([store], None), "html")


def verify(store: str) -> None:
    """Does what `w2s verify` does."""
    from w2s_bench.store.verify import verify_store

    problems = verify_store(Path(store)).problems
    assert not problems, problems[0]


def pack(store: str) -> None:
    """Packs the store, as publishing does, into a folder beside it."""
    from w2s_bench.store.packing import pack as pack_store

    pack_store(Path(store), packed(store))


def packed(store: str) -> Path:
    """Returns where `pack` puts what it makes of a store."""
    return Path(f"{store}-packed")


STEPS = {"status": status, "board": board, "page": page, "verify": verify, "pack": pack}
OF_PACKED = ("status", "board", "verify")
"""What is done again with the packed form."""


def measured(step: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    """Returns the processor seconds of a step in a process of its own, and its peak memory in MiB beyond the start."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(False)
    process = context.Process(target=_measure, args=(sending, step, arguments))
    process.start()
    sending.close()
    try:
        return receiving.recv()
    except EOFError:
        sys.exit(f"{step.__name__} {arguments} ended without a result")
    finally:
        process.join()


def _measure(sending: Any, step: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    step(*arguments)
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sending.send((seconds, (after.ru_maxrss - before.ru_maxrss) / 1024))


def slope(sizes: list[int], values: list[float]) -> float:
    """Returns the exponent of growth: the slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-3)), 1)[0])


def rows(done: dict[str, dict[int, tuple[float, float]]], sizes: list[int]) -> list[list[str]]:
    """Returns a table's rows: seconds and MiB of each step at each size, then the exponents of both."""
    made = []
    for step, by_size in done.items():
        for what, unit in enumerate(("s", "MiB")):
            values = [by_size[n][what] for n in sizes]
            grows = [f"{slope(sizes, values):.2f}"] if len(sizes) > 1 else []
            made.append([f"{step}, {unit}", *(f"{v:,.1f}" if unit == "s" else f"{v:,.0f}" for v in values), *grows])
    return made


def _sizes(text: str) -> list[int]:
    return sorted(int(size) for size in text.split(",") if size)


def main(arguments: list[str] | None = None) -> None:
    """Prints two tables: of cells, and of records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=_sizes, default="10000,30000,100000", help=f"Multiples of {A_SEED}.")
    parser.add_argument("--records", type=_sizes, default="10000,30000,100000")
    parser.add_argument("--template", type=Path, default="leaderboard/probes", help="Store whose first record serves.")
    parser.add_argument("--steps", default=",".join(STEPS), help="What is done with a store; without pack it is plain.")
    parser.add_argument("--folder", type=Path, help="Where the stores are for a while: 20 GB for 200,000 records.")
    asked = parser.parse_args(arguments)
    planned = {"plan": {n: measured(plan, n) for n in asked.cells}}
    if asked.cells:
        print(table(["cells", *(f"{n:,}" for n in asked.cells), "slope"], rows(planned, asked.cells)), flush=True)
    steps = asked.steps.split(",")
    done: dict[str, dict[int, tuple[float, float]]] = {}
    for count in asked.records:
        with tempfile.TemporaryDirectory(dir=asked.folder) as place:
            store = str(Path(place, "store"))
            done.setdefault("write", {})[count] = measured(write, store, count, asked.template)
            for name in steps:
                done.setdefault(name, {})[count] = measured(STEPS[name], store)
            if "pack" in steps:
                shutil.rmtree(store)
                for name in OF_PACKED:
                    done.setdefault(f"{name}, packed", {})[count] = measured(STEPS[name], str(packed(store)))
        print(f"<!-- {json.dumps({k: v[count] for k, v in done.items()})} -->", flush=True)
    if asked.records:
        print(table(["records", *(f"{n:,}" for n in asked.records), "slope"], rows(done, asked.records)))


if __name__ == "__main__":
    main()
