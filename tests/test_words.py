"""Names that tell what a value is, and verbs of today."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = ROOT / "plugins/ladder/words.py"
"""The words of a generated language."""
FILES = [
    p for t in ("w2s_bench", "plugins", "leaderboard") for p in sorted((ROOT / t).rglob("*.py")) if p != VOCABULARY
]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / n for n in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"))]
REPLACED = [
    r"life\.py", "life of a weak label", "raise_student", "still_silent", "SURROUNDINGS", r"words\(states",
    r"\bLesson\b", r"\bprotocols\.py", r"\bdials?\b", r"\bfaces\b", "One door", "becomes of students",
    "surer than it may be", "by luck his", "Of what kind each part", "misfit", "without a surprise", r"\balike\.py",
    r"\bLine\b =", r'"over naive"|\| over naive \|', "all behave", "names_a_place", "without_places?",
    r"\bRerunning\b", "may be told beside", "WITH_THEM", "whoever can say", r"\bLISTS\b", r"\bOWNED\b",
    r"\bAnnouncement\b", r"\bheard\b", "last_words", r"\b_death\b", r"\bself\.(bell|ring)\b", "def live",
    "at the door of", "one sure error", "a fourth for", "row that must behave", "his scores", "a draw of his own",
    r"\bhydra_face\b", r"\bset_rates\b", r"\bslopes\b", r"\bclass (Asked|Bench)\b",
]  # fmt: skip
"""Names and phrases that gave way to the field's terms and plain English."""
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


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_sentences_of_pages(path):
    assert [line for line in path.read_text().splitlines() if VERBS.search(line)] == []


@pytest.mark.parametrize("path", [*FILES, *PAGES], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_replaced_phrases_stay_away(path):
    text = path.read_text()
    assert [phrase for phrase in REPLACED if re.search(phrase, text)] == []


def test_the_scanner_sees():
    tree = ast.parse('def f(given):\n    """Says whether it holds."""\n    for own, x in []:\n        found = 1')
    assert names_in(tree) == {"given", "own", "found", "x"}
    assert VERBS.search(texts_in(tree)[0]) and len(FILES) > 80
