"""Cells of `facts` with and without a secret."""

from __future__ import annotations

from w2s_bench.compose import runs as compose
from w2s_bench.referee.plan import plan_cells

CONTENT = b"not to be guessed, 32 bytes long"
OTHER = b"another one, of 32 random bytes."
SIZES = {"n_supervision": 96, "n_transfer": 64, "n_validation": 16, "n_test": 48}
FACTS = ["task=facts", *(f"task.{k}={n}" for k, n in SIZES.items()), "supervisor=[ladder_xxs_0]", "student=ladder_xs",
         "protocol.supervision.epochs=1", "seed=3"]  # fmt: skip


def with_file(secret):
    """Returns the override for a secret's file, none for None."""
    return [] if secret is None else [f"secret={secret}"]


def planned(registry, secret=None):
    """Returns the plan of one cell."""
    return plan_cells(compose.cells([*FACTS, *with_file(secret)], False, registry).cells, registry)
