"""Plugin files written by a test."""

from __future__ import annotations

import textwrap

import pytest

from w2s_bench.registry import loading

HEAD = """
from dataclasses import dataclass, field
from typing import Any, Literal
from w2s_bench import hookimpl
"""
GOOD = """
class Trick:
    '''Does a trick.'''
    @dataclass
    class Options:
        power: float = 1
        '''How strong.'''
        mode: Literal["soft", "hard"] = "soft"
        names: list[str] = field(default_factory=list)
        size: int | None = None
    def __init__(self, options): self.options = options
    @hookimpl
    def revise_labels(self, labels): return labels

@hookimpl
def register_mitigations(register):
    register("trick", Trick)
    register("trick_strong", Trick, power=2, mode="hard")
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    # One built-in stands for all: the way in is the same.
    monkeypatch.setattr(
        loading, "DEFAULT_PLUGINS", ("w2s_bench.plugins.mitigations.naive", "w2s_bench.plugins.metrics")
    )

    def write(code: str, name: str = "mine.py") -> str:
        path = tmp_path / name
        path.write_text(HEAD + textwrap.dedent(code))
        return str(path)

    return write
