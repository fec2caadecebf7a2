"""Sweeps: shared work, records, going on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.referee_bench import Bench, cell, entry, registry

from w2s_bench import exchange
from w2s_bench.cells import digest
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.referee import sources
from w2s_bench.referee.plan import plan_cells


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_supervisors_and_ceilings_are_trained_once(bench):
    cells = [
        cell(*m, supervisors=("guess", "guess_b"), seed=seed)
        for m in (["trick"], ["trick_b"], ["trick", "control"])
        for seed in range(3)
    ]
    outcome = bench.go(*cells, suite="counted")
    assert (outcome.ok, outcome.failed, outcome.skipped, outcome.interrupted) == (9, 0, 0, False)
    assert bench.worked() == {"ceiling": 3, "supervise": 6, "train": 9}
    again = bench.go(*cells, suite="counted")
    assert (again.ok, again.skipped) == (0, 9)
    more = bench.go(*cells, cell("trick_c", supervisors=("guess", "guess_b"), seed=1))
    assert (more.ok, more.skipped) == (1, 9)
    assert bench.worked() == {"ceiling": 3, "supervise": 6, "train": 10}
    assert json.loads((bench.store / "suites" / "counted.json").read_text()) == {
        "suite": "counted",
        "cells": [c.digest for c in plan_cells(cells, registry()).cells],
    }


def test_another_store_takes_all_from_the_cache(bench, tmp_path):
    bench.go(cell("trick"), cell("control"))
    other = Bench(tmp_path)
    other.store = tmp_path / "other"
    other.go(cell("trick"), cell("control"))
    assert bench.worked() == {"ceiling": 1, "supervise": 1, "train": 2}
    assert other.results() == bench.results()
    assert all(s["cached"] for r in other.records() for s in r["cost"]["stages"].values())


def test_record_has_what_the_contract_says(bench):
    cells = cell("control", supervisors=("guess", "guess_b"), task="sealed", seed=3)
    bench.go(cells, cell("sighted"), commands=["w2s run seed=3", ""], suite="mine")
    sealed = next(r for r in bench.records() if r["cell"]["seed"] == 3)
    other = next(r for r in bench.records() if r["cell"]["seed"] == 0)
    assert sealed["schema"] == 1 and sealed["suite"] == "mine" and sealed["status"] == "ok" and sealed["reason"] is None
    assert sealed["protocol"] == digest(sealed["protocol_settings"])
    assert sealed["cell"] == cells.describe()
    assert (sealed["control"], sealed["track"]) == (True, "weak-labels-only")
    assert (other["control"], other["track"]) == (False, "uses-ground-truth")
    test = sealed["test"]
    assert test["n"] == 50 and test["same_for_all_seeds"] is True and other["test"]["same_for_all_seeds"] is False
    for side in ("floor", "student", "ceiling"):
        assert {"accuracy", "auroc", "log_loss", "ece"} <= set(test[side])
    assert set(test["supervisors"]) == {"mean", "best", "kappa", "double_fault", "effective"}
    assert "supervisors" not in other["test"] and set(sealed["validation"]) == {"n", "agreement", "log_loss"}
    assert sum(test["joint"].values()) == 50 and list(test["joint"]) == [f"{k:03b}" for k in range(8)]
    assert sealed["transfer"]["n"] == 30
    assert sealed["cost"]["steps"] == 3 and sealed["cost"]["peak_memory_bytes"] > 0
    assert set(sealed["cost"]["stages"]) == {"prepare", "supervise", "ceiling", "train"}
    provenance = sealed["provenance"]
    assert provenance["command"] == "w2s run seed=3" and provenance["task_fingerprint"] == "digits-1"
    assert [p["name"] for p in provenance["plugins"]] == ["sealed", "guess", "guess_b", "pupil", "control"]
    assert provenance["backbones"]["student"] == {"pupil": {"name": "fake"}}
    for part in ("predictions", "scores"):
        reference = other[part]
        path = bench.store / reference["path"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == reference["sha256"]
    assert sealed["scores"] is None
    scores = pq.read_table(bench.store / other["scores"]["path"])
    assert scores.column_names == ["id", "floor", "student", "ceiling"]
    assert np.mean(scores["student"].to_numpy()) == pytest.approx(other["test"]["student"]["accuracy"])
    predicted = exchange.read_predictions(bench.store / other["predictions"]["path"])
    assert predicted["test"][0] == scores["id"].to_pylist() and predicted["test"][1].shape == (50, 2)


def test_records_name_no_machine(bench):
    bench.go(cell("trick"), cell(("trick_b", {"fault": "uncaught"})))
    text = "".join(json.dumps(r) for r in bench.records())
    for word in (str(bench.store.parent), os.path.expanduser("~") + "/", os.uname().nodename, str(Path.cwd())):
        assert word not in text


def test_a_plugin_that_is_edited_meanwhile_stops_the_sweep(bench, monkeypatch):
    stamps = iter(range(1000))
    monkeypatch.setattr(sources, "_stamp", lambda path: (next(stamps), 0))
    with pytest.raises(W2SError, match=r"source of task 'digits'.*changed while the sweep ran; run the same command"):
        bench.go(cell("trick"))
    monkeypatch.undo()
    assert bench.records() == [] and bench.go(cell("trick")).ok == 1


def test_data_that_changes_meanwhile_stops_the_sweep(bench, monkeypatch):
    monkeypatch.setattr(registry().get("task", "digits").cls, "fingerprint", lambda self: "digits-0")
    with pytest.raises(W2SError, match="the data of task 'digits' changed while the sweep ran"):
        bench.go(cell("trick"))
    assert bench.records() == []


def test_abstentions_are_answers(bench):
    bench.go(cell("trick", supervisors=(("guess", {"fault": "abstain"}),)))
    assert bench.record()["status"] == "ok"


def test_a_failing_observer_is_a_warning(bench):
    with pytest.warns(RuntimeWarning, match="an observer that fails"):
        outcome = bench.go(cell(("trick", {"fault": "exit 3"})), cell("trick_b"))
    assert (outcome.ok, outcome.failed) == (1, 1)


def test_a_damaged_artefact_is_named_and_computed_again(bench):
    bench.go(cell("trick"))
    before = bench.results()
    for kind in ("supervise", "train"):
        (path,) = (bench.cache / "referee" / kind).glob("*/*/" + ("votes.npz" if kind == "supervise" else "p*.parquet"))
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    (bench.store / "records").joinpath(before[0]["digest"] + ".json").unlink()
    bench.go(cell("trick"))
    assert bench.output.count("is damaged") == 2 and "votes.npz has changed" in bench.output
    assert bench.worked() == {"ceiling": 1, "supervise": 2, "train": 2}
    assert bench.results() == before


def test_lost_predictions_are_written_again_without_training(bench):
    bench.go(cell("trick"))
    (path,) = (bench.store / "predictions").iterdir()
    content = path.read_bytes()
    path.unlink()
    outcome = bench.go(cell("trick"))
    assert outcome.ok == 1 and path.read_bytes() == content
    assert bench.worked()["train"] == 1


def test_half_a_record_is_no_record(bench):
    bench.go(cell("trick"))
    before = bench.results()
    (path,) = (bench.store / "records").glob("*.json")
    path.write_text(path.read_text()[:100])
    assert bench.go(cell("trick")).ok == 1
    assert bench.results() == before


def test_inline_engine_does_the_same(bench, tmp_path):
    bench.go(cell("trick"), cell(("trick_b", {"fault": "raise"})))
    inline = Bench(tmp_path / "inline")
    run = inline.run_of(cell("trick"), cell(("trick_b", {"fault": "raise"})), engine={"name": "inline"})
    here = os.getcwd()
    outcome = inline.with_engine(run, None)
    assert (outcome.ok, outcome.failed) == (1, 1)
    assert inline.results() == bench.results()
    assert os.getcwd() == here


def test_unknown_engine_and_metric_are_refused(bench):
    with pytest.raises(UsageError, match="engine 'cloud'"):
        bench.with_engine(bench.run_of(cell("trick"), engine={"name": "cloud"}), None)
    from dataclasses import replace

    from w2s_bench.cells import Protocol

    with pytest.raises(UsageError, match="acuracy"):
        bench.go(replace(cell("trick"), protocol=Protocol(metric="acuracy")))


def test_the_gap_is_measured_in_the_protocols_metric(bench):
    from dataclasses import replace

    from w2s_bench.cells import Protocol

    bench.go(replace(cell("trick"), protocol=Protocol(metric="log_loss")))
    record = bench.record()
    floor, student, ceiling = (record["test"][s]["log_loss"] for s in ("floor", "student", "ceiling"))
    assert record["pgr"] == pytest.approx((student - floor) / (ceiling - floor))


def test_a_finished_sweep_starts_nothing(bench, tmp_path):
    bench.go(cell("trick"))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import support.referee_bench as r; from pathlib import Path;"
        "b = r.Bench(Path(sys.argv[2])); import w2s_bench.referee.engines as e;"
        "e.LocalEngine._start = lambda self: sys.exit('started');"
        "o = b.with_engine(b.run_of(r.cell('trick')), None); assert o.skipped == 1, o;"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_multiclass(bench):
    bench.go(cell("trick", task=("digits", {"classes": 4})))
    assert len(bench.record()["test"]["student"]["predicted_rates"]) == 4


def test_options_with_paths_reach_workers_whole_and_records_cut(bench, tmp_path):
    option = {"words": [], "fault": ""}
    made = cell(("trick", option))
    made.mitigations[0].options["words"] = [str(tmp_path / "secret" / "x.txt")]
    bench.go(made)
    assert bench.record()["cell"]["mitigations"][0]["words"] == ["x.txt"]


def test_entry_of_bench_is_resolved():
    assert entry("task", "digits").options["n_test"] == 50
