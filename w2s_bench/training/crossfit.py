"""Predictions for the pool by students that did not learn from the example at hand: the harness's own fits."""

from __future__ import annotations

import functools
import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Inputs, Round
from w2s_bench.seeds import derive
from w2s_bench.training.batches import cached_array, content_key
from w2s_bench.training.loop import StageContext, fit_round
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Pool
from w2s_bench.training.stack import Stack

COUNTED = ("steps", "examples", "tokens", "flops")
"""Of a meter, what kept fits add for each mitigation that asks for them."""


@functools.cache
def code() -> str:
    """Returns a digest of the code that fits: what another version left in the cache is fitted again."""
    sha = hashlib.sha256(torch.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sha.update(path.read_bytes())
    return sha.hexdigest()


@dataclass
class CrossFit:
    """Out-of-fold predictions of the strong student, kept by content: who asks for the same shares them.

    Students whose weights every seed loads alike are kept in the cache too, for other cells. What the fits cost is
    added to the stage's meter wherever they came from.
    """

    stage: StageContext
    inputs: Inputs
    kept: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, labels: Tensor, folds: int = 2, share: float = 1.0) -> Tensor:
        """Returns probabilities [N, C], see `Pool.cross_predict`."""
        if labels.shape[0] != len(self.inputs) or not 2 <= folds <= len(self.inputs):
            raise W2SError(
                f"cross_predict takes labels for all {len(self.inputs)} examples and 2 folds or more; "
                f"{len(labels)} and {folds} came"
            )
        key = self._key(labels, folds, share)
        if key not in self.kept:
            self.kept[key] = self._of(key, labels, folds, share)
        return self.kept[key].clone()

    def _key(self, labels: Tensor, folds: int, share: float) -> str:
        sha = hashlib.sha256(np.ascontiguousarray(labels.numpy()).tobytes()).hexdigest()
        _, recipe = self.stage.backbones["strong"]
        student = self.stage.keys.get("strong", "")
        fitted_by = [student, vars(recipe), self.stage.seed, self.stage.hardware["accelerator"], code()]
        asked = [self.stage.task.kind, sha, list(labels.shape), folds, share]
        return "crossfit-" + content_key(self.inputs, fitted_by, asked, self.inputs.candidates or [])

    def _of(self, key: str, labels: Tensor, folds: int, share: float) -> Tensor:
        here = 0.0

        def fit() -> dict[str, np.ndarray]:
            nonlocal here
            meter = Meter()
            probabilities = self._fit(replace(self.stage, meter=meter), labels, folds, share)
            counts = [float(getattr(meter, name)) for name in COUNTED]
            here = time.perf_counter() - meter.born
            return {"probabilities": probabilities.numpy(), "cost": np.array([*counts, meter.elapsed()])}

        cache = self.stage.cache if "strong" in self.stage.keys else ()
        arrays = cached_array(cache, key, ("probabilities", "cost"), fit)
        *counts, seconds = arrays["cost"].tolist()
        for name, count in zip(COUNTED, counts, strict=True):
            before = getattr(self.stage.meter, name)
            setattr(self.stage.meter, name, before + type(before)(count))
        self.stage.meter.started -= seconds - here  # what they took before: another cell's, or a killed process's
        return torch.from_numpy(arrays["probabilities"])

    def _fit(self, stage: StageContext, labels: Tensor, folds: int, share: float) -> Tensor:
        rng = np.random.default_rng(derive(stage.seed, "folds", folds))
        fold_of = rng.permutation(np.arange(len(labels)) % folds)
        probabilities = torch.empty_like(labels)
        with torch.random.fork_rng():  # these fits must not move the streams of dropout
            for fold in range(folds):
                learnt, held_out = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
                votes = labels[learnt][None]
                inputs = self.inputs.take(learnt)
                pool = Pool(stage.task, inputs, votes, inputs.take([]), votes[:, :0], [], {})
                of_fold = replace(stage, seed=derive(stage.seed, "fold", folds, fold))
                student = fit_round(of_fold, Stack([], {}), pool, Round(share=share), votes[0])
                probabilities[held_out] = student.predict(self.inputs.take(held_out)).to(labels.dtype)
        return probabilities
