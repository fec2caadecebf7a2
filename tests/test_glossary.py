"""Every column of every table has its entry in the glossary, and its own name in CSV."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from w2s_bench.board.render.columns import COLUMNS, glossary

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "glossary.md").read_text()
TERMS = set(re.findall(r"^\| ([^|]+) \|", PAGE, re.M))


def test_the_glossary_has_the_columns_as_they_are():
    assert f"<!-- columns -->\n{glossary()}<!-- /columns -->" in PAGE


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.title)
def test_every_column_is_explained(column):
    assert column.title in TERMS and len(column.meaning) > 10
    assert f"| {column.title} | " in glossary()


def test_no_two_columns_share_a_name():
    names = [name for column in COLUMNS for name in column.names]
    assert len(names) == len(set(names)) and len({c.title for c in COLUMNS}) == len(COLUMNS)
