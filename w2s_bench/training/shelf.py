"""Features by text on disk: what a frozen network made of each text, for all who meet the text again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from w2s_bench.training.batches import content_of

ENTRY = np.dtype([("key", "<u8"), ("sum", "<u4")])
"""Of an index: the first 8 bytes of a text's SHA-256, and the CRC-32 of its features."""


class Shelf:
    """Any number of pairs of files, each pair with the features of some texts; without a folder, in memory alone.

    `NAME-n.features` has float32 numbers [n, H], mapped into memory; `NAME-n.index` the n entries that they belong to.
    Files never change, and a pair is complete when its index appears: any number of processes may read and add.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._known: set[str] = set()
        self._arrays: list[np.ndarray] = []
        self._entries = np.empty(0, ENTRY)
        """Of all files, sorted by key; beside each, its file's number and its row there."""
        self._places = np.empty((0, 2), np.int64)

    def features(self, texts: list[str], read: Callable[[list[str]], np.ndarray]) -> np.ndarray:
        """Returns features [n, H] of texts; `read` is asked for those that are not here or are damaged, each once."""
        keys = np.array([key_of(text) for text in texts], np.uint64)
        features, missing = self._gathered(keys)
        if len(missing):
            self._look()  # others may have read them meanwhile
            features, missing = self._gathered(keys)
        if len(missing):
            once = {int(keys[i]): texts[i] for i in missing}
            self._add(np.array(list(once), np.uint64), read(list(once.values())))
            features, missing = self._gathered(keys)
        return features

    def _gathered(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns features [n, H] by key, and the positions of those that are not here in good order."""
        at = np.searchsorted(self._entries["key"], keys, side="right") - 1  # the newest, where a text came twice
        here = (at >= 0) & (self._entries["key"][at] == keys) if len(self._entries) else np.zeros(len(keys), bool)
        features = np.zeros((len(keys), self._arrays[0].shape[1] if self._arrays else 0), np.float32)
        file, row = self._places[at[here]].T
        came = features[here]
        for number in np.unique(file):
            came[file == number] = self._arrays[number][row[file == number]]
        features[here] = came
        sums = np.fromiter((zlib.crc32(values) for values in came), np.uint32, len(came))  # type: ignore[arg-type]
        here[here] = sums == self._entries["sum"][at[here]]
        return features, np.flatnonzero(~here)

    def _add(self, keys: np.ndarray, features: np.ndarray) -> None:
        features = np.ascontiguousarray(features, np.float32)
        entries = np.empty(len(keys), ENTRY)
        entries["key"] = keys
        entries["sum"] = [zlib.crc32(values) for values in features]
        self._take_in(entries, features)
        if self.folder is None:
            return
        name = f"{uuid.uuid4().hex}-{len(keys)}"
        self._known.add(name)
        with contextlib.suppress(OSError):  # a folder is in its place, or the disk is full: the shelf does without
            self.folder.mkdir(parents=True, exist_ok=True)
            for ending, array in ((".features", features), (".index", entries)):
                partial = self.folder / f"{name}{ending}.part"
                array.tofile(partial)
                os.replace(partial, self.folder / f"{name}{ending}")

    def _look(self) -> None:
        """Takes in the files that came since."""
        for index in sorted(self.folder.glob("*.index")) if self.folder else ():
            if index.stem not in self._known:
                self._known.add(index.stem)
                with contextlib.suppress(OSError, ValueError):  # damaged or gone: its texts are read again
                    entries = np.fromfile(index, ENTRY)
                    numbers = np.memmap(index.with_suffix(".features"), np.float32, "r")
                    if len(entries) == int(index.stem.rpartition("-")[2]):
                        self._take_in(entries, numbers.reshape(len(entries), -1))

    def _take_in(self, entries: np.ndarray, features: np.ndarray) -> None:
        if self._arrays and features.shape[1] != self._arrays[0].shape[1]:
            return
        places = np.stack([np.full(len(entries), len(self._arrays)), np.arange(len(entries))], 1)
        self._arrays.append(features)
        entries, places = np.concatenate([self._entries, entries]), np.concatenate([self._places, places])
        order = np.argsort(entries["key"], kind="stable")
        self._entries, self._places = entries[order], places[order]


def key_of(text: str) -> int:
    """Returns the first 8 bytes of the SHA-256 of all that a model may read of a text."""
    return int.from_bytes(hashlib.sha256(content_of(text).encode()).digest()[:8], "little")
