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

    Files in all of the folders are read, and new ones go into the first.

    `NAME-n.features` has float32 numbers [n, H], mapped into memory; `NAME-n.index` the n entries that they belong to.
    Files never change, and a pair is complete when its index appears: any number of processes may read and add. Which
    pairs some texts are in is noted in `KEY.places`, so that they need not all be opened.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self._known: dict[str, int] = {}
        """Of each pair of files, which of the arrays it is; -1 where it is damaged."""
        self._arrays: list[np.ndarray] = []
        self._entries = np.empty(0, ENTRY)
        """Of all files, sorted by key; beside each, its file's number and its row there."""
        self._places = np.empty((0, 2), np.int64)

    def features(self, texts: list[str], read: Callable[[list[str]], np.ndarray]) -> np.ndarray:
        """Returns features [n, H] of texts; `read` is asked for those that are not here or are damaged, each once."""
        keys = np.array([key_of(text) for text in texts], np.uint64)
        features, missing = self._gathered(keys)
        if len(missing):
            self._look(self._noted(keys))
            features, missing = self._gathered(keys)
        if len(missing):
            self._look(sorted(index.stem for folder in self.folders for index in folder.glob("*.index")))
            features, missing = self._gathered(keys)
            if len(missing):
                once = {int(keys[i]): texts[i] for i in missing}
                self._add(np.array(list(once), np.uint64), read(list(once.values())))
                features, missing = self._gathered(keys)
            self._note(keys)
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
        name = f"{uuid.uuid4().hex}-{len(keys)}"
        self._take_in([(name, entries, features)])
        self._write(f"{name}.features", features.tobytes())
        self._write(f"{name}.index", entries.tobytes())

    def _write(self, name: str, content: bytes) -> None:
        for folder in self.folders[:1]:
            with contextlib.suppress(OSError):  # a folder is in its place, or the disk is full: the shelf does without
                folder.mkdir(parents=True, exist_ok=True)
                partial = folder / f"{uuid.uuid4().hex}.part"
                partial.write_bytes(content)
                os.replace(partial, folder / name)

    def _look(self, names: list[str]) -> None:
        """Takes in those of these pairs of files that are not in yet."""
        came: list[tuple[str, np.ndarray, np.ndarray]] = []
        for name in names:
            folder = next((f for f in self.folders if (f / f"{name}.index").is_file()), None)
            if name not in self._known and folder:
                self._known[name] = -1
                with contextlib.suppress(OSError, ValueError):  # damaged or gone: its texts are read again
                    entries = np.fromfile(folder / f"{name}.index", ENTRY)
                    numbers = np.memmap(folder / f"{name}.features", np.float32, "r")
                    if len(entries) == int(name.rpartition("-")[2]):
                        came.append((name, entries, numbers.reshape(len(entries), -1)))
        self._take_in(came)

    def _noted(self, keys: np.ndarray) -> list[str]:
        """Returns the pairs of files that these texts were in when they were last asked for."""
        for folder in self.folders:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                return (folder / _note_name(keys)).read_text().split()
        return []

    def _note(self, keys: np.ndarray) -> None:
        at = np.searchsorted(self._entries["key"], keys, side="right") - 1
        used = set(self._places[at, 0].tolist())
        self._write(_note_name(keys), "\n".join(n for n, file in self._known.items() if file in used).encode())

    def _take_in(self, pairs: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
        """Adds entries and features of pairs of files, by their names."""
        entries, places = [self._entries], [self._places]
        for name, added, features in pairs:
            if self._arrays and features.shape[1] != self._arrays[0].shape[1]:
                continue
            self._known[name] = len(self._arrays)
            entries.append(added)
            places.append(np.stack([np.full(len(added), len(self._arrays)), np.arange(len(added))], 1))
            self._arrays.append(features)
        joined = np.concatenate(entries)
        order = np.argsort(joined["key"], kind="stable")
        self._entries, self._places = joined[order], np.concatenate(places)[order]


def _note_name(keys: np.ndarray) -> str:
    return hashlib.sha256(keys.tobytes()).hexdigest()[:32] + ".places"


def key_of(text: str) -> int:
    """Returns the first 8 bytes of the SHA-256 of all that a model may read of a text."""
    return int.from_bytes(hashlib.sha256(content_of(text).encode()).digest()[:8], "little")
