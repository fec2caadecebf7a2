"""Compositions of cells out of overrides, with the toy plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2s_bench.compose import runs as compose
from w2s_bench.compose.composer import open_composer
from w2s_bench.registry import load

TOY = str(Path(__file__).parent / "toy.py")
BASE = ["task=toy", "supervisor=[toy_weak]", "student=toy"]


@pytest.fixture(scope="module")
def registry():
    return load([TOY])


@pytest.fixture
def make(registry, monkeypatch):
    monkeypatch.delenv("W2S_STORE", raising=False)
    monkeypatch.setenv("W2S_CACHE", "the-cache")

    def make(*args, multirun=False, **rest):
        return compose.cells([*BASE, *args], multirun, registry, **rest)

    return make


@pytest.fixture(scope="module")
def composer(registry):
    with open_composer(registry, []) as composer:
        yield composer
