"""Names that tell what a value is, and verbs of today."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "", "board", "board/render", "cli", "compose", "conformance", "referee", "registry", "starters", "store", "studies", "training",
)  # fmt: skip
VOCABULARY = ROOT / "plugins/ladder/words.py"
"""The words of a generated language."""
FILES = [p for room in ROOMS for p in sorted((ROOT / "w2s_bench" / room).glob("*.py"))]
FILES += [p for top in ("plugins", "leaderboard") for p in sorted((ROOT / top).rglob("*.py")) if p != VOCABULARY]
ORIGINS = {"own", "found", "told", "said", "given"}
"""As names these tell where a value comes from, never what it is."""
VERBS = re.compile(r"\b(told|said|stands?|lies|holds?|heard|whoever)\b|Says whether|Returns nothing", re.I)


def names_in(tree: ast.AST) -> set[str]:
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}


def texts_in(tree: ast.AST) -> list[str]:
    """Returns docstrings, the strings under constants and fields, and messages."""
    return [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_names_and_sentences(path):
    tree = ast.parse(path.read_text())
    assert not names_in(tree) & ORIGINS
    assert [text for text in texts_in(tree) if VERBS.search(text)] == []


def test_the_scanner_sees():
    tree = ast.parse('def f(given):\n    """Says whether it holds."""\n    for own, x in []:\n        found = 1')
    assert names_in(tree) == {"given", "own", "found", "x"}
    assert VERBS.search(texts_in(tree)[0]) and len(FILES) > 80
