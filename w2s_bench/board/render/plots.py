"""Pictures of a board: mitigations, scaling, varied, stack, imitation, cost, reliability."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from w2s_bench.board.labels import varied_words
from w2s_bench.board.render.curves import reliability, scaling, varied
from w2s_bench.board.render.drawing import (
    COLOURS,
    GROUPS_AT_MOST,
    LABELS_AT_MOST,
    common_legend,
    heading,
    named,
    panels,
    short,
    style,
)
from w2s_bench.board.render.mitigations import mitigations
from w2s_bench.board.render.table import by_varied
from w2s_bench.board.rows import group_of
from w2s_bench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILES = ("svg", "png", "pdf")
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "w2s",
    "font.size": 9,
    "text.parse_math": False,
    "pdf.fonttype": 42,
}


def draw_plot(kind: str, data: dict[str, Any], file: str = "svg") -> bytes:
    """Returns one picture of a board's data; the same bytes again for SVG and PNG.

    Raises UsageError where the kind or file type is unknown, or where the board has nothing to draw.
    """
    if kind not in PLOTS:
        raise UsageError(f"plot {kind!r} is none of {', '.join(PLOTS)}")
    if file not in FILES:
        raise UsageError(f"file type {file!r} is none of {', '.join(FILES)}")
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        figure = PLOTS[kind](data)
        if figure is None:
            raise UsageError(f"the board has nothing for the plot {kind}: {NEEDS[kind]}")
        out = io.BytesIO()
        dates: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
        figure.savefig(out, format=file, dpi=160, bbox_inches="tight", metadata=dates[file])
    return out.getvalue()


NEEDS = {
    "mitigations": "overall rows with PGR",
    "scaling": "rows of naive with a resolved gap",
    "varied": "a suite that declares what it varies",
    "stack": "a stack of two beside both of its halves, with a resolved gap",
    "imitation": "rows with joint counts",
    "cost": "overall rows with PGR and counted examples",
    "reliability": "finished cells whose predictions are probabilities and whose scores are published",
}


def _stack(data: dict[str, Any]) -> Figure | None:
    """Returns the matrix of pairs: PGR minus that of the better half; a dot where the interval excludes zero."""
    parts = by_varied(data["stacking"])
    if not parts:
        return None
    names = sorted({n for p in data["stacking"] for n in p["halves"]})
    figure, axes = panels(len(parts), 1.6 + 0.62 * len(names), 1.4 + 0.5 * len(names))
    limit = max(0.05, *(abs(p["mean"]) for p in data["stacking"]))
    for axis, pairs in zip(axes, parts, strict=False):
        image = _matrix(axis, pairs, names, limit)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def _matrix(axis: Axes, pairs: list[dict[str, Any]], names: list[str], limit: float) -> Any:
    import numpy as np

    grid = np.full((len(names), len(names)), np.nan)
    for pair in pairs:
        inner, outer = (names.index(n) for n in pair["halves"])
        grid[outer, inner] = pair["mean"]
    image = axis.imshow(grid, cmap="PuOr", vmin=-limit, vmax=limit)
    for pair in pairs:
        inner, outer = (names.index(n) for n in pair["halves"])
        sure = pair["low"] is not None and (pair["low"] > 0 or pair["high"] < 0)
        dark = abs(pair["mean"]) > 0.6 * limit
        axis.text(inner, outer, f"{pair['mean']:+.2f}{' •' if sure else ''}", ha="center", va="center",
                  fontsize=8, color="white" if dark else "black")  # fmt: skip
    labels = [short(n) for n in names]
    axis.set_xticks(range(len(names)), labels, rotation=35, ha="right")
    axis.set_yticks(range(len(names)), labels)
    axis.set_xlabel("inner")
    axis.set_ylabel("outer")
    title = ", ".join(["PGR of the pair minus its better half", *varied_words(pairs[0].get("varied"))])
    axis.set_title(title, fontsize=10)
    return image


def _imitation(data: dict[str, Any]) -> Figure | None:
    """Returns accuracy where the supervisor is right against accuracy where it is wrong, the ceiling as a star."""
    rows = [r for r in data["rows"] if (r["imitation"] or {}).get("corrects") is not None and not r["control"]]
    groups = list(dict.fromkeys(group_of(r) for r in rows))
    more = len(groups) - GROUPS_AT_MOST
    groups = groups[:GROUPS_AT_MOST]
    if not groups:
        return None
    coloured = named(data)
    figure, axes = panels(len(groups))
    for axis, group in zip(axes, groups, strict=False):
        members = [r for r in rows if group_of(r) == group]
        for row in members:
            imitation = row["imitation"]
            at = coloured.index(row["mitigation"]) if row["mitigation"] in coloured else None
            look: dict[str, Any] = {"color": "0.75", "s": 12} if at is None else style(at) | {"s": 28}
            label = None if at is None else short(row["mitigation"])
            axis.scatter(imitation["keeps"], imitation["corrects"], label=label, zorder=2 + (at is not None), **look)
        at_best = members[0]["imitation"]
        ends = at_best["ceiling_keeps"], at_best["ceiling_corrects"]
        axis.scatter(*ends, marker="*", s=110, color="black", label="ceiling")
        axis.set_title(heading(members[0]), fontsize=8)
        axis.set_xlabel("right where the supervisor is right")
        axis.locator_params(nbins=4)
    axes[0].set_ylabel("right where it is wrong")
    title = "the supervisor itself is at 1 and 0" + (f"; {more} more groups are not drawn" if more > 0 else "")
    common_legend(figure, axes, title)
    return figure


def _cost(data: dict[str, Any]) -> Figure | None:
    """Returns overall PGR against examples seen relative to naive; filled points are not beaten on both."""
    known = [e for e in data["overall"] if e["pgr"] and (e["cost"] or {}).get("examples_over_naive")]
    rows = [e for e in known if not e["control"] and e["track"] == "weak-labels-only"]
    if not rows:
        return None
    parts = by_varied(rows)
    figure, axes = panels(len(parts), 6.4, 4.2)
    for axis, members in zip(axes, parts, strict=False):
        _gain_and_cost(axis, members)
        axis.set_title(", ".join(varied_words(members[0].get("varied"))), fontsize=10)
        axis.set_xlabel("training examples seen, relative to naive")
    axes[0].set_ylabel("PGR over resolved groups")
    return figure


def _gain_and_cost(axis: Axes, rows: list[dict[str, Any]]) -> None:
    places = [(e["cost"]["examples_over_naive"], e["pgr"]["mean"]) for e in rows]
    front = [not any(x <= a and y >= b and (x, y) != (a, b) for x, y in places) for a, b in places]
    for entry, (x, y), best in zip(rows, places, front, strict=True):
        ends = [[y - entry["pgr"]["low"]], [entry["pgr"]["high"] - y]]
        colour = COLOURS[0] if best else "0.55"
        axis.errorbar(
            [x], [y], ends, color=colour, marker="o", mfc=colour if best else "white", ms=5, capsize=2, lw=0.9
        )
    shown = sorted(zip(rows, places, front, strict=True), key=lambda each: (not each[2], -each[1][1]))[:LABELS_AT_MOST]
    apart = 0.028 * (axis.get_ylim()[1] - axis.get_ylim()[0])
    taken: list[tuple[float, float]] = []
    for entry, (x, y), best in shown:
        if any(abs(a / x - 1) < 0.5 and abs(b - y) < apart for a, b in taken):
            continue  # the table has it
        taken.append((x, y))
        axis.annotate(short(entry["mitigation"]), (x, y), (5, 3), textcoords="offset points", fontsize=7,
                      color=COLOURS[0] if best else "0.35")  # fmt: skip
    axis.set_xscale("log", base=2)
    ticks = [
        t
        for t in (0.25, 0.5, 1, 2, 4, 8, 16)
        if 0.6 * min(p[0] for p in places) <= t <= 1.7 * max(p[0] for p in places)
    ]
    axis.set_xticks(ticks, [f"{t:g}x" for t in ticks])
    axis.minorticks_off()
    axis.margins(x=0.15)


PLOTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "mitigations": mitigations,
    "scaling": scaling,
    "varied": varied,
    "stack": _stack,
    "imitation": _imitation,
    "cost": _cost,
    "reliability": reliability,
}
