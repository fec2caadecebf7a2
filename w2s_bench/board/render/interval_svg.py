"""Intervals as small pictures in the page's tables. The style sheet draws their rails, and marks at 0 and 1."""

from __future__ import annotations

from typing import Any

from w2s_bench.board.render.formatting import Row, verdict_of

WIDTH = 150
PGR_RANGE = (-0.25, 1.1)
Range = tuple[float, float]


def draw_interval(picture: str, row: Row, differences: Range) -> Any:
    """Returns the SVG of a row's `pgr`, `difference` (on the range of `differences`) or `accuracy`; '' without one."""
    if picture == "accuracy":
        return _accuracy(row)
    value = row["pgr" if picture == "pgr" else "over_naive"]
    if not value:
        return ""
    if picture == "pgr":
        return _svg(value, PGR_RANGE, "pgr")
    colour = {"better": " good", "worse": " bad"}.get(verdict_of(row), "")
    return _svg(value, differences, f"over{colour}")


def range_of_differences(rows: list[Row]) -> Range:
    """Returns a symmetric range for nine tenths of the differences from naive, controls aside."""
    values = [r["over_naive"] for r in rows if r["over_naive"] and not r["control"]]
    ends = sorted(max(abs(v["low"]), abs(v["high"])) for v in values if v["low"] is not None)
    reach = max(0.02, ends[int(0.9 * (len(ends) - 1))] if ends else 0.1)
    return -reach, reach


def _accuracy(row: Row) -> Any:
    value, floor, ceiling = row["student_accuracy"], row["floor"], row["ceiling"]
    if not value:
        return ""
    low, high = sorted((floor["mean"], ceiling["mean"]))
    room = max(0.02, 0.35 * (high - low))
    return _svg(value, (low - room, high + room), "acc", None if row.get("no_gap") else (low, high))


def _svg(value: dict[str, Any], limits: Range, look: str, band: Range | None = None) -> Any:
    """Returns an SVG of an interval, with a broad band behind it; ends beyond the limits are cut there."""
    from markupsafe import Markup

    low, high = limits

    def at(x: float) -> str:
        return f"{4 + (WIDTH - 8) * (min(max(x, low), high) - low) / (high - low):.1f}"

    parts = [f'<path class="gap" d="M{at(band[0])} 8H{at(band[1])}"/>'] if band else []
    if value["low"] is not None and value["high"] is not None:
        parts.append(f'<path d="M{at(value["low"])} 8H{at(value["high"])}"/>')
    parts.append(f'<circle cx="{at(value["mean"])}" cy="8" r="3.6"/>')
    return Markup(f'<svg class="iv {look}" viewBox="0 0 {WIDTH} 16" aria-hidden="true">{"".join(parts)}</svg>')
