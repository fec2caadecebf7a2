"""Line plots: PGR by student and supervisor, accuracy by the varied setting, right answers by confidence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from w2s_bench.board.labels import NAIVE, varied_words
from w2s_bench.board.render.drawing import common_legend, heading, named, panels, points, short, short_weak, style
from w2s_bench.board.render.table import by_varied

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = list[dict[str, Any]]
WIDE_RANGE = 10
"""From this ratio of its ends on, what varies is drawn on a logarithmic axis."""


def scaling(data: dict[str, Any]) -> Figure | None:
    """Returns naive's PGR by student (in order of its ceiling), a line for each supervisor (in order of its floor)."""
    naive = [r for r in data["rows"] if r["mitigation"] == NAIVE and r["student_accuracy"]]
    parts = [p for of_task in _by(naive, lambda r: r["task"]) for p in by_varied(of_task) if any(r["pgr"] for r in p)]
    if not parts:
        return None
    figure, axes = panels(len(parts), 3.4, 3.4)
    shown = [r["pgr"]["mean"] for part in parts for r in part if r["pgr"]]
    bottom, top = min(-0.1, min(shown) - 0.2), max(1.1, max(shown) + 0.2)  # a small gap's intervals are endless
    weak = _ordered(naive, lambda r: tuple(r["supervisors"]), "floor")
    for axis, part in zip(axes, parts, strict=False):
        students = _ordered(part, lambda r: r["student"], "ceiling")
        for k, supervisors in enumerate(weak):
            line = [r for r in part if tuple(r["supervisors"]) == supervisors]
            line.sort(key=lambda r: students.index(r["student"]))
            at = {r["student"]: students.index(r["student"]) + 0.08 * (k - (len(weak) - 1) / 2) for r in line}
            with_pgr = [r for r in line if r["pgr"]]
            if with_pgr:
                label = short_weak(list(supervisors))
                points(axis, [at[r["student"]] for r in with_pgr], [r["pgr"] for r in with_pgr], k, label, line=True)
            bare = [at[r["student"]] for r in line if not r["pgr"]]
            axis.plot(bare, [bottom + 0.03 * (top - bottom)] * len(bare), ls="none", marker="x", ms=4, mew=1.2,
                      color=style(k)["color"])  # fmt: skip
        if any(not r["pgr"] for r in part):
            axis.plot([], [], ls="none", marker="x", ms=4, color="0.3", label="gap unresolved, no PGR")
        axis.set_xticks(range(len(students)), [short(s, 16) for s in students], rotation=25, ha="right")
        axis.set_xlim(-0.5, len(students) - 0.5)
        axis.set_ylim(bottom, top)
        axis.axhline(0, color="0.6", lw=0.8)
        axis.axhline(1, color="0.6", lw=0.8, ls=":")
        axis.set_title(short(", ".join([part[0]["task"], *varied_words(part[0].get("varied"))]), 40), fontsize=10)
        axis.set_xlabel("student, by ceiling")
    axes[0].set_ylabel("PGR of naive")
    common_legend(figure, axes, "supervisor, by floor", 6)
    return figure


