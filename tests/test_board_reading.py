"""What the board does with stores as they come: whole, broken, mixed, packed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.board_records import SETTINGS, write_record, write_store

from w2s_bench.board import build_board
from w2s_bench.board.render import render
from w2s_bench.errors import UsageError
from w2s_bench.store.packing import pack

TRUTHS = {"naive": 0.4, "aux_confidence": 0.8, "gce": 0.4}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(tmp_path / "store", TRUTHS)
    return tmp_path / "store"


def records(store: Path) -> list[Path]:
    return sorted((store / "records").glob("*.json"))


def row(board, mitigation: str, **where) -> dict:
    found = [r for r in board.data["rows"] if r["mitigation"] == mitigation]
    found = [r for r in found if all(r[k] == v for k, v in where.items())]
    assert len(found) == 1
    return found[0]


def test_rows_hold_what_the_contract_names(store):
    board = build_board([store])
    assert [r["mitigation"] for r in board.data["rows"]] == ["naive", "aux_confidence", "gce"]
    aux = row(board, "aux_confidence")
    assert aux["seeds"] == [0, 1, 2, 3, 4]
    assert aux["floor"]["low"] < aux["floor"]["mean"] < aux["floor"]["high"]
    assert 0.7 < aux["pgr"]["mean"] < 0.9
    assert aux["over_naive"]["verdict"] == "better"
    assert row(board, "naive")["over_naive"] is None
    assert board.data["as_of"] == "2026-11-20T10:00:04Z"
    assert board.notes == []


def test_same_bytes_again_and_from_the_packed_store(store, tmp_path):
    first = render(build_board([store]), "json")
    assert render(build_board([store]), "json") == first
    pack(store, tmp_path / "packed")
    assert render(build_board([tmp_path / "packed"]), "json") == first
    before = {p.name: p.read_bytes() for p in (tmp_path / "packed").iterdir()}
    pack(tmp_path / "packed", tmp_path / "again")
    assert {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()} == before


def test_naive_in_both_spellings_is_the_empty_stack(tmp_path, store):
    for path in records(store):
        record = json.loads(path.read_text())
        if record["cell"]["mitigations"] == [{"name": "naive"}] and record["cell"]["seed"] > 2:
            record["cell"]["mitigations"] = []
            path.write_text(json.dumps(record))
    assert row(build_board([store]), "naive")["seeds"] == [0, 1, 2, 3, 4]


def test_entries_of_one_name_are_told_apart_by_their_options(tmp_path):
    for alpha in (0.5, 0.75):
        write_store(tmp_path, {"naive": 0.4}, seeds=2)
        for seed in range(2):
            entry = {"name": "aux_confidence", "alpha_max": alpha, "ramp": 0.2}
            write_record(tmp_path, [[0, 0, 1], [0, 1, 1], [1, 1, 1]], mitigations=[entry], seed=seed)
    names = {r["mitigation"] for r in build_board([tmp_path]).data["rows"]}
    assert names == {"naive", "aux_confidence(alpha_max=0.5)", "aux_confidence(alpha_max=0.75)"}


@pytest.mark.parametrize("several", [False, True])
def test_students_in_between_go_with_the_pair_unless_one_pair_has_several(tmp_path, several):
    right = [[0, 0, 1], [0, 1, 1], [1, 1, 1]]
    for supervisor, between in (("weak", "mid"), ("weaker", "low"), *([("weaker", "mid")] if several else [])):
        entry = {"name": "bootstrapping", "intermediate": [between]}
        write_record(tmp_path, right, supervisors=[supervisor], mitigations=[entry])
    names = {r["mitigation"] for r in build_board([tmp_path]).data["rows"]}
    apart = {'bootstrapping(intermediate=["low"])', 'bootstrapping(intermediate=["mid"])'}
    assert names == (apart if several else {"bootstrapping"})


def test_replicates_of_a_student_are_groups_of_their_own(tmp_path):
    for replicate in (0, 1):
        write_store(tmp_path, {"naive": 0.4}, seeds=3, groups=[("facts", "xs", "m")], start=replicate)
        for path in records(tmp_path):
            record = json.loads(path.read_text())
            if record["cell"]["seed"] >= replicate and replicate:
                record["cell"]["student"]["replicate"] = int(record["cell"]["seed"] > 2)
                path.write_text(json.dumps(record))
    assert {r["student"] for r in build_board([tmp_path]).data["rows"]} == {"m(replicate=0)", "m(replicate=1)"}


def test_each_broken_record_gets_one_line_and_the_rest_is_built(store):
    paths = records(store)
    paths[0].write_text(paths[0].read_text()[:200])
    foreign = json.loads(paths[1].read_text()) | {"schema": 99}
    paths[1].write_text(json.dumps(foreign))
    renamed = paths[2].with_name("0" * 32 + ".json")
    paths[2].rename(renamed)
    wrong = json.loads(paths[3].read_text())
    wrong["test"]["joint"]["111"] += 1
    paths[3].write_text(json.dumps(wrong))
    (store / "records" / "list.json").write_text("[]")
    notes = build_board([store]).notes
    assert len(notes) == 5
    for path, word in [(paths[0], "JSON"), (paths[1], "schema 99"), (renamed, "file's name"), (paths[3], "joint")]:
        assert len([n for n in notes if path.name in n and word in n]) == 1
    assert build_board([store]).data["records"]["ok"] == 11


def test_duplicates_are_counted_once_and_the_newest_wins(store, tmp_path):
    board = build_board([store, store])
    assert len(board.notes) == 15 and "twice" in board.notes[0]
    assert [r["seeds"] for r in board.data["rows"]] == [[0, 1, 2, 3, 4]] * 3
    path = records(store)[0]
    newer = json.loads(path.read_text())
    newer["digest"] = "f" * 32
    newer["provenance"]["finished"] = "2026-12-01T00:00:00Z"
    (store / "records" / f"{'f' * 32}.json").write_text(json.dumps(newer))
    board = build_board([store])
    assert board.data["records"]["ok"] == 15
    assert len(board.notes) == 1 and path.name in board.notes[0] and "newest" in board.notes[0]


def test_another_protocol_is_refused_by_what_differs(store):
    other = SETTINGS | {"training": {"batch_size": 64}}
    write_record(store, [[0, 0, 1], [0, 1, 1], [1, 1, 1]], settings=other, seed=9)
    board = build_board([store])
    assert len(board.notes) == 1
    assert "training.batch_size is 64 instead of 32" in board.notes[0]
    assert board.data["records"]["ok"] == 15


def test_a_tampered_score_file_is_named(tmp_path):
    write_store(tmp_path, {"naive": 0.4}, same_test=True)
    path = sorted((tmp_path / "scores").glob("*.parquet"))[0]
    content = bytearray(path.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    path.write_bytes(bytes(content))
    board = build_board([tmp_path])
    assert len(board.notes) == 1 and path.stem in board.notes[0]
    assert row(board, "naive")["student_accuracy"]["mean"] > 0.5


def test_failures_are_shown_and_shrink_nobody_elses_row(store):
    whole = build_board([store])
    for seed in range(5):
        status = "timeout" if seed == 4 else "failed"
        write_record(store, None, mitigations=["dividemix"], status=status, seed=seed)
    write_record(store, [[0, 1] * 200, [1, 1] * 200, [1, 1] * 200], mitigations=["elr"], seed=0)
    board = build_board([store])
    assert board.data["records"]["failed"] == 5 and board.data["records"]["timeout"] == 1
    assert row(board, "dividemix")["status"] == "incomplete" and row(board, "dividemix")["failed"] == 5
    assert row(board, "elr")["status"] == "incomplete"
    assert row(board, "elr")["over_naive"]["verdict"] == "no evidence"
    for name in ("aux_confidence", "gce"):
        assert row(board, name) == row(whole, name)
    assert next(e for e in board.data["overall"] if e["mitigation"] == "elr")["ranks"] is None


def test_missing_cells_are_counted_from_the_plan(store):
    digests = [p.stem for p in records(store)]
    (store / "suites").mkdir()
    (store / "suites" / "quick.json").write_text(json.dumps({"cells": [*digests, "e" * 32]}))
    board = build_board([store], "quick")
    assert board.data["records"]["missing"] == 1 and board.data["suite"] == "quick"
    assert build_board([store], "other").data["rows"] == []


def test_a_single_seed_claims_nothing(tmp_path):
    write_store(tmp_path, TRUTHS, seeds=1)
    board = build_board([tmp_path])
    aux = row(board, "aux_confidence")
    assert aux["status"] == "gap_unresolved" and aux["pgr"] is None
    assert aux["student_accuracy"]["low"] is None and aux["over_naive"]["verdict"] == "no evidence"
    assert "unresolved" in render(board)


def test_every_face_of_an_empty_store(tmp_path):
    (tmp_path / "records").mkdir()
    for format in ("table", "json", "md", "csv", "latex"):
        assert render(build_board([tmp_path]), format)
    with pytest.raises(UsageError, match="not a folder"):
        build_board([tmp_path / "nowhere"])


def test_the_terminal_table_fits_100_columns(store):
    assert max(map(len, render(build_board([store])).splitlines())) <= 100


def test_the_room_imports_no_torch():
    code = (
        "import sys, w2s_bench.board, w2s_bench.cli.board, w2s_bench.board.build, w2s_bench.board.render.text;"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'lightning', 'transformers')"
        " or m.startswith(('w2s_bench.training', 'w2s_bench.referee'))]; sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
