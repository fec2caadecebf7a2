"""A mitigation under observation: how often each hook is asked, and which streams of random numbers it draws from."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from w2s_bench import hookimpl, interfaces
from w2s_bench.registry import Registration, stacking

REMEDY = {
    "torch": "give torch's functions `generator=pool.rng`",
    "numpy": "make a generator of its own: np.random.default_rng(int(torch.randint(2**31, (1,), generator=pool.rng)))",
    "random": "draw with torch and `generator=pool.rng`",
}
"""What to do in place of drawing from a global stream."""


@dataclass
class Watch:
    """What was seen."""

    asked: Counter[str] = field(default_factory=Counter)
    """Calls by hook."""
    drew: dict[str, str] = field(default_factory=dict)
    """The first hook seen to move each global stream, by stream."""


def watched(entry: Registration, options: dict[str, Any], watch: Watch) -> Callable[[], Any]:
    """Returns a factory of the entry's objects, of a subclass whose hooks are seen by `watch`."""
    methods = {
        i.method: _seen(getattr(entry.cls, i.method), i, watch) for i in stacking.implementations(entry.cls)
    }  # fmt: skip
    cls = type(entry.cls.__name__, (entry.cls,), {**methods, "__module__": entry.cls.__module__})
    return functools.partial(interfaces.build, cls, {**entry.options, **options})


def _seen(method: Any, implementation: stacking.Implementation, watch: Watch) -> Any:
    hook = implementation.hook

    def note(before: dict[str, Any]) -> None:
        for stream, state in _streams().items():
            if not _same(state, before[stream]):
                watch.drew.setdefault(stream, hook)

    @functools.wraps(method)
    def claim(*args: Any, **kwargs: Any) -> Any:
        watch.asked[hook] += 1
        before = _streams()
        result = method(*args, **kwargs)
        note(before)
        return result

    @functools.wraps(method)
    def loop(*args: Any, **kwargs: Any) -> Any:
        watch.asked[hook] += 1
        before = _streams()
        with torch.random.fork_rng():  # what the harness itself leaves behind on making a student
            replace(next(a for a in (*args, *kwargs.values()) if hasattr(a, "students")), students=[]).new_student()
            before["torch"] = torch.get_rng_state()
        result = method(*args, **kwargs)
        note(before)
        return result

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        watch.asked[hook] += 1
        before = _streams()
        generator = method(*args, **kwargs)
        next(generator)
        note(before)
        try:
            inner = yield
        except Exception as error:
            generator.throw(error)
            raise
        before = _streams()
        try:
            generator.send(inner)
        except StopIteration as end:
            note(before)
            return end.value
        yield  # a second time: the harness says so

    return wrapper if implementation.wrapper else loop if hook == "fit_student" else claim


def _streams() -> dict[str, Any]:
    return {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "random": random.getstate()}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, tuple) and any(isinstance(part, np.ndarray) for part in one):
        return all(_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def counting(watch: Watch) -> Callable[[], Any]:
    """Returns a factory of mitigations that change nothing and count how often a loop asks them."""

    class Counting:
        """Passes everything on."""

        @hookimpl(wrapper=True)
        def order_examples(self) -> Any:
            watch.asked["order_examples"] += 1
            return (yield)

        @hookimpl
        def training_batch(self) -> None:
            watch.asked["training_batch"] += 1

        @hookimpl(wrapper=True)
        def training_targets(self) -> Any:
            watch.asked["training_targets"] += 1
            return (yield)

        @hookimpl(wrapper=True)
        def training_loss(self) -> Any:
            watch.asked["training_loss"] += 1
            return (yield)

    return Counting
