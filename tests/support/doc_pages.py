"""The project's pages and the code in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("leaderboard/*.md")]
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)


def snippets(text: str, language: str) -> list[str]:
    """Returns the code blocks of a language."""
    return [code for tag, code in FENCE.findall(text) if tag == language]


def named(path: Path) -> str:
    """Returns how a test's id calls a page."""
    return str(path.relative_to(ROOT))
