"""What one more cell of the embedded suite costs in processor time: data, supervisor, ceiling and naive, at size `m`.

`pytest tests/benchmarks/test_cell_cost.py --benchmark-enable -s`
"""

import os
import resource
import subprocess
import sys

import pytest

CELLS = 4


def processor_seconds(tmp_path, task: str, seeds: range) -> float:
    """Returns what a run of these seeds takes, from an empty cache, all its processes together."""
    place = tmp_path / f"{task}-{len(seeds)}"
    command = ["run", f"task={task}", f"seed=range({seeds.start},{seeds.stop})", "-m", "engine.workers=1"]
    environment = os.environ | {"W2S_CACHE": str(place / "cache"), "W2S_STORE": str(place / "store")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "w2s_bench", *command], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize("task", ["facts", "sums", "reviews"])
def test_one_more_cell(benchmark, tmp_path, task):
    """What starting costs, importing torch and Lightning above all, is in both runs and goes out."""
    seconds = []

    def more() -> None:
        one = processor_seconds(tmp_path, task, range(302, 303))
        seconds.append((processor_seconds(tmp_path, task, range(303, 304 + CELLS)) - one) / CELLS)

    benchmark.pedantic(more, rounds=1, iterations=1)
    assert seconds[0] > 0
    benchmark.extra_info["processor_seconds"] = round(seconds[0], 2)
    print(f"\n{task}: {seconds[0]:.2f} processor seconds a cell")
