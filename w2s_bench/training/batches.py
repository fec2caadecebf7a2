"""Texts to batches: tokenised once, grouped by length, padded to the longest of a batch."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_bench import exchange
from w2s_bench.cells import digest
from w2s_bench.interfaces import Backbone, Conversation, Inputs

WINDOW = 16
"""Batches that are sorted by length together: long enough to save padding, short enough to stay a shuffle."""
WIDTH_STEP = 8
"""Widths, in tokens, of batches of one shape differ by so many."""
BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
"""In such a batch, padding included."""


@dataclass
class Batch:
    """What one optimiser step learns from."""

    index: Tensor
    """[B] positions in the pool."""
    inputs: dict[str, Tensor]
    """`input_ids` and `attention_mask` [B, T] (preference: [2B, T], first candidates first), or `features` [B, H]; in a
    generation task what `answers.pack` makes of prompts and candidates."""
    labels: Tensor
    """[B, C] soft labels."""
    weights: Tensor
    """[B] >= 0."""
    votes: Tensor
    """[S, B, C] what each supervisor says."""
    mix: tuple[Tensor, Tensor] | None = None
    """Positions in the batch [B] of each example's partner, and shares [B] in [0, 1]: the head reads
    share x the example's features + (1 - share) x its partner's. Labels are the mitigation's to mix."""
    rng: torch.Generator | None = None
    """The asking mitigation's own generator."""

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on a device."""
        if self.labels.device == device:
            return self
        labels, weights, votes = (sent(v, device) for v in (self.labels, self.weights, self.votes))
        mix = None if self.mix is None else (sent(self.mix[0], device), sent(self.mix[1], device))
        inputs = {k: sent(v, device) for k, v in self.inputs.items()}
        return replace(self, inputs=inputs, labels=labels, weights=weights, votes=votes, mix=mix)

    def split(self, parts: int) -> list[Batch]:
        """Returns exactly `parts` micro-batches, which together are this batch.

        Of a batch with fewer examples than parts, the last ones repeat its first example at weight 0.
        """
        if parts == 1:
            return [self]
        pairs = "input_ids" in self.inputs and len(self.inputs["input_ids"]) == 2 * len(self.labels)
        out = []
        for at in torch.arange(len(self.labels)).tensor_split(parts):
            idle = len(at) == 0
            at = torch.zeros(1, dtype=torch.long) if idle else at
            read, mix = self._with_partners(at)
            rows = torch.cat([read, read + len(self.labels)]) if pairs else read
            columns = {k: getattr(self, k)[at] for k in ("index", "labels", "weights")}
            columns["weights"] = columns["weights"] * (not idle)
            if "column" in self.inputs:
                inputs = some_texts(self.inputs, at)
            else:
                inputs = {k: v[..., read, :] if k == "features" else v[rows] for k, v in self.inputs.items()}
            out.append(replace(self, inputs=inputs, votes=self.votes[:, at], mix=mix, **columns))
        return out

    def _with_partners(self, at: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Returns the examples to read for those at `at`, themselves first, and how they are mixed."""
        if self.mix is None:
            return at, None
        partner, share = self.mix[0][at], self.mix[1][at]
        read = torch.cat([at, partner[~torch.isin(partner, at)].unique()])
        place = torch.empty(len(self.labels), dtype=torch.long)
        place[read] = torch.arange(len(read))
        return read, (place[partner], share)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Returns values on a device; to an accelerator through pinned memory, without waiting for what it is at."""
    pinned = values.pin_memory() if device.type == "cuda" and values.device.type == "cpu" else values
    return pinned.to(device, non_blocking=True)


def some_texts(inputs: dict[str, Tensor], at: Tensor) -> dict[str, Tensor]:
    """Returns, of what `answers.pack` made, the examples at these positions with their candidates alone."""
    column = inputs["column"][at]
    there = column >= 0
    renumbered = torch.full_like(column, -1)
    renumbered[there] = torch.arange(int(there.sum()))
    return {k: v[column[there]] for k, v in inputs.items() if k != "column"} | {"column": renumbered}


def content_key(*parts: Any) -> str:
    """Returns a digest of texts and JSON-able values; nothing that derives from truth goes in."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Inputs):
            for text in (*part.text, *(part.other or ())):
                sha.update(content_of(text).encode())
                sha.update(b"\0")
        else:
            sha.update(digest(part).encode())
    return sha.hexdigest()[:32]


def content_of(text: str) -> str:
    """Returns all that a model may read of a text: of a conversation its messages too, which its string may blur."""
    return f"{text}\0{json.dumps(text.messages)}" if isinstance(text, Conversation) else text


