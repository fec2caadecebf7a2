"""Separate seeds out of one: split, supervisor, student, and one for each plugin that draws."""

import hashlib


def derive(seed: int, *words: str | int) -> int:
    """Returns a seed in [0, 2**31) that depends on `seed` and on the words, and on nothing else."""
    text = ":".join(str(w) for w in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
