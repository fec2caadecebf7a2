"""`w2s merge`: stores of several machines become one."""

import json

import numpy as np
import pytest
from support.board_records import write_record

from w2s_bench.cli.main import cli
from w2s_bench.store.packing import pack
from w2s_bench.store.verify import verify_store

RIGHT = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]])


def w2s(capsys, *words) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main([str(w) for w in words])
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def plan(store, cells, **more) -> None:
    (store / "suites").mkdir(exist_ok=True)
    (store / "suites/s.json").write_text(json.dumps({"suite": "s", "cells": cells, **more}))


def contents(store) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


@pytest.fixture
def machines(tmp_path):
    """Returns two stores that share the cell of seed 0."""
    one, other = tmp_path / "one", tmp_path / "other"
    first = [write_record(one, RIGHT, seed=s, predictions=True)["digest"] for s in (0, 1)]
    second = [write_record(other, RIGHT, seed=s, predictions=True)["digest"] for s in (0, 2)]
    plan(one, first)
    plan(other, second)
    return one, other


def test_equal_cells_are_there_once_and_plans_are_joined(capsys, tmp_path, machines):
    code, out, _ = w2s(capsys, "merge", *machines, "--store", tmp_path / "all")
    assert (code, out.split(";")[0]) == (
        0,
        "3 records taken, 1 there already, 0 in place of a failure, 0 contradictions",
    )
    assert verify_store(tmp_path / "all").ok
    assert verify_store(tmp_path / "all").scores == 3
    planned = json.loads((tmp_path / "all/suites/s.json").read_text())["cells"]
    assert sorted(f"{d}.json" for d in planned) == sorted(p.name for p in (tmp_path / "all/records").iterdir())


def test_order_does_not_matter_and_a_second_time_changes_nothing(capsys, tmp_path, machines):
    w2s(capsys, "merge", *machines, "--store", tmp_path / "a")
    w2s(capsys, "merge", *reversed(machines), "--store", tmp_path / "b")
    whole = contents(tmp_path / "a")
    assert {k: v for k, v in whole.items() if "suites" not in k} == {
        k: v for k, v in contents(tmp_path / "b").items() if "suites" not in k
    }
    _, out, _ = w2s(capsys, "merge", *machines, tmp_path / "a", "--store", tmp_path / "a")
    assert out.startswith("0 records taken, 4 there already")
    assert contents(tmp_path / "a") == whole


def test_a_packed_store_is_merged_too(capsys, tmp_path, machines):
    one, other = machines
    pack(one, tmp_path / "packed")
    code, out, _ = w2s(capsys, "merge", other, tmp_path / "packed", "--store", tmp_path / "all")
    assert (code, out[:36]) == (0, "3 records taken, 1 there already, 0 ")
    assert verify_store(tmp_path / "all").ok


def test_a_result_replaces_a_failure_and_never_the_other_way(capsys, tmp_path, machines):
    one, _ = machines
    failed = tmp_path / "failed"
    digest = write_record(failed, None, seed=0, status="failed")["digest"]
    _, out, _ = w2s(capsys, "merge", one, failed, "--store", tmp_path / "a")
    assert "2 records taken, 0 there already, 0 in place" in out
    _, out, _ = w2s(capsys, "merge", failed, one, "--store", tmp_path / "b")
    assert "2 records taken, 0 there already, 1 in place" in out
    for store in ("a", "b"):
        assert json.loads((tmp_path / store / f"records/{digest}.json").read_text())["status"] == "ok"
        assert verify_store(tmp_path / store).ok


def test_two_results_of_one_cell_are_named_and_the_first_is_kept(capsys, tmp_path, machines):
    one, _ = machines
    wrong = tmp_path / "wrong"
    digest = write_record(wrong, RIGHT[:, [0, 1, 1, 3]], seed=0, predictions=True)["digest"]
    code, out, _ = w2s(capsys, "merge", one, wrong, "--store", tmp_path / "all")
    assert code == 1
    line = out.splitlines()[0]
    assert line.startswith(f"records/{digest}.json: facts  ladder_xs_0 > ladder_m  naive  seed 0: two results, ")
    assert "0.5000 in" in line and "0.7500 in" in line and line.endswith("the first is kept")
    kept = tmp_path / "all/records" / f"{digest}.json"
    assert json.loads(kept.read_text())["test"]["student"]["accuracy"] == 0.5


def test_what_varies_must_agree(capsys, tmp_path, machines):
    one, other = machines
    plan(other, [], varies="training.epochs")
    code, out, _ = w2s(capsys, "merge", one, other, "--store", tmp_path / "all")
    assert code == 1
    assert "suites/s.json: varies None in" in out and "and training.epochs in" in out


def test_a_damaged_store_is_refused_before_anything_is_written(capsys, tmp_path, machines):
    one, other = machines
    next((other / "scores").iterdir()).write_bytes(b"x")
    code, _, err = w2s(capsys, "merge", one, other, "--store", tmp_path / "all")
    assert code == 1
    assert f"{other} is not merged: records/" in err and "w2s verify" in err
    assert not (tmp_path / "all").exists()


def test_no_store_and_no_folder(capsys, tmp_path):
    assert w2s(capsys, "merge")[0] == 2
    code, _, err = w2s(capsys, "merge", tmp_path / "none", "--store", tmp_path / "all")
    assert (code, "is not a folder" in err) == (2, True)
