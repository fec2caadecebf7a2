"""No verb leaves a thread of arrow's behind: one that holds Python objects aborts an interpreter that is ending."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK = str(ROOT / "leaderboard/quick")
TOY = str(Path(__file__).parent / "support/toy.py")
SMALL = [
    "task.n_supervision=60", "task.n_transfer=60", "task.n_validation=20", "task.n_test=80", "supervisor=[toy_weak]",
    "student=toy", "student.body_lr=0.01", "student.head_lr=0.01", "engine.workers=1",
]  # fmt: skip
SCRIPT = """
import os, sys
from w2s_bench.cli.main import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
names = [open(f"/proc/self/task/{t}/comm").read().strip() for t in os.listdir("/proc/self/task")]
print(sorted(n for n in names if n != "jemalloc_bg_thd"), file=sys.stderr)  # a thread of C alone, knows no Python
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in Linux's /proc")


@pytest.mark.parametrize(
    "words",
    [
        ["verify", QUICK],
        ["board", "--store", QUICK],
        ["board", "--store", QUICK, "--format", "html", "-o", "page.html"],
        ["plot", "reliability", "--store", QUICK],
        ["run", "--plugins", TOY, "task=toy", *SMALL],
    ],
    ids=["verify", "board", "page", "plot", "run"],
)
def test_no_thread_is_left(words, tmp_path):
    one_each = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    places = {"W2S_STORE": str(tmp_path / "store"), "W2S_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | one_each | places,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "['python']", done.stderr


def test_columns_of_probabilities():
    import numpy as np
    import pyarrow as pa

    from w2s_bench import exchange

    rows = [[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]
    table = pa.table({"p_student": pa.array(rows, type=pa.list_(pa.float32())), "k": [0, 1, 2]})
    assert exchange.probabilities_in(table).tolist() == rows
    assert exchange.probabilities_in(table.slice(1)).tolist() == rows[1:]
    assert exchange.probabilities_in(table.filter(pa.array([False, True, True]))).tolist() == rows[1:]
    assert exchange.probabilities_in(table.slice(3)).shape[0] == 0
    for broken in ([[0.5, 0.5], [1.0]], [[0.5, None], [0.5, 0.5]], [[0.5, 0.5], None]):
        with pytest.raises(ValueError, match="p_student"):
            exchange.probabilities_in(pa.table({"p_student": pa.array(broken, type=pa.list_(pa.float32()))}))
    with pytest.raises(ValueError, match="p_student is double"):
        exchange.probabilities_in(pa.table({"p_student": [0.5]}))
    assert np.float32 == exchange.probabilities_in(table).dtype
