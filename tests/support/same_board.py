"""Runs the suite `quick` with `local` and with other engines, and says whether the boards are the same but for times.

python -m support.same_board FOLDER ray slurm      in tests/; SLURM is started on this machine for it
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support import slurm_cluster
from support.referee_bench import without_times


def board_of(folder: Path, engine: str, environment: dict[str, str]) -> str:
    """Returns the JSON of the board of a whole run with an engine, in a store and a cache of its own, without times."""
    there = {**environment, "W2S_CACHE": str(folder / engine / "cache"), "W2S_STORE": str(folder / engine / "store")}
    w2s = [sys.executable, "-m", "w2s_bench"]
    subprocess.run([*w2s, "suite", "quick", f"engine={engine}"], env=there, check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run([*w2s, "board", "--format", "json"], env=there, check=True, capture_output=True).stdout
    return json.dumps(without_times(json.loads(made)), indent=1)


def main(folder: Path, engines: list[str]) -> int:
    """Returns how many engines gave another board than `local`."""
    different = 0
    environment = dict(os.environ)
    if "slurm" in engines:
        environment = slurm_cluster.environment(folder / "slurm-daemons")
        slurm_cluster.start(folder / "slurm-daemons")
    try:
        expected = board_of(folder, "local", environment)
        for engine in engines:
            same = board_of(folder, engine, environment) == expected
            different += not same
            print(f"engine={engine}: {len(expected)} bytes, {'the same' if same else 'NOT the same'} as with local")
    finally:
        if "slurm" in engines:
            slurm_cluster.stop(folder / "slurm-daemons")
    return different


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2:]))
