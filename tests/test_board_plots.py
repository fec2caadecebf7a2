"""Pictures of a board: the same each time, and a sentence where there is nothing to draw."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.board_records import PAIRS, write_small_suite, write_store, write_varied_suite

from w2s_bench.board import build_board
from w2s_bench.board.render.drawing import named
from w2s_bench.board.render.mitigations import look_of_row
from w2s_bench.board.render.page import CAPTIONS
from w2s_bench.board.render.plots import NEEDS, PLOTS, draw_plot
from w2s_bench.cli.board import plot
from w2s_bench.errors import UsageError


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_small_suite(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def varied(tmp_path_factory) -> Path:
    return write_varied_suite(tmp_path_factory.mktemp("varied"))


@pytest.mark.parametrize("kind", sorted(CAPTIONS))  # reliability: tests/test_board_reliability.py
def test_plots_are_drawn_the_same_again(kind, store, varied):
    data = build_board([varied if kind == "varied" else store]).data
    svg = draw_plot(kind, data)
    assert svg.startswith(b"<?xml") and draw_plot(kind, data) == svg
    assert draw_plot(kind, data, "png").startswith(b"\x89PNG") and draw_plot(kind, data, "pdf").startswith(b"%PDF")


def test_plots_say_what_is_missing(tmp_path, store):
    write_store(tmp_path, {"naive": 0.4}, seeds=1)
    with pytest.raises(UsageError, match="stack of two"):
        draw_plot("stack", build_board([tmp_path]).data)
    with pytest.raises(UsageError, match="declares what it varies"):
        draw_plot("varied", build_board([tmp_path]).data)
    with pytest.raises(UsageError, match="svg, png, pdf"):
        draw_plot("cost", build_board([store]).data, "gif")
    with pytest.raises(UsageError, match="scaling"):
        draw_plot("pie", build_board([store]).data)


def test_every_picture_is_offered_and_described():
    docs = (Path(__file__).parents[1] / "docs" / "publishing.md").read_text().split("## Pictures")[1].split("\n## ")[0]
    assert list(PLOTS) == re.findall(r"^\| `(\w+)` \|", docs, re.M)
    assert set(plot.params[0].type.choices) == set(PLOTS) == set(NEEDS) == {*CAPTIONS, "reliability"}


def test_the_picture_of_mitigations_has_every_row_and_its_verdict(store, tmp_path):
    data = build_board([store]).data
    svg = draw_plot("mitigations", data).decode()
    assert all(f">{row['mitigation']}</text>" in svg for row in data["overall"])
    looks = {row["mitigation"]: look_of_row(row) for row in data["overall"]}
    assert looks["naive"] == "naive" and looks["majority"] == "control"
    assert looks["aux_confidence"] == "better than naive"
    assert all(f">{look}</text>" in svg for look in set(looks.values()))
    write_store(tmp_path, {"naive": 0.4, "gce": -3.0, "twin": 0.4}, groups=PAIRS[:1], n=200)
    worse = build_board([tmp_path]).data
    rows = {row["mitigation"]: row for row in worse["overall"]}
    assert look_of_row(rows["gce"]) == "worse than naive" and look_of_row(rows["twin"]) == "not separable from naive"
    far_below = f"← {rows['gce']['pgr']['mean']:.2f}"  # the axis is cut before it
    assert far_below in draw_plot("mitigations", worse).decode()


def test_pictures_colour_naive_and_the_best_each_once(store, varied):
    assert named(build_board([varied]).data) == ["naive", "gce"]  # however many values the setting has
    assert named(build_board([store]).data)[:3] == ["naive", "aux_confidence", "gce+aux_confidence"]
    assert "majority" not in named(build_board([store]).data)


def test_an_option_of_the_student_can_be_varied_too(varied):
    data = build_board([varied]).data
    assert data["varied"] == {"student.saliency": [0.0, 0.3]} and data["notes"] == []
    assert {(r["student"], r["varied"]["student.saliency"]) for r in data["rows"]} == {
        (f"ladder(checkpoint={c})", s) for c in (0, 1) for s in (0.0, 0.3)
    }
    assert [(e["varied"]["student.saliency"], e["cells"]) for e in data["overall"]] == [
        (s, 6) for s in (0, 0, 0.3, 0.3)
    ]


def test_stacks_are_held_against_their_better_half(store):
    (pair,) = build_board([store]).data["stacking"]
    assert pair["stack"] == "gce+aux_confidence" and pair["better"] == "aux_confidence"
    assert pair["low"] < pair["mean"] < 0


def test_pareto_marks_need_both(store):
    rows = build_board([store]).data["rows"]
    marked = {r["mitigation"] for r in rows if r["pareto"]}
    assert "aux_confidence" in marked and "bootstrapping" not in marked
    costly = next(r for r in rows if r["mitigation"] == "bootstrapping")
    assert costly["cost"]["examples_over_naive"] == pytest.approx(9000 / 2976, abs=1e-4)
