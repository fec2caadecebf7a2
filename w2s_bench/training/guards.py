"""What each hook may return, checked where a mitigation returns it, so that an error names the mitigation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Round
from w2s_bench.training.batches import Batch
from w2s_bench.training.checks import demand


class MitigationFailed(W2SError):
    """A mitigation raised, or returned what its hook may not return."""


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

    def wrong() -> MitigationFailed:
        finite = bool(known.isfinite().all())
        what = "rows that are negative or do not sum to 1" if finite else "values that are not finite"
        return MitigationFailed(f"mitigation {name}: {hook} must return {expected}; it returned {what}")

    demand((known >= -1e-6).all() & ((total - 1).abs() < 1e-3).all(), wrong)
    return value


def _labels(name: str, hook: str, arguments: dict[str, Any], value: Any) -> Any:
    if value is None:
        return None
    if hook == "combine_votes":
        return as_labels(value, arguments["votes"][0], name, hook, may_abstain=True)
    return as_labels(value, arguments["logits"] if "logits" in arguments else arguments["labels"], name, hook)


def _weights(name: str, hook: str, arguments: dict[str, Any], value: Any) -> Tensor:
    return as_weights(value, len(arguments["labels"]), name, hook)


def as_weights(value: Any, size: int, name: str, hook: str) -> Tensor:
    """Returns the value where it is `size` finite weights >= 0; says what came otherwise."""
    good = isinstance(value, Tensor) and value.shape == (size,)
    if not good or not bool(value.isfinite().all()) or bool((value < 0).any()):
        came = f"shape {list(value.shape)}" if isinstance(value, Tensor) and not good else f"{value!r:.80}"
        raise MitigationFailed(f"mitigation {name}: {hook} must return {size} finite weights >= 0; it returned {came}")
    return value.float()


def _losses(name: str, hook: str, arguments: dict[str, Any], value: Any) -> Tensor:
    size = len(arguments["logits"])
    if not isinstance(value, Tensor) or value.shape != (size,):
        came = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise MitigationFailed(
            f"mitigation {name}: {hook} must return {size} losses, one an example; it returned {came}"
        )
    wrong = MitigationFailed(f"mitigation {name}: {hook} returned losses that are not finite")
    demand(value.detach().isfinite().all(), lambda: wrong)
    return value


def positions(value: Any, size: int) -> Tensor | None:
    """Returns the value as positions in a pool of `size` examples, at least one; None where it is no such thing."""
    try:
        order = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError):
        return None
    whole = order.ndim == 1 and len(order) > 0 and not order.is_floating_point() and order.dtype != torch.bool
    return order.long() if whole and int(order.min()) >= 0 and int(order.max()) < size else None


def _order(name: str, hook: str, arguments: dict[str, Any], value: Any) -> Tensor:
    size = len(arguments["pool"])
    order = positions(value, size)
    if order is None:
        raise MitigationFailed(
            f"mitigation {name}: {hook} must return positions in the pool (0 to {size - 1}), at least one; "
            f"it returned {value!r:.80}"
        )
    return order


def _rounds(name: str, hook: str, arguments: dict[str, Any], value: Any) -> Any:
    known = {*arguments["students"], "strong"}
    for plan in value if isinstance(value, list) and value else [None]:
        if (
            not isinstance(plan, Round)
            or plan.student not in known
            or plan.labels not in ("votes", "previous")
            or plan.objective not in ("labels", "text")
        ):
            raise MitigationFailed(
                f"mitigation {name}: {hook} must return a list of Rounds over the students {sorted(known)} with labels "
                "`votes` or `previous` and the objective `labels` or `text`; "
                f"it returned {plan if isinstance(value, list) else value!r:.80}"
            )
        size = len(arguments["pool"])
        if plan.examples is not None and positions(plan.examples, size) is None:
            raise MitigationFailed(
                f"mitigation {name}: {hook} must name a round's examples by positions in the pool (0 to {size - 1}), "
                f"at least one; it returned {plan.examples!r:.80}"
            )
        for field, least in (("share", "> 0"), ("lr_scale", ">= 0")):
            factor = getattr(plan, field)
            if not math.isfinite(factor) or factor < 0 or (factor == 0 and least == "> 0"):
                raise MitigationFailed(
                    f"mitigation {name}: {hook} must give each round a finite {field} {least}; it returned {factor!r}"
                )
    return value


def _batch(name: str, hook: str, arguments: dict[str, Any], value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, Batch):
        raise MitigationFailed(
            f"mitigation {name}: {hook} must return a Batch or None; it returned {type(value).__name__}"
        )
    as_labels(value.labels, arguments["batch"].labels, name, f"{hook} (batch.labels)")
    as_weights(value.weights, len(value.labels), name, f"{hook} (batch.weights)")
    if value.mix is not None:
        _mix(name, hook, value)
    return value


def _mix(name: str, hook: str, batch: Batch) -> None:
    size = len(batch.labels)
    pair = batch.mix if isinstance(batch.mix, tuple) and len(batch.mix) == 2 else (None, None)
    partner, share = (part if isinstance(part, Tensor) and part.shape == (size,) else None for part in pair)
    at = None if partner is None else positions(partner, size)
    if at is None or share is None or not bool(((share >= 0) & (share <= 1)).all()):
        raise MitigationFailed(
            f"mitigation {name}: {hook} (batch.mix) must be positions in the batch (0 to {size - 1}) and shares "
            f"in [0, 1], {size} of each; it returned {batch.mix!r:.80}"
        )
    if "column" in batch.inputs:
        raise MitigationFailed(f"mitigation {name}: {hook} mixes features, which answers in words have none of")


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
