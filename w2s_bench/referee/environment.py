"""The environment variables that worker processes get."""

from __future__ import annotations

import os

HIDDEN = ("W2S_STORE", "W2S_CACHE", "W2S_PLUGINS", "W2S_TRACE_PLUGINS")
"""Variables that workers do not get: where records and caches are, and plugins, which they get with their job."""

SCHEDULERS = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SUBMITIT_", "RAY_")
"""How variables begin by which a job of a cluster knows what it is in; Lightning would take them for its own."""

KEEP = str(1 << 30)
"""Bytes. Far above the tensors of a training step, and what fits into 32 bits."""
MEMORY = {"MALLOC_MMAP_THRESHOLD_": KEEP, "MALLOC_TRIM_THRESHOLD_": KEEP}
"""Read by glibc when a process starts: freed memory stays with the process for the next step's tensors.

By default each large tensor is mapped and given back, and the kernel clears its pages anew at every step.
"""


def of_workers(threads: int) -> dict[str, str]:
    """Returns this process's environment as workers of so many threads get it; what the user set of MEMORY stays."""
    shown = {k: v for k, v in os.environ.items() if k not in HIDDEN and not k.startswith(SCHEDULERS)}
    environment = MEMORY | shown
    # Set before libraries load. A fixed hash seed makes a plugin that walks a set repeat itself.
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONHASHSEED": "0"}
    return environment | {"OPENBLAS_NUM_THREADS": "1"}  # starts its threads at import, before the fork
