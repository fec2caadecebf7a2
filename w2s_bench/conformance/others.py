"""What metrics and suites must keep to. The docstring of a check is what it expects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2s_bench.conformance.findings import Failed, once
from w2s_bench.registry import Registry

TRUTH = np.tile([0, 0, 1, 1, 1, 0], 8)
"""Class numbers, half of each."""
PERFECT = np.where(np.eye(2)[TRUTH] > 0, 0.99, 0.01)


@dataclass
class Metric:
    """A metric by its name."""

    name: str
    function: Callable[..., float]

    @once
    def values(self) -> dict[str, float]:
        """Returns what it makes of perfect, constant and inverted predictions."""
        predictions = {"perfect": PERFECT, "constant": np.full_like(PERFECT, 0.5), "inverted": 1 - PERFECT}
        return {name: self.function(rows.copy(), TRUTH.copy()) for name, rows in predictions.items()}


def docstring(metric: Metric) -> None:
    """A first line says what it returns, for `w2s list`."""
    line = (metric.function.__doc__ or "").strip().partition("\n")[0]
    if not line:
        raise Failed("there is none", 'write """one line""" under the function')


def finite(metric: Metric) -> str:
    """It is a finite float."""
    for name, value in metric.values.items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Failed(f"{value!r} came for {name} ones", "return a float; NaN only where nothing is defined")
    return ", ".join(f"{name} {value:.3g}" for name, value in metric.values.items())


def tells_right_from_wrong(metric: Metric) -> str:
    """Perfect predictions are at one end, inverted ones at the other."""
    perfect, constant, inverted = (metric.values[k] for k in ("perfect", "constant", "inverted"))
    if perfect == inverted:
        raise Failed(f"both get {perfect:.3g}", "compare the probabilities [N, C] with the class numbers [N]")
    low, high = sorted((perfect, inverted))
    slack = 0.02 * (high - low)  # what the perfect ones lack of certainty
    if not low - slack <= constant <= high + slack:
        raise Failed(f"a constant gets {constant:.3g}, outside {low:.3g} to {high:.3g}", "see what it makes of ties")
    return "higher is better" if perfect > inverted else "lower is better"


def order_does_not_count(metric: Metric) -> None:
    """Examples count the same in any order."""
    order = np.random.default_rng(0).permutation(len(TRUTH))
    rows = np.random.default_rng(1).dirichlet([1, 1], len(TRUTH))
    one, two = metric.function(rows, TRUTH), metric.function(rows[order], TRUTH[order])
    if not math.isclose(one, two, rel_tol=1e-6, abs_tol=1e-9):
        raise Failed(f"{one:.6g} and {two:.6g} came", "pair each row with its own truth")


def three_classes(metric: Metric) -> str:
    """It is a finite float for three classes too."""
    truth = np.tile([0, 1, 2], 16)
    value = metric.function(np.random.default_rng(1).dirichlet([1, 1, 1], len(truth)), truth)
    if not math.isfinite(value):
        raise Failed(f"{value!r} came", "return a float; NaN only where nothing is defined")
    return f"{value:.3g}"


METRIC_CHECKS = (docstring, finite, tells_right_from_wrong, order_does_not_count, three_classes)


@dataclass
class Suite:
    """A suite by its file."""

    name: str
    path: Path
    registry: Registry


def described(suite: Suite) -> None:
    """A description of one line says what it is, for `w2s list`."""
    from w2s_bench.compose import suites

    line = suites.read(suite.name, suite.path).description
    if not line:
        raise Failed("there is none", "write `description:` on top of the file")


def composes(suite: Suite) -> str:
    """Its sweeps compose, every name, option and stack in them."""
    from w2s_bench.compose import suites

    run = suites.compose(suites.read(suite.name, suite.path), [], suite.registry)
    return f"{len(run.cells)} cells"


SUITE_CHECKS = (described, composes)