def cached_array(
    folders: Sequence[str], key: str, names: Collection[str], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns the arrays of these names kept under `key` in one of the folders.

    They are made, and kept in the first folder, where they are in none, or damaged.
    """
    for folder in folders:
        with (
            contextlib.suppress(Exception),  # they raise a dozen kinds
            np.load(Path(folder) / f"{key}.npz", allow_pickle=False) as file,
        ):
            return {name: file[name] for name in names}
    arrays = make()
    if folders:
        with contextlib.suppress(OSError):  # a folder is in its place, or the disk is full: the cache does without
            exchange.write_arrays(Path(folders[0]) / f"{key}.npz", **arrays)
    return arrays


@dataclass
class Tokens:
    """Token ids of a split, without padding."""

    flat: np.ndarray
    starts: np.ndarray
    """[M + 1] where each text's ids begin; preference: 2N texts, first candidates first."""
    lengths: np.ndarray
    """[N] the longest text of each example."""
    pad_id: int
    left: bool

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, index: np.ndarray, width: int = 0) -> dict[str, Tensor]:
        """Returns `input_ids` and `attention_mask` [B, T] of these examples; preference: [2B, T].

        T is `width`, or else the longest text's length.
        """
        if len(self.starts) - 1 > len(self):
            index = np.concatenate([index, index + len(self)])
        begin, end = self.starts[index], self.starts[index + 1]
        size = end - begin
        width = width or max(int(size.max()), 1)
        column = np.arange(width)
        offset = column - (width - size)[:, None] if self.left else np.broadcast_to(column, (len(index), width))
        mask = (offset >= 0) & (offset < size[:, None])
        at = np.where(mask, begin[:, None] + offset, 0)
        ids = np.where(mask, self.flat[at], self.pad_id)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def tokenise(inputs: Inputs, backbone: Backbone, max_length: int, cache: Sequence[str] = ()) -> Tokens:
    """Returns the tokens of a split, cut at `max_length` and at what the backbone takes."""
    limit = min(max_length, backbone.max_length or max_length)

    def make() -> dict[str, np.ndarray]:
        ids = [
            row if len(row) <= limit else row[:limit] for row in backbone.encode([*inputs.text, *(inputs.other or ())])
        ]
        sizes = np.array([len(row) for row in ids], dtype=np.int64)
        flat = np.fromiter(itertools.chain.from_iterable(ids), dtype=np.int64, count=int(sizes.sum()))
        return {"flat": flat, "starts": np.concatenate([[0], np.cumsum(sizes)])}

    arrays = cached_array(cache, "tokens-" + content_key(inputs, backbone.identity, limit), ("flat", "starts"), make)
    sizes = np.diff(arrays["starts"])
    lengths = sizes if inputs.other is None else sizes.reshape(2, -1).max(0)
    flat = arrays["flat"] if len(arrays["flat"]) else np.full(1, backbone.pad_id)
    return Tokens(flat, arrays["starts"], lengths, backbone.pad_id, backbone.padding_side == "left")


def of_one_shape(lengths: np.ndarray, limit: int, device: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (width, positions [B]) of batches whose shape tells the width alone; a short one repeats its first text.

    A matrix product sums in an order that its shape decides, so that a text in such a batch comes out the same to the
    last bit, whatever is read beside it.
    """
    widths = np.minimum(-(-lengths // WIDTH_STEP) * WIDTH_STEP, limit)
    for width in np.unique(widths).tolist():
        at, size = np.flatnonzero(widths == width), max(1, BATCH_TOKENS[device] // width)
        for start in range(0, len(at), size):
            part = at[start : start + size]
            yield width, np.concatenate([part, np.repeat(part[:1], size - len(part))])


def bucketed(order: np.ndarray, lengths: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields full batches of `size`, of similar length, in random order, from a shuffled order."""
    whole = len(order) // size * size
    if whole == 0:
        yield order
        return
    for start in range(0, whole, size * WINDOW):
        window = order[start : min(start + size * WINDOW, whole)]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches = window.reshape(-1, size)
        yield from batches[rng.permutation(len(batches))]


def consecutive(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields batches of `size` in the given order; a last short one only where it is the only one."""
    whole = len(order) // size * size
    if whole == 0:
        yield order
    else:
        yield from order[:whole].reshape(-1, size)


def batches_within(order: np.ndarray, lengths: np.ndarray, size: int, tokens: int) -> Iterator[np.ndarray]:
    """Yields consecutive batches of an order by length: `size` examples at most, and `tokens` where more are one."""
    sorted_lengths, start = lengths[order], 0
    while start < len(order):
        padded = np.arange(1, size + 1)[: len(order) - start] * sorted_lengths[start : start + size]
        end = start + max(1, int(np.searchsorted(padded, tokens, side="right")))
        yield order[start:end]
        start = end
