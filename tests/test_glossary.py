"""Every column of every table has its entry in the glossary."""

from __future__ import annotations

import re
from pathlib import Path

from w2s_bench.board.render.table import CELLS, OVERALL

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "glossary.md").read_text()
TERMS = set(re.findall(r"^\| ([^|]+) \|", PAGE, re.M))


def test_every_column_is_explained():
    assert {column.title for column in [*OVERALL, *CELLS]} <= TERMS
