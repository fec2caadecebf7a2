"""What each hook may return, checked where a mitigation hands it over, so that an error names the mitigation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_bench.errors import W2SError
from w2s_bench.protocols import Round
from w2s_bench.training.batches import Batch


class MitigationFailed(W2SError):
    """A mitigation raised, or handed over a value that is not what its hook returns."""


def blame(name: str, hook: str, error: Exception) -> MitigationFailed:
    return MitigationFailed(f"mitigation {name}: {hook} raised {type(error).__name__}: {error}")


def as_labels(value: Any, like: Tensor, name: str, hook: str, may_abstain: bool = False) -> Tensor:
    """Returns the value where it is probabilities [N, C] shaped like `like`; says what came otherwise."""
    expected = f"probabilities of shape {list(like.shape)} whose rows sum to 1"
    if not isinstance(value, Tensor) or value.shape != like.shape:
        came = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__} {value!r:.60}"
        raise MitigationFailed(f"mitigation {name}: {hook} must return {expected}; it returned {came}")
    known = value.detach()
    if may_abstain:
        known = known[~known.isnan().all(-1)]
    total = known.sum(-1)
    if known.numel() and not (bool((known >= -1e-6).all()) and bool(((total - 1).abs() < 1e-3).all())):
        what = (
            "values that are not finite"
            if not bool(known.isfinite().all())
            else "rows that are negative or do not sum to 1"
        )
        raise MitigationFailed(f"mitigation {name}: {hook} must return {expected}; it returned {what}")
    return value


def _labels(name: str, hook: str, given: dict[str, Any], value: Any) -> Any:
    if value is None:
        return None
    if hook == "combine_votes":
        votes = given.get("votes")
        like = votes[0] if votes is not None else value
        return as_labels(value, like, name, hook, may_abstain=True)
    like = next(
        (given[k] for k in ("labels", "logits") if k in given), given["batch"].labels if "batch" in given else value
    )
    return as_labels(value, like, name, hook)


def _weights(name: str, hook: str, given: dict[str, Any], value: Any) -> Tensor:
    like = next((given[k] for k in ("labels", "pool") if k in given), None)
    good = isinstance(value, Tensor) and value.ndim == 1 and (like is None or len(value) == len(like))
    if not good or not bool(value.isfinite().all()) or bool((value < 0).any()):
        size = "one finite weight >= 0 an example" if like is None else f"{len(like)} finite weights >= 0"
        came = f"shape {list(value.shape)}" if isinstance(value, Tensor) and not good else f"{value!r:.80}"
        raise MitigationFailed(f"mitigation {name}: {hook} must return {size}; it returned {came}")
    return value.float()


def _losses(name: str, hook: str, given: dict[str, Any], value: Any) -> Tensor:
    like = next((given[k] for k in ("logits", "targets") if k in given), getattr(given.get("batch"), "labels", None))
    good = isinstance(value, Tensor) and value.ndim == 1 and (like is None or len(value) == len(like))
    if not good:
        size = "one loss an example" if like is None else f"{len(like)} losses, one an example"
        came = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise MitigationFailed(f"mitigation {name}: {hook} must return {size}; it returned {came}")
    if not bool(value.detach().isfinite().all()):
        raise MitigationFailed(f"mitigation {name}: {hook} returned losses that are not finite")
    return value


def _order(name: str, hook: str, given: dict[str, Any], value: Any) -> Tensor:
    size = len(given["pool"]) if "pool" in given else None
    order = torch.as_tensor(np.asarray(value)) if not isinstance(value, Tensor) else value
    whole = order.ndim == 1 and len(order) > 0 and not order.is_floating_point()
    if not whole or bool((order < 0).any()) or (size is not None and bool((order >= size).any())):
        raise MitigationFailed(
            f"mitigation {name}: {hook} must return positions in the pool (0 to {size}), at least one; "
            f"it returned {value!r:.80}"
        )
    return order


def _rounds(name: str, hook: str, given: dict[str, Any], value: Any) -> Any:
    known = set(given.get("students", ())) | {"strong"}
    for plan in value if isinstance(value, list) and value else [None]:
        if not isinstance(plan, Round) or plan.student not in known or plan.labels not in ("votes", "previous"):
            raise MitigationFailed(
                f"mitigation {name}: {hook} must return a list of Rounds over the students {sorted(known)} with labels "
                f"`votes` or `previous`; it returned {plan if isinstance(value, list) else value!r:.80}"
            )
    return value


def _batch(name: str, hook: str, given: dict[str, Any], value: Any) -> Any:
    if value is not None and not isinstance(value, Batch):
        raise MitigationFailed(
            f"mitigation {name}: {hook} must return a Batch or None; it returned {type(value).__name__}"
        )
    return value


CHECKS: dict[str, Callable[[str, str, dict[str, Any], Any], Any]] = {
    "combine_votes": _labels,
    "plan_rounds": _rounds,
    "revise_labels": _labels,
    "weigh_examples": _weights,
    "order_examples": _order,
    "training_batch": _batch,
    "training_targets": _labels,
    "training_loss": _losses,
}
