"""What keeping freed memory spares workers: processor seconds, the kernel's among them, and memory at its peak.

`pytest tests/benchmarks/test_allocator.py --benchmark-enable -m slow -s`
"""

import json
import os
import subprocess
import sys

import pytest

from w2s_bench.referee.environment import MEMORY, of_workers

FIT = """
import json, resource, sys
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
from test_fit_speed import TASK, made_backbone, made_inputs
from w2s_bench.interfaces import FitContext, Inputs, Recipe
from w2s_bench.training.finetune import finetune
torch.set_num_threads(1)
*shape, length, fits = map(int, sys.argv[2:])
inputs, labels = made_inputs(shape[3], length)
keep = np.random.default_rng(1).integers(length // 4, length + 1, len(inputs))
inputs = Inputs(inputs.ids, [" ".join(t.split()[:k]) for t, k in zip(inputs.text, keep, strict=True)])
before = resource.getrusage(resource.RUSAGE_SELF)
for _ in range(fits):
    finetune(made_backbone(*shape), inputs, labels, FitContext(TASK, 0, Recipe()))
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, after.ru_maxrss / 1024]))
"""
SHAPES = {"120 thousand weights": (64, 2, 4, 267, 12, 5), "3 million weights": (256, 4, 4, 1000, 64, 1)}
"""Width, layers, heads, vocabulary, tokens of the longest text, fits."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", SHAPES)
def test_memory_that_is_kept(benchmark, size):
    """Fits with the variables and without in turn, each in a process of its own."""
    kept = of_workers(1)
    environments = {"given back": {k: v for k, v in kept.items() if k not in MEMORY}, "kept": kept}
    rows: dict[str, list[list[float]]] = {name: [] for name in environments}

    def pair() -> None:
        for name, environment in environments.items():
            command = [sys.executable, "-c", FIT, os.path.dirname(__file__), *map(str, SHAPES[size])]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            rows[name].append(json.loads(done.stdout.splitlines()[-1]))

    benchmark.pedantic(pair, rounds=3, iterations=1)
    for name, runs in rows.items():
        user, system, memory = (sorted(column)[len(column) // 2] for column in zip(*runs, strict=True))
        assert user > 0
        benchmark.extra_info[name] = [user, system, memory]
        print(f"\n{size}, {name}: {user + system:.2f} processor seconds, {system:.2f} the kernel's; {memory:.0f} MiB")
