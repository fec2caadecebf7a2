"""What all pictures share: colours that colour-blind readers tell apart, panels, short names, points with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from w2s_bench.board.labels import NAIVE, varied_words
from w2s_bench.store.escape import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F")
MARKERS = "osD^vPX"
LABELS_AT_MOST = 24
GROUPS_AT_MOST = 9


def style(k: int) -> dict[str, Any]:
    """Returns colour and marker of the k-th line; the first 49 differ in one or both."""
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]}


def named(data: dict[str, Any]) -> list[str]:
    """Returns naive and the stacks of the highest overall PGR, controls out: one for each colour."""
    best = sorted(data["overall"], key=lambda e: -(e["pgr"] or {"mean": -9.0})["mean"])
    names = dict.fromkeys(e["mitigation"] for e in best if not e["control"])  # one for all values of a varied setting
    return [NAIVE, *[n for n in names if n != NAIVE][: len(COLOURS) - 1]]


def panels(number: int, width: float = 3.2, height: float = 3.0, across: int = 3) -> tuple[Figure, list[Axes]]:
    """Returns a figure with this many panels, at most `across` in a row."""
    from matplotlib.figure import Figure

    across = min(number, across)
    down = -(-number // across)
    figure = Figure(figsize=(width * across + 0.6, height * down), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for spare in axes[number:]:
        spare.set_axis_off()
    for axis in axes[:number]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def short(name: str, limit: int = LABELS_AT_MOST) -> str:
    """Returns a harmless name of at most this many characters."""
    name = plain(name)
    return name if len(name) <= limit else name[: limit - 1] + "…"


def short_weak(supervisors: list[str], limit: int = LABELS_AT_MOST) -> str:
    """Returns the reference supervisor and how many are beside it: `ladder_xs_0 +2`."""
    return short(supervisors[0], limit) + (f" +{len(supervisors) - 1}" if len(supervisors) > 1 else "")


def heading(row: dict[str, Any]) -> str:
    """Returns a panel's title: `facts: ladder_xs_0 > ladder_m`, and the varied setting's value where there is one."""
    pair = f"{short(row['task'], 18)}: {short(row['supervisors'][0], 14)} > {short(row['student'], 14)}"
    return ", ".join([pair, *varied_words(row.get("varied"))])


def points(axis: Axes, x: list[float], y: list[dict[str, Any]], k: int, label: str, line: bool = False) -> None:
    """Draws the k-th series of means with their intervals."""
    middle = [v["mean"] for v in y]
    low = [v["mean"] - v["low"] if v["low"] is not None else 0.0 for v in y]
    high = [v["high"] - v["mean"] if v["high"] is not None else 0.0 for v in y]
    axis.errorbar(
        x, middle, [low, high], **style(k), ms=4.5, lw=1.1, elinewidth=0.9, capsize=2, ls="-" if line else "none",
        label=label,
    )  # fmt: skip


def common_legend(figure: Figure, axes: list[Axes], title: str | None = None, ncols: int = 4) -> None:
    """Puts one legend of all panels' lines below them."""
    from matplotlib.container import ErrorbarContainer

    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle[0] if isinstance(handle, ErrorbarContainer) else handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=ncols, fontsize=7, frameon=False,
        title=title, title_fontsize=7,
    )  # fmt: skip
