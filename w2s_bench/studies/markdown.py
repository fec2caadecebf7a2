"""Tables as Markdown: what the studies print."""

from __future__ import annotations


def table(titles: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table."""
    return "\n".join([row(titles), "|" + "|".join(["---"] + ["---:"] * (len(titles) - 1)) + "|", *map(row, rows)])


def row(values: list[str]) -> str:
    """Returns a row of a Markdown table."""
    return f"| {' | '.join(values)} |"