def varied(data: dict[str, Any]) -> Figure | None:
    """Returns accuracy, and accuracy where the supervisor is wrong, by the varied setting; a line for each mitigation.

    Where several students are at one value (other checkpoints), each is a small mark and the line joins their means.
    """
    names = list(data.get("varied", ()))
    rows = [r for r in data["rows"] if r["student_accuracy"] and not r["control"] and r.get("varied")]
    places = _by(rows, lambda r: (r["task"], tuple(r["supervisors"])))
    if len(names) != 1 or not places:
        return None
    across = min(3, len(places))
    blocks = -(-len(places) // across)
    figure, axes = panels(2 * across * blocks, height=2.7, across=across)
    stacks = sorted({r["mitigation"] for r in rows}, key=lambda m: (m != NAIVE, m))
    values = data["varied"][names[0]]
    for at, place_rows in enumerate(places):
        above = axes[2 * across * (at // across) + at % across]
        below = axes[2 * across * (at // across) + across + at % across]
        line = {"lw": 1.1, "color": "0.35", "marker": "none"}
        _curve(above, place_rows, lambda r: r["floor"]["mean"], line | {"ls": "--", "label": "floor"})
        _curve(above, place_rows, lambda r: r["ceiling"]["mean"], line | {"ls": ":", "label": "ceiling"})
        _curve(below, place_rows, lambda r: (r["imitation"] or {}).get("ceiling_corrects"), line | {"ls": ":"})
        for k, stack in enumerate(stacks):
            line = style(k) | {"ms": 4.5, "lw": 1.1, "label": short(stack)}
            mine = [r for r in place_rows if r["mitigation"] == stack]
            place = partial(_beside, values, k - (len(stacks) - 1) / 2)
            accuracy = itemgetter("student_accuracy")
            _curve(above, mine, lambda r: r["student_accuracy"]["mean"], line, accuracy, place)
            _curve(below, mine, lambda r: (r["imitation"] or {}).get("corrects"), line, place=place)
        title = short(place_rows[0]["task"], 32)
        if len(places) > len({r["task"] for r in rows}):
            title += f", {short_weak(place_rows[0]['supervisors'])}"
        above.set_title(title, fontsize=10)
        for axis in (above, below):
            _axis_of(axis, values, _steps(place_rows) if axis is below else {})
        below.set_xlabel(names[0] + (", optimiser steps" if _steps(place_rows) else ""))
    axes[0].set_ylabel("test accuracy")
    axes[across].set_ylabel("accuracy where the\nsupervisor is wrong")
    for spare in axes[2 * len(places) :] if blocks == 1 else ():
        spare.set_axis_off()
    common_legend(figure, axes, ncols=6)
    return figure


def reliability(data: dict[str, Any]) -> Figure | None:
    """Returns how often a student is right by how sure it is; below the diagonal it is overconfident.

    Naive and the best mitigations, a point for each bin of confidence; the band is naive's interval.
    """
    groups = data.get("reliability", [])
    if not groups:
        return None
    figure, axes = panels(len(groups))
    coloured = named(data)
    low = min(b["confidence"] for g in groups for curve in g["curves"].values() for b in curve)
    for axis, group in zip(axes, groups, strict=False):
        for name, curve in group["curves"].items():
            x, look = [b["confidence"] for b in curve], style(coloured.index(name))
            width = 2 if name == NAIVE else 0.9
            axis.plot(x, [b["share"] for b in curve], **look, lw=width, ms=3.5, label=short(name))
            if name == NAIVE and curve[0]["low"] is not None:
                bottom, top = [b["low"] for b in curve], [b["high"] for b in curve]
                axis.fill_between(x, bottom, top, color=look["color"], alpha=0.2, lw=0, label="naive's 95 % interval")
        axis.plot([low, 1], [low, 1], color="0.4", lw=0.9, ls=":", label="right as often as sure")
        axis.set_title(heading(group), fontsize=8)
        axis.set_xlabel("confidence")
    axes[0].set_ylabel("share of answers right")
    left = data["reliability_left"]
    title = f"{left} more groups are not drawn" if left else None
    common_legend(figure, axes, title, ncols=2 if len(groups) == 1 else 4)
    return figure


def _curve(
    axis: Axes,
    rows: Rows,
    of: Callable[[dict[str, Any]], float | None],
    line: dict[str, Any],
    interval: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    place: Callable[[float], float] = float,
) -> None:
    """Draws means by the varied setting's value; one student per value with its interval, several as small marks.

    `place` says where on the axis a value is: lines are a little apart, so that intervals do not hide each other.
    """
    at: dict[float, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if of(row) is not None:
            at.setdefault(next(iter(row["varied"].values())), {})[row["student"]] = row
    if not at:
        return
    values = sorted(at)
    each = {v: [float(of(row) or 0.0) for row in at[v].values()] for v in values}
    axis.plot([place(v) for v in values], [sum(each[v]) / len(each[v]) for v in values], **line)
    for v in values:
        if len(each[v]) > 1:
            look = {"marker": line["marker"], "color": line["color"]}
            axis.plot([place(v)] * len(each[v]), each[v], ls="none", ms=2.2, alpha=0.6, **look)
        elif interval is not None:
            ends = interval(next(iter(at[v].values())))
            if ends["low"] is not None:
                bar = [ends["low"], ends["high"]]
                axis.plot([place(v)] * 2, bar, color=line["color"], lw=0.8, alpha=0.7)


def _wide(values: list[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= WIDE_RANGE


def _beside(values: list[float], steps: float, value: float) -> float:
    """Returns where a value is, this many small steps to the right."""
    low, high = min(values), max(values)
    return float(value * (high / low) ** (0.009 * steps) if _wide(values) else value + 0.012 * steps * (high - low))


def _axis_of(axis: Axes, values: list[float], steps: dict[float, float]) -> None:
    if _wide(values):
        axis.set_xscale("log")
    axis.set_xticks(values, [f"{v:g}\n{steps[v]:.0f}" if v in steps else f"{v:g}" for v in values], fontsize=7)
    axis.minorticks_off()


def _steps(rows: Rows) -> dict[float, float]:
    """Returns naive's optimiser steps by the varied setting's value, where it changes them."""
    steps = {
        next(iter(r["varied"].values())): r["cost"]["steps"]
        for r in rows
        if r["mitigation"] == NAIVE and r["cost"] and r["cost"]["steps"]
    }
    return steps if len(set(steps.values())) > 1 else {}


def _by(rows: Rows, key: Callable[[dict[str, Any]], Any]) -> list[Rows]:
    groups: dict[Any, Rows] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _ordered(rows: Rows, name: Callable[[dict[str, Any]], Any], by: str) -> list[Any]:
    names: dict[Any, list[float]] = {}
    for row in rows:
        names.setdefault(name(row), []).append(row[by]["mean"])
    return sorted(names, key=lambda n: (sum(names[n]) / len(names[n]), n))
