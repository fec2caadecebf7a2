"""A slice of openai/weak-to-strong's grid, here and as its code runs it, in processor seconds.

`pytest tests/benchmarks/test_grid_speed.py --benchmark-enable -m slow -s`
"""

import gzip
import json
import re

import numpy as np
import pytest

from w2s_bench.studies import grid


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_slice_of_the_grid(benchmark, tmp_path, capsys):
    """Random words, about as many in a text as SST-2 has: what is timed does not depend on what is learnt."""
    rng = np.random.default_rng(0)
    with gzip.open(tmp_path / "made.jsonl.gz", "wt") as file:
        for number in range(768):
            words = " ".join(f"w{n}" for n in rng.zipf(1.3, int(rng.integers(5, 35))) % 3000)
            row = {"text": words, "label": number % 2, "split": "train" if number < 512 else "test"}
            print(json.dumps(row), file=file)
    arguments = [str(tmp_path / "made.jsonl.gz"), "--docs", "512", "--test", "256"]
    benchmark.pedantic(lambda: grid.main(arguments), rounds=1, iterations=1)
    printed = capsys.readouterr().out
    ratio = float(re.search(r"Reference / w2s_bench: ([\d.]+)", printed).group(1))
    assert ratio > 1
    benchmark.extra_info["ratio"] = ratio
    print(printed)
