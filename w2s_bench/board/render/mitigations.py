"""The picture of mitigations: overall PGR with its interval, best first, and what is separable from naive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from w2s_bench.board.labels import NAIVE, varied_words
from w2s_bench.board.render.drawing import COLOURS, common_legend, panels, short
from w2s_bench.board.render.formatting import Row, verdict_of
from w2s_bench.board.render.table import by_varied

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS: dict[str, dict[str, Any]] = {
    "naive": {"color": "black", "marker": "D"},
    "better than naive": {"color": COLOURS[0], "marker": "^"},
    "worse than naive": {"color": COLOURS[1], "marker": "v"},
    "not separable from naive": {"color": "0.5", "marker": "o"},
    "control": {"color": "0.5", "marker": "o", "mfc": "white"},
}
NAME_LENGTH = 46
LOWEST = -0.5
"""PGR below which the axis is cut: a control may be far below zero."""


def mitigations(data: dict[str, Any]) -> Figure | None:
    """Returns the overall PGR of each row, a panel for each value of what the suite varies; None without any PGR."""
    parts = [rows for rows in by_varied(data["overall"]) if any(row["pgr"] for row in rows)]
    if not parts:
        return None
    longest = max(len(rows) for rows in parts)
    figure, axes = panels(len(parts), 7.2, 1.1 + 0.21 * (longest + 1), across=1)
    for axis, rows in zip(axes, parts, strict=False):
        _intervals(axis, rows)
        axis.set_title(", ".join(varied_words(rows[0].get("varied"))), fontsize=10)
    axes[len(parts) - 1].set_xlabel("performance gap recovered (PGR): 0 is the weak supervisor, 1 the ceiling")
    common_legend(figure, axes, ncols=len(LOOKS))
    return figure


def look_of_row(row: Row) -> str:
    """Returns which of LOOKS a row has."""
    if row["mitigation"] == NAIVE:
        return "naive"
    if row["control"]:
        return "control"
    verdict = verdict_of(row)
    return f"{verdict} than naive" if verdict in ("better", "worse") else "not separable from naive"


def _block(row: Row) -> int:
    """Returns 0 for what sees weak labels alone, 1 for what is given truth, 2 for controls: they are drawn apart."""
    return 2 if row["control"] else int(row["track"] == "uses-ground-truth")


def _intervals(axis: Axes, rows: list[Row]) -> None:
    shown = sorted((row for row in rows if row["pgr"]), key=lambda row: (_block(row), -row["pgr"]["mean"]))
    blocks = sorted({_block(row) for row in shown})
    heights = [-k - 0.7 * blocks.index(_block(row)) for k, row in enumerate(shown)]
    for row, height in zip(shown, heights, strict=True):
        look, pgr = look_of_row(row), row["pgr"]
        low, high = (pgr["mean"] if pgr[end] is None else max(pgr[end], LOWEST) for end in ("low", "high"))
        middle = max(pgr["mean"], LOWEST)
        ends = [[middle - low], [high - middle]]
        axis.errorbar([middle], [height], xerr=ends, label=look, ls="none", ms=5, lw=1.3, capsize=2, **LOOKS[look])
        if pgr["mean"] < LOWEST:
            axis.annotate(f"← {pgr['mean']:.2f}", (LOWEST, height), (7, -2.5), textcoords="offset points", fontsize=7)
    for place, dash in ((0.0, "-"), (1.0, "-"), *((r["pgr"]["mean"], ":") for r in shown if r["mitigation"] == NAIVE)):
        axis.axvline(place, color="0.7", lw=0.9, ls=dash, zorder=0)
    names = [short(row["mitigation"], NAME_LENGTH) + " (ground truth)" * (_block(row) == 1) for row in shown]
    axis.set_yticks(heights, names, fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(min(heights) - 0.7, 0.7)
    left = min(min(r["pgr"]["mean"] if r["pgr"]["low"] is None else r["pgr"]["low"] for r in shown), 0.0)
    axis.set_xlim(left=max(left, LOWEST) - 0.05)
