"""Suites that vary a number of the protocol: a group for each value, none pooled, other differences refused."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.board_records import SETTINGS, write_record, write_store

from w2s_bench.board import build_board
from w2s_bench.board.design import design_of
from w2s_bench.board.labels import labels_of
from w2s_bench.board.render import render
from w2s_bench.board.statistics import holm
from w2s_bench.compose import suites
from w2s_bench.errors import UsageError
from w2s_bench.referee.store import Store
from w2s_bench.registry import load
from w2s_bench.registry.loading import built_in_suites
from w2s_bench.store.records import read_stores

TRUTHS = {"naive": 0.4, "aux_confidence": 0.6, "gce": 0.45, "gce+aux_confidence": 0.5}
VARIES = "protocol.training.epochs"


def settings(epochs: float, batch_size: int = 32) -> dict:
    return SETTINGS | {"training": {"batch_size": batch_size, "epochs": epochs}}


def declare(store: Path, varies: object = VARIES) -> None:
    cells = [p.stem for p in (store / "records").glob("*.json")]
    (store / "suites").mkdir(exist_ok=True)
    (store / "suites" / "length.json").write_text(json.dumps({"suite": "length", "cells": cells, "varies": varies}))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store")
    groups = [("facts", "xs", "m"), ("sums", "xs", "m")]
    for epochs in (0.5, 2.0):
        truths = {k: v + 0.1 * epochs for k, v in TRUTHS.items()}
        write_store(path, truths, groups=groups, settings=settings(epochs), suite="length", n=300)
    declare(path)
    return path


def test_each_value_is_a_group_of_its_own(store):
    data = build_board([store]).data
    assert data["notes"] == [] and data["records"]["ok"] == 80
    assert data["varied"] == {"training.epochs": [0.5, 2.0]}
    assert {(r["task"], r["varied"]["training.epochs"]) for r in data["rows"]} == {
        (t, e) for t in ("facts", "sums") for e in (0.5, 2.0)
    }
    assert all(len(r["seeds"]) == 5 for r in data["rows"])
    assert data["protocol"] not in {json.loads(p.read_text())["protocol"] for p in (store / "records").iterdir()}


def test_values_are_never_pooled_and_are_one_family(store):
    overall = build_board([store]).data["overall"]
    assert [(e["varied"]["training.epochs"], e["cells"]) for e in overall] == [
        (v, 10) for v in (0.5, 2.0) for _ in range(4)
    ]
    assert all(e["pgr"] and e["groups"] == 2 for e in overall)
    claims = [e["over_naive"] for e in overall if e["over_naive"]]
    assert len(claims) == 6
    assert [c["p_adjusted"] for c in claims] == pytest.approx(holm(np.array([c["p"] for c in claims])), rel=0.01)


def test_stacks_are_compared_at_each_value(store):
    found = build_board([store]).data["stacking"]
    assert [(p["stack"], p["varied"]["training.epochs"]) for p in found] == [
        ("gce+aux_confidence", v) for v in (0.5, 2.0)
    ]


def test_values_share_their_task_s_draws(store):
    reading = read_stores([store])
    design = design_of(reading.records, labels_of(reading.records, reading.varied), [])
    assert set(design.blocks) == {"facts", "sums"}
    assert all(name == group.task_name for (group, _), (name, _) in design.where.items())
    naive = {
        group: line for line in design.where for group in [line[0]] if line[1] == "naive" and group.task == "facts"
    }
    assert len(naive) == 2
    one, other = naive.values()
    apart = sum(np.var(design.series(line), ddof=1) / 5 for line in (one, other))
    paired = design.moments([{one: 1.0, other: -1.0}])
    assert paired.seeds[0, 0] == pytest.approx(np.var(design.series(one) - design.series(other), ddof=1) / 5)
    assert paired.seeds[0, 0] < apart


def test_every_face_names_the_value(store):
    board = build_board([store])
    for face in ("table", "md", "latex"):
        text = render(board, face)
        for title in ("Overall, training.epochs 0.5", "facts: xs", "> m, training.epochs 2", "varied (0.5, 2)"):
            assert title in text.replace("\\textgreater{}", ">").replace("&gt;", ">").replace("\\", ""), (face, title)
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    assert {r["training.epochs"] for r in rows} == {"0.5", "2.0"}
    page = render(board, "html")
    assert page.count('data-varied="training.epochs 0.5"') == page.count('data-varied="training.epochs 2"') == 12
    assert max(map(len, render(board).splitlines())) <= 100


def test_values_without_a_resolved_gap_say_so(tmp_path):
    write_store(tmp_path, TRUTHS, settings=settings(1.0))
    write_store(tmp_path, TRUTHS, settings=settings(0.1), ceiling=0.6)
    declare(tmp_path)
    text = render(build_board([tmp_path]))
    assert "no overall table at training.epochs 0.1: no group has a resolved gap there" in text
    assert "Overall, training.epochs 1\n" in text and "Overall, training.epochs 0.1\n" not in text


def test_other_differences_are_refused_still(store, tmp_path):
    write_store(tmp_path, TRUTHS, settings=settings(1.0))
    write_store(tmp_path, TRUTHS, settings=settings(2.0), seeds=2)
    write_record(tmp_path, [[0, 1], [1, 1], [1, 1]], settings=settings(4.0, batch_size=64), seed=9)
    declare(tmp_path)
    board = build_board([tmp_path])
    assert board.data["records"]["ok"] == 28 and len(board.notes) == 1
    assert "training.batch_size is 64 instead of 32; a board" in board.notes[0]


def test_without_the_word_lengths_are_refused(tmp_path):
    write_store(tmp_path, TRUTHS, settings=settings(1.0))
    write_store(tmp_path, TRUTHS, settings=settings(2.0), seeds=2)
    board = build_board([tmp_path])
    assert board.data["records"]["ok"] == 20 and "training.epochs is 2.0 instead of 1.0" in board.notes[0]
    assert "varied" not in board.data and not any("varied" in r for r in [*board.data["rows"], *board.data["overall"]])
    declare(tmp_path, "protocol.training.schedule")
    board = build_board([tmp_path])
    assert any("varies protocol.training.schedule, which boards know no way to" in n for n in board.notes)
    assert "varied" not in board.data


@pytest.mark.parametrize(
    "odd", [None, [], {"training": {"epochs": "2"}}, settings(3.0)], ids=("none", "list", "text", "lie")
)
def test_settings_that_do_not_make_the_protocol_are_refused(tmp_path, odd):
    write_store(tmp_path, TRUTHS, settings=settings(1.0))
    record = write_record(tmp_path, [[0, 1], [1, 1], [1, 1]], settings=settings(2.0), seed=9)
    record["protocol_settings"] = odd
    (tmp_path / "records" / f"{record['digest']}.json").write_text(json.dumps(record))
    declare(tmp_path)
    board = build_board([tmp_path])
    assert board.data["varied"] == {"training.epochs": [1.0]} and len(board.notes) == 1
    assert "refused" in board.notes[0] or "left out" in board.notes[0]


def test_a_suite_declares_what_it_varies(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"varies: {VARIES}\nsweeps:\n  - [task=facts]\n")
    assert suites.read("mine", path).varies == VARIES
    path.write_text("varies: protocol.training.epoch\nsweeps:\n  - [task=facts]\n")
    with pytest.raises(
        UsageError, match=r"no number of the protocol or the student; did you mean 'protocol\.training\.epochs'"
    ):
        suites.read("mine", path)
    path.write_text("varies: [seed]\nsweeps:\n  - [task=facts]\n")
    with pytest.raises(UsageError, match=r"there are protocol\.training\.epochs, "):
        suites.read("mine", path)


def test_an_option_that_no_student_has_is_refused():
    registry = load()
    suite = suites.Suite("odd", "", [["task=facts", "student=ladder_s,ladder_m"]], "student.salient")
    with pytest.raises(UsageError, match="no student has that number; did you mean 'saliency'"):
        suites.compose(suite, [], registry)
    run = suites.compose(replace(suite, varies="student.saliency"), [], registry)
    assert run.varies == "student.saliency" and len(run.cells) == 2


def test_the_plan_carries_it(tmp_path):
    store = Store(tmp_path)
    store.write_suite("length", ["a"], VARIES)
    store.write_suite("quick", ["b"])
    plans = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "suites").iterdir()}
    assert plans == {
        "length": {"suite": "length", "cells": ["a"], "varies": VARIES},
        "quick": {"suite": "quick", "cells": ["b"]},
    }
    assert suites.read("length", built_in_suites()["length"]).varies == VARIES
