"""What a person waits for before anything is trained, and after: help, list, planning, the board.

`pytest tests/benchmarks --benchmark-enable -s`
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.board_records import write_record

from w2s_bench.board import build_board
from w2s_bench.board.render import render
from w2s_bench.compose import runs as compose
from w2s_bench.referee.plan import plan_cells
from w2s_bench.registry import registry

TOY = str(Path(__file__).parents[1] / "support/toy.py")
W2S = [sys.executable, "-m", "w2s_bench"]


@pytest.mark.parametrize("words", [["--help"], ["list"]], ids=["help", "list"])
def test_start(benchmark, words):
    done = benchmark.pedantic(lambda: subprocess.run([*W2S, *words], capture_output=True), rounds=7, iterations=1)
    assert done.returncode == 0


def test_composing_and_planning_ten_thousand_cells(benchmark):
    found = registry.load([TOY])
    stacks = ",".join(f"[{m}]" for m in ("naive", "aux_confidence", "gce", "identity", "product"))
    overrides = [
        "task=toy",
        "supervisor=[toy_weak],[toy_weak_b],[toy_strong],[toy_noisy]",
        "student=toy,toy_small",
        f"mitigation={stacks}",
        "student.width=16,32,64,128,256",
        "seed=range(0,50)",
    ]

    def plan():
        run = compose.cells(overrides, True, found)
        return plan_cells(run.cells, found, run.commands)

    planned = benchmark.pedantic(plan, rounds=1, iterations=1)
    assert len(planned.cells) == 10_000


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory, request):
    """Returns a store of 10,000 records with their scores (1,000 where nothing is timed)."""
    store = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    seeds = 5 if request.config.getoption("benchmark_enable") else 1
    stacks = ["naive", *(f"method_{i}" for i in range(39))]
    for task in range(5):
        for supervisor in range(5):
            for student in range(2):
                for stack in stacks:
                    for seed in range(seeds):
                        right = (rng.random((3, 500)) < np.array([[0.6], [0.75], [0.9]])).astype(np.int64)
                        names = {"supervisors": (f"weak_{supervisor}",), "student": f"strong_{student}"}
                        write_record(store, right, task=f"task_{task}", mitigations=(stack,), seed=seed, **names)
    return store


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_format_of_ten_thousand_records(benchmark, ten_thousand):
    def every_format():
        board = build_board([ten_thousand])
        return [render(board, name) for name in ("table", "json", "md", "csv", "latex", "html")]

    pages = benchmark.pedantic(every_format, rounds=1, iterations=1)
    assert all(pages)
