"""Small tables in files, and the table task on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from w2s_bench.interfaces import Sizes
from w2s_bench.plugins.tasks.table import Table

REAL = Path(__file__).parents[3] / "shared" / "data"
SMALL = Sizes(n_supervision=20, n_transfer=20, n_validation=6, n_test=20)
ROWS = [{"id": f"r{i}-{i % 2}", "text": f"text number {i}", "label": i % 2} for i in range(100)]


def write(path: Path, rows: list[dict]) -> str:
    """Returns the path of a new file with a JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def table(path: str | Path, **options) -> Table:
    """Returns the task that reads a file."""
    return Table(Table.Options(path=str(path), **options))


def real(name: str) -> Path:
    """Returns the path of a real dataset; skips where there is none."""
    path = REAL / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"real data not here: {path.name} is looked for in shared/data beside the checkout")
    return path
