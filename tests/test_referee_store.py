"""The store and the verbs that look at it: schemas, disks, status, doctor."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from support.board_records import write_record
from support.referee_bench import Bench, cell, registry

from w2s_bench.cli.status import add_commands
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.referee import artefacts, doctor
from w2s_bench.referee.plan import plan_cells
from w2s_bench.referee.provenance import without_machine
from w2s_bench.referee.status import look
from w2s_bench.referee.store import Store
from w2s_bench.store.packing import pack


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def cli():
    @click.group()
    def group():
        pass

    add_commands(group)
    return group


def test_another_schema_is_refused(bench):
    bench.go(cell("trick"))
    (path,) = (bench.store / "records").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    with pytest.raises(W2SError, match=r"has records of schema 2.*writes schema 1; give another --store"):
        bench.go(cell("trick_b"))


def test_a_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(W2SError, match="give a store that can be written"):
        Store(tmp_path / "file" / "store")


def test_a_cache_that_cannot_be_written(bench):
    bench.cache.write_text("")
    with pytest.raises(W2SError, match="give a cache that can be written"):
        bench.go(cell("trick"))


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_of_the_store(bench, monkeypatch):
    bench.go(cell("trick"))
    monkeypatch.setattr(Store, "write_record", lambda self, record: self._write("records/x.json", b"{}"))
    monkeypatch.setattr("w2s_bench.exchange.write_bytes", full_disk)
    with pytest.raises(W2SError, match="No space left on device; free some space and run the same command again"):
        bench.go(cell("trick_b"))


def test_full_disk_of_the_cache_fails_no_cell(bench, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(artefacts, "to_disk", full_disk)
        with pytest.raises(W2SError, match="free some space"):
            bench.go(cell("trick"))
    assert bench.records() == []
    assert bench.go(cell("trick")).ok == 1


def test_reasons_name_no_folder(tmp_path):
    text = f"FileNotFoundError: {tmp_path}/data/x.csv and /somewhere/else"
    assert without_machine(text, tmp_path) == "FileNotFoundError: data/x.csv and /somewhere/else"


def test_status(bench, cli):
    cells = [cell("trick"), cell(("trick_b", {"fault": "exit 3"})), cell("trick_c")]
    bench.go(*cells[:2], suite="quick")
    planned = [c.digest for c in plan_cells(cells, registry()).cells]
    Store(bench.store).write_suite("quick", planned)
    marker = Store(bench.store).mark_running()
    marker.write(
        suite="quick", running=["train it"], seconds=5, seconds_left=65.0, cells={"done": 1, "failed": 1, "left": 1}
    )
    try:
        found = json.loads(CliRunner().invoke(cli, ["status", "--store", str(bench.store), "--json"]).output)
        assert (found["ok"], found["failed"], found["to_do"]) == (1, 1, 1)
        assert found["suites"] == {"quick": {"cells": 3, "ok": 1, "failed": 1, "to_do": 1}}
        assert found["failures"][0]["reason"].startswith("ended with exit status 3 and no word, as `os._exit`")
        assert found["seconds"]["left"] == 65.0 and found["seconds"]["spent"] > 0.7
        assert found["running"][0]["running"] == ["train it"]
        text = CliRunner().invoke(cli, ["status", "--store", str(bench.store)]).output
        assert "1 cells done, 1 failed, 1 to do" in text and "about 1 min 05 s" in text and "trick_b" in text
    finally:
        marker.close()
    assert look(str(bench.store))["running"] == []
    assert "nothing is running; to do" in CliRunner().invoke(cli, ["status", "--store", str(bench.store)]).output


def test_words_of_a_killed_sweep_are_dropped(bench):
    code = (
        "import os, sys; from pathlib import Path; from w2s_bench.referee.store import Store\n"
        "marker = Store(Path(sys.argv[1])).mark_running(); marker.write(running=[]); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(bench.store)]).returncode == -9
    assert len(list((bench.store / ".running").glob("*.json"))) == 1
    assert look(str(bench.store))["running"] == []
    assert not list((bench.store / ".running").glob("*.json"))


def test_status_reads_imported_packed_and_broken_records(tmp_path, cli):
    write_record(tmp_path / "one", [[0, 1], [1, 1], [1, 1]], cost={"seconds": 2.0, "device": None})
    (tmp_path / "one" / "records" / "half.json").write_text('{"schema": 1, ')
    found = look(str(tmp_path / "one"))
    assert found["ok"] == 1 and found["seconds"]["a_cell"] == 2.0 and len(found["unusable"]) == 1
    text = CliRunner().invoke(cli, ["status", "--store", str(tmp_path / "one")]).output
    assert "unusable: records/half.json: not readable as JSON" in text
    (tmp_path / "one" / "records" / "half.json").unlink()
    pack(tmp_path / "one", tmp_path / "packed")
    assert look(str(tmp_path / "packed"))["ok"] == 1


def test_status_without_a_store(tmp_path):
    with pytest.raises(UsageError, match="is not there; give --store DIR"):
        look(str(tmp_path / "none"))


def test_doctor(bench, cli, monkeypatch, tmp_path):
    monkeypatch.setenv("W2S_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(doctor, "_torch", lambda: doctor.Finding("devices", "ok", "none"))
    result = CliRunner().invoke(cli, ["doctor", "--store", str(bench.store), "--json"])
    findings = {f["what"]: f for f in json.loads(result.output)}
    assert result.exit_code == 0
    assert {"w2s_bench", "python", "libraries", "store", "cache", "plugins", "Hugging Face hub"} <= set(findings)
    assert findings["Hugging Face hub"]["state"] == "note"
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(cli, ["doctor", "--store", str(tmp_path / "file" / "store")])
    assert result.exit_code == 1 and "give another with --store DIR" in result.output
