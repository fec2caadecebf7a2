"""Random logits and labels, calm and saturated, and what losses are compared by."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from w2s_bench.training.batches import Batch

quick = settings(max_examples=40, deadline=None)


@st.composite
def cases(draw, classes=None, low=-200.0, high=200.0):
    """Returns logits and labels [B, C], both float32, logits from calm to saturated."""
    size = draw(st.integers(1, 24))
    width = classes or draw(st.integers(2, 5))
    logits = draw(hnp.arrays(np.float32, (size, width), elements=st.floats(low, high, width=32)))
    raw = draw(hnp.arrays(np.float32, (size, width), elements=st.floats(0, 1, width=32))).astype(np.float64)
    raw = np.where(raw.sum(1, keepdims=True) < 1e-3, 1.0, raw)
    return logits, (raw / raw.sum(1, keepdims=True)).astype(np.float32)


def log_softmax(logits):
    x = logits.astype(np.float64)
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def batch_of(labels, index=None):
    size = len(labels)
    at = torch.arange(size) if index is None else torch.as_tensor(index)
    return Batch(at, {}, torch.from_numpy(labels), torch.ones(size), torch.from_numpy(labels)[None])


def close(ours, reference, **tolerance):
    np.testing.assert_allclose(ours.detach().numpy(), reference, **{"rtol": 2e-5, "atol": 2e-5, **tolerance})
