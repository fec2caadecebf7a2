"""What identifies a model in a folder: a digest over the files that `from_pretrained` reads."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""The first of these in a folder is what `from_pretrained` reads."""
BESIDE_WEIGHTS = ("*.json", "vocab*", "merges.txt", "*.model", "*.tiktoken", "*.jinja")
"""Configuration, tokeniser and chat template."""


def folder_digest(folder: Path) -> str:
    """Returns 32 hex digits over the weights, configuration and tokeniser in a folder."""
    weights = next((fitting for pattern in WEIGHTS if (fitting := list(folder.glob(pattern)))), [])
    files = {*weights, *(f for pattern in BESIDE_WEIGHTS for f in folder.glob(pattern))}
    summed = hashlib.sha256()
    for file in sorted(f for f in files if f.is_file()):
        state = file.stat()
        summed.update(f"{file.name} {_file_digest(str(file.resolve()), state.st_size, state.st_mtime_ns)}\n".encode())
    return summed.hexdigest()[:32]


@lru_cache(maxsize=1024)
def _file_digest(path: str, size: int, modified: int) -> str:
    """Returns sha256 of a file, read once while its size and time stay."""
    from w2s_bench.exchange import file_sha256  # not above: it brings pyarrow, which listing plugins must not wait for

    return file_sha256(Path(path))
