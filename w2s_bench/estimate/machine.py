"""What work is done on: a card out of the vendors' data sheets, or the processor at hand, which is measured."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_bench.errors import UsageError


@dataclass(frozen=True)
class Machine:
    """A card, or one worker's share of a processor."""

    name: str
    memory: float
    """Bytes."""
    peak: dict[str, float]
    """Floating-point operations a second, by a recipe's precision."""
    source: str
    """Where the numbers come from."""
    reached: dict[str, float]
    """Which share of the peak training reaches, by precision."""
    start: float
    """Seconds that a stage takes before it trains."""
    step: float
    """Seconds that an optimiser step takes however small the network is."""
    is_card: bool = True


REACHED = {"bf16-mixed": 0.116, "32-true": 0.5}
"""On cards. The first was measured (docs/performance.md, an H100: 38,564 tokens a second, a network of .494 billion
weights), the second was not."""
CARD_START = 9.0
"""Seconds from a process to its first step, as measured on the same card."""


def _card(name: str, gigabytes: float, bf16: float, fp32: float, source: str) -> Machine:
    peak = {"bf16-mixed": bf16 * 1e12, "32-true": fp32 * 1e12}
    return Machine(name, gigabytes * 1e9, peak, source, REACHED, CARD_START, 0.0)


CARDS = {
    card.name: card
    for card in (
        _card("h200", 141, 989, 67, "NVIDIA H200 Tensor Core GPU, data sheet (SXM)"),
        _card("h100", 80, 989, 67, "NVIDIA H100 Tensor Core GPU, data sheet (SXM)"),
        _card("a100", 80, 312, 19.5, "NVIDIA A100 80GB, data sheet (SXM)"),
        _card("l40s", 48, 362, 91.6, "NVIDIA L40S, data sheet"),
        _card("l4", 24, 121, 30.3, "NVIDIA L4 Tensor Core GPU, data sheet"),
        _card("rtx4090", 24, 165.2, 82.6, "NVIDIA Ada GPU architecture, white paper, appendix A"),
    )
}
"""Memory, peak of matrix products in bfloat16 without sparsity (sums in float32), peak in float32 outside them.

Where a data sheet gives the peak with sparsity alone, this is half of it.
"""


def card(name: Any) -> Machine:
    """Returns a card by its name; UsageError with the known names where there is none."""
    if name not in CARDS:
        raise UsageError(f"hardware.card={name}: no such card is known; there are {', '.join(CARDS)}")
    return CARDS[name]


def card_called(names: str | None) -> Machine | None:
    """Returns the card that a driver's text names (`NVIDIA H100 80GB HBM3`); None where it is not a known one.

    An A100 of 40 GB goes by the same name as one of 80, so its memory is not known.
    """
    words = re.sub(r"[^a-z0-9]", "", (names or "").split(",")[0].lower())
    fitting = [name for name in CARDS if name in words]
    return CARDS[max(fitting, key=len)] if fitting and "40gb" not in words else None


def processor(threads: int) -> Machine:
    """Returns the processor at hand with the speed of matrix products on `threads` threads, measured in .2 s.

    The fastest product counts: what else the machine does slows the others.

    In bfloat16 it is taken to be as fast as in float32, which is so where the processor has no instructions for it.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    matrix = np.full((512, 512), 0.5, np.float32)
    with threadpool_limits(threads):
        fastest, began = float("inf"), time.perf_counter()
        while (started := time.perf_counter()) < began + 0.2:
            matrix @ matrix
            fastest = min(fastest, time.perf_counter() - started)
    peak = 2.0 * 512**3 / fastest
    source = f"measured on {threads} thread{'s' * (threads > 1)}"
    peaks, reached = {"bf16-mixed": peak, "32-true": peak}, {"bf16-mixed": 0.45, "32-true": 0.45}
    return Machine("this processor", _memory(), peaks, source, reached, start=0.3, step=0.007, is_card=False)


def _memory() -> float:
    """Returns the bytes of memory that there are; a container's limit (cgroup v2) counts."""
    there = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        return min(there, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    return there
