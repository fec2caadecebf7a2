"""Checks of values that may be on an accelerator, put off there so that no step waits for their answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

AT_MOST = 128
"""Checks put off before they are settled: about the steps that a diverged student goes on for."""

_put_off: list[tuple[Tensor, Callable[[], Exception]]] = []


def demand(good: Tensor, error: Callable[[], Exception]) -> None:
    """Raises `error()` where `good` [] is false: at once on the CPU, on an accelerator when `settle` asks."""
    if known_at_once(good):
        if not bool(good):
            raise error()
        return
    _put_off.append((good, error))
    if len(_put_off) >= AT_MOST:
        settle()


def settle() -> None:
    """Raises the first error among the checks that were put off; every fit ends with it."""
    pending = list(_put_off)
    _put_off.clear()
    if pending and not all(answers := torch.stack([good for good, _ in pending]).tolist()):
        raise pending[answers.index(False)][1]()


def known_at_once(value: Tensor) -> bool:
    """Returns whether nothing has to be waited for to read this value."""
    return value.device.type == "cpu"
