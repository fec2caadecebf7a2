"""Packed stores: small, the same bytes again, and as checkable as the store they come from."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.board_records import write_store

from w2s_bench import exchange
from w2s_bench.board import build_board
from w2s_bench.board.render import render
from w2s_bench.errors import W2SError
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.packing import pack, rounded
from w2s_bench.store.verify import verify_store


@pytest.fixture
def store(tmp_path) -> Path:
    """A store whose prediction files are as a worker writes them: test and transfer, two floats an example."""
    store = tmp_path / "store"
    write_store(store, {"naive": 0.4, "gce": 0.5}, seeds=2, n=200, same_test=True, predictions=True)
    rng = np.random.default_rng(0)
    for path in sorted((store / "records").glob("*.json")):
        record = json.loads(path.read_text())
        file = store / record["predictions"]["path"]
        ids, p = exchange.read_predictions(file)["test"]
        sure = rng.beta(1, 4, len(ids)).astype(np.float32) / 2  # of the class not chosen
        p = np.where(p > 0.5, 1 - sure[:, None], sure[:, None])
        transfer = rng.dirichlet([1, 1], 300)
        exchange.write_predictions(file, {"test": (ids, p), "transfer": ([f"x{i}" for i in range(300)], transfer)})
        record["predictions"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    assert verify_store(store).sound
    return store


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_packed_store_keeps_board_answers_and_digests(store, tmp_path):
    packed = tmp_path / "packed"
    pack(store, packed)
    assert sorted(contents(packed)) == ["predictions.tar.xz", "records.tar.xz", "scores.tar.xz"]
    assert render(build_board([packed]), "json") == render(build_board([store]), "json")
    done = verify_store(packed)
    assert done.sound and (done.records, done.predictions, done.scores) == (4, 4, 4)
    before, after = StoreFiles(store), StoreFiles(packed)
    for name in before.names("records", ".json"):
        told, kept = (json.loads(f.read(name)) for f in (before, after))
        run, ours = told.pop("predictions"), kept.pop("predictions")
        assert told == kept
        assert ours["run_sha256"] == run["sha256"] and ours["path"] == run["path"]
        (tmp_path / "run.parquet").write_bytes(before.read(run["path"]))
        (tmp_path / "ours.parquet").write_bytes(after.read(ours["path"]))
        full = exchange.read_predictions(tmp_path / "run.parquet")
        small = exchange.read_predictions(tmp_path / "ours.parquet")
        assert set(small) == {"test"} and small["test"][0] == full["test"][0]
        assert (small["test"][1].argmax(1) == full["test"][1].argmax(1)).all()
        assert np.allclose(small["test"][1], full["test"][1], rtol=2**-11, atol=0)
        assert after.read(told["scores"]["path"]) == before.read(told["scores"]["path"])


def test_the_same_bytes_again_and_from_what_is_packed_already(store, tmp_path):
    pack(store, tmp_path / "one")
    first = contents(tmp_path / "one")
    pack(store, tmp_path / "two")
    assert contents(tmp_path / "two") == first
    pack(tmp_path / "one", tmp_path / "one")
    assert contents(tmp_path / "one") == first


def test_what_does_not_verify_is_not_packed(store, tmp_path):
    path = sorted((store / "predictions").glob("*.parquet"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(W2SError, match=f"{path.name} was changed.*w2s verify"):
        pack(store, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize("part", ["records", "scores"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:]])
def test_a_damaged_archive_is_one_line(store, tmp_path, part, damage):
    pack(store, tmp_path / "packed")
    path = tmp_path / "packed" / f"{part}.tar.xz"
    path.write_bytes(damage(path.read_bytes()))
    for verb in (["verify", str(path.parent)], ["board", "--store", str(path.parent)]):
        done = subprocess.run([sys.executable, "-m", "w2s_bench", *verb], capture_output=True, text=True)
        assert done.returncode == 1 and done.stdout == ""
        assert f"{part}.tar.xz is damaged" in done.stderr and done.stderr.count("\n") == 1


@given(st.lists(st.lists(st.floats(2**-100, 1.0, width=32), min_size=3, max_size=3), min_size=1, max_size=20))
def test_rounding_keeps_answers_and_half_precision(values):
    p = np.array(values, dtype=np.float32)
    near = rounded(p)
    assert (near.argmax(1) == p.argmax(1)).all()
    assert (abs(near.astype(float) - p) <= 2.0**-11 * p.astype(float)).all()
    assert (rounded(near) == near).all()


def test_rounding_leaves_a_close_call_alone():
    close = np.array([[0.49999997, 0.50000003], [0.30001, 0.69999]], dtype=np.float32)
    near = rounded(close)
    assert (near[0] == close[0]).all() and (near[1] != close[1]).all()
