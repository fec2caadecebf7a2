"""Packed stores: small, the same bytes again, and as checkable as the store they come from."""

from __future__ import annotations

import hashlib
import json
import lzma
import subprocess
import sys
import tarfile
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
from w2s_bench.referee.store import Store
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.packing import STEPS, pack, rounded
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
    assert verify_store(store).ok
    return store


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_packed_store_keeps_board_answers_and_digests(store, tmp_path):
    packed = tmp_path / "packed"
    pack(store, packed)
    assert sorted(contents(packed)) == ["predictions.tar.xz", "records.tar.xz", "scores.tar.xz"]
    assert render(build_board([packed]), "json") == render(build_board([store]), "json")
    done = verify_store(packed)
    assert done.ok and (done.records, done.predictions, done.scores) == (4, 4, 4)
    before, after = StoreFiles(store), StoreFiles(packed)
    for name in before.names("records", ".json"):
        told, kept = (json.loads(f.read(name)) for f in (before, after))
        run, ours = told.pop("predictions"), kept.pop("predictions")
        scores, kept_scores = told.pop("scores"), kept.pop("scores")
        assert told == kept
        assert ours["run_sha256"] == run["sha256"] and ours["path"] == f"predictions/{ours['sha256'][:32]}.parquet"
        full = exchange.read_predictions(before.read(run["path"]))
        small = exchange.read_predictions(after.read(ours["path"]))
        assert set(small) == {"test"} and small["test"][0] == full["test"][0]
        assert (small["test"][1].argmax(1) == full["test"][1].argmax(1)).all()
        assert np.allclose(small["test"][1], full["test"][1], rtol=0, atol=1 / STEPS)
        assert after.read(kept_scores["path"]) == before.read(scores["path"])


def test_the_same_bytes_again_and_from_what_is_packed_already(store, tmp_path):
    pack(store, tmp_path / "one")
    first = contents(tmp_path / "one")
    pack(store, tmp_path / "two")
    assert contents(tmp_path / "two") == first
    pack(tmp_path / "one", tmp_path / "one")
    assert contents(tmp_path / "one") == first


def rewritten(store: Path, part: str, digest: str, content: bytes) -> None:
    """Puts another file of predictions or scores into a store, and its sha256 into the record."""
    path = store / "records" / f"{digest}.json"
    record = json.loads(path.read_text())
    (store / record[part]["path"]).write_bytes(content)
    record[part]["sha256"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def other_release(store: Path) -> None:
    """Writes every file as another release of arrow might: the same numbers in other bytes."""
    for path in (store / "records").glob("*.json"):
        for part in ("predictions", "scores"):
            table = exchange.read_table(store / json.loads(path.read_text())[part]["path"])
            rewritten(store, part, path.stem, exchange.parquet_of(table, compression="gzip"))


def other_names(store: Path) -> None:
    """Gives every cell another digest, as another version of the training code does, and a number that is new."""
    for path in (store / "records").glob("*.json"):
        record = json.loads(path.read_text())
        record["digest"] = hashlib.sha256(path.stem.encode()).hexdigest()[:32]
        record["test"]["student"]["accuracy_on_wrong_labels"] = 0.25
        for part in ("predictions", "scores"):
            file = f"{part}/{record['digest']}.parquet"
            (store / record[part]["path"]).rename(store / file)
            record[part]["path"] = file
        path.unlink()
        (store / "records" / f"{record['digest']}.json").write_text(json.dumps(record))


@pytest.mark.parametrize("change", [other_release, other_names])
def test_archives_change_only_where_a_number_changed(store, tmp_path, change):
    packed = tmp_path / "packed"
    pack(store, packed)
    first = contents(packed)
    change(store)
    pack(store, packed)
    assert verify_store(packed).ok
    assert [n for n, content in contents(packed).items() if content != first[n]] == ["records.tar.xz"]
    path = sorted((store / "records").glob("*.json"))[0]
    ids, p = exchange.read_predictions(store / json.loads(path.read_text())["predictions"]["path"])["test"]
    p[0] = p[0] + [0.1, -0.1] if p[0, 0] > 0.5 else p[0] + [-0.1, 0.1]
    exchange.write_predictions(tmp_path / "one.parquet", {"test": (ids, np.abs(p) / np.abs(p).sum(1, keepdims=True))})
    rewritten(store, "predictions", path.stem, (tmp_path / "one.parquet").read_bytes())
    pack(store, packed)
    changed = {n for n, content in contents(packed).items() if content != first[n]}
    assert changed == {"records.tar.xz", "predictions.tar.xz"}


def test_an_archive_with_the_same_files_stays_and_a_damaged_one_does_not(store, tmp_path):
    pack(store, tmp_path)
    path = tmp_path / "scores.tar.xz"
    otherwise = lzma.compress(lzma.decompress(path.read_bytes()), preset=0)  # as another liblzma might do it
    whole = path.read_bytes()
    path.write_bytes(otherwise)
    pack(store, tmp_path)
    assert path.read_bytes() == otherwise != whole
    path.write_bytes(whole[:100])
    pack(store, tmp_path)
    assert path.read_bytes() == whole


def test_an_unpacked_store_has_its_results(store, tmp_path):
    pack(store, tmp_path / "packed")
    for part in ("records", "predictions", "scores"):
        with tarfile.open(tmp_path / "packed" / f"{part}.tar.xz") as archive:
            archive.extractall(tmp_path / "unpacked" / part, filter="data")
    digests = [p.stem for p in (store / "records").glob("*.json")]
    unpacked = Store(tmp_path / "unpacked")
    assert len(digests) == 4 and all(unpacked.has_files(unpacked.read(d)) for d in digests)
    for path in (tmp_path / "unpacked/predictions").iterdir():
        path.unlink()
    assert not any(unpacked.has_files(unpacked.read(d)) for d in digests)


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


@given(st.integers(2, 6), st.integers(1, 30), st.sampled_from([0.05, 0.5, 5.0, 500.0]), st.integers(0, 10**6))
def test_rounding_keeps_answers_and_sums(classes, rows, spread, seed):
    p = np.random.default_rng(seed).dirichlet(np.full(classes, spread), rows).astype(np.float32)
    near = rounded(p)
    assert (near.argmax(1) == p.argmax(1)).all()
    assert (near * STEPS == (near * STEPS).astype(int)).all() and (near >= 0).all() and (near.sum(1) == 1).all()
    assert abs(near - p).max() <= (1 if classes == 2 else 3) / STEPS + 1e-6
    assert (rounded(near) == near).all()
    half = p.astype(np.float16).astype(np.float32)
    same = (half.argmax(1) == p.argmax(1)) & (p > 2**-14).all(1) & ~_halfway(p)  # as they were published before
    assert (rounded(half)[same] == near[same]).all()


def _halfway(p: np.ndarray) -> np.ndarray:
    """Returns rows in which a number lies between two of half precision, which float16 rounds to even."""
    return (p.view(np.uint32) & 0x1FFF == 0x1000).any(1)


def test_rounding_leaves_no_close_call_to_chance():
    for row in ([0.49999997, 0.50000003], [0.50000003, 0.49999997], [0.3333, 0.3334, 0.3333]):
        p = np.array([row], dtype=np.float32)
        assert rounded(p).argmax() == p.argmax() and rounded(p).sum() == 1
