"""What workers can see: by listing it, and by changing what they must not depend on."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.referee_bench import Bench, cell, permute_truth

from w2s_bench import exchange


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_each_stage_reaches_exactly_this(bench, monkeypatch):
    monkeypatch.setenv("W2S_STORE", str(bench.store))
    monkeypatch.setenv("W2S_CACHE", str(bench.cache))
    monkeypatch.setenv("W2S_PLUGINS", "")
    from support.referee_bench import engine

    engine().close()  # so that the server starts with these variables
    bench.go(cell("trick", supervisors=("guess", "guess_b")))
    pages = {p["stage"]: p for p in bench.diary()}
    assert pages["supervise"]["reach"] == [
        "in/supervision.parquet", "in/test.parquet", "in/transfer.parquet", "in/truth.npy", "in/validation.parquet",
        "job.json",
    ]  # fmt: skip
    assert pages["ceiling"]["reach"] == ["in/test.parquet", "in/transfer.parquet", "in/truth.npy", "job.json"]
    assert pages["train"]["reach"] == [
        "in/supervisors/0/saved.json", "in/supervisors/1/saved.json", "in/test.parquet", "in/transfer.parquet",
        "in/validation.parquet", "in/votes.npz", "job.json",
    ]  # fmt: skip
    assert all(p["variables"] == [] for p in pages.values())


def test_no_worker_sees_hidden_truth_scores_or_the_ceiling(bench, monkeypatch):
    """The job folders of all stages are kept, and searched for hidden arrays in any encoding that a file may have."""
    kept = bench.cache.parent / "kept"
    from w2s_bench.referee import handover

    fill = handover.fill

    def keep(folder, stage, *rest):
        fill(folder, stage, *rest)
        shutil.copytree(folder, kept / f"{stage.kind}-{stage.entry.name}")

    monkeypatch.setattr(handover, "fill", keep)
    bench.go(cell("trick", supervisors=("guess", "guess_b")))
    (prepared,) = (bench.cache / "referee" / "prepare").glob("*/*")
    truth = {s: np.load(prepared / "truth" / f"{s}.npy") for s in ("supervision", "transfer", "test")}
    allowed = {"supervise-guess": "supervision", "supervise-guess_b": "supervision", "ceiling-pupil": "transfer"}
    folders = {p.name: p for p in kept.iterdir()}
    assert set(folders) == {*allowed, "train-pupil"}
    (ceiling,) = (bench.cache / "referee" / "ceiling").glob("*/*/predictions.parquet")
    hidden_files = {hashlib.sha256(p.read_bytes()).hexdigest() for p in [ceiling, *(bench.store / "scores").iterdir()]}
    for name, folder in folders.items():
        for path in (p for p in folder.rglob("*") if p.is_file()):
            assert hashlib.sha256(path.read_bytes()).hexdigest() not in hidden_files
            for array in arrays_in(path):
                for split, hidden in truth.items():
                    same = array.shape == hidden.shape and np.array_equal(array, hidden)
                    assert not same or allowed.get(name) == split, f"{path} holds the truth of {split}"
    votes = exchange.read_arrays(folders["train-pupil"] / "in" / "votes.npz")
    assert set(votes) == {"transfer", "validation"} and votes["transfer"].shape == (2, 30, 2)


def arrays_in(path: Path) -> list[np.ndarray]:
    """Returns every one-dimensional run of numbers that a file holds, classes of probabilities included."""
    if path.suffix == ".npy":
        return [np.load(path)]
    if path.suffix == ".npz":
        found = list(exchange.read_arrays(path).values())
        return [*found, *(a for v in found for s in v for a in (s.argmax(-1), s[..., 0], s[..., 1]))]
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return [np.array(c.to_pylist()) for c in table.columns if not str(c.type).startswith("string")]
    found = lists_in(json.loads(path.read_text()))
    return [np.array(v) for v in found if all(isinstance(x, int | float) for x in v)]


def lists_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        yield value
        for v in value:
            yield from lists_in(v)


def test_hidden_truth_changes_scores_and_no_prediction(bench):
    cells = [cell(m, supervisors=("guess", "guess_b")) for m in ("trick", "control")]
    bench.go(*cells)
    before = {r["digest"]: r for r in bench.records()}
    seen = {(p["stage"], *p["names"]): p["bytes"] for p in bench.diary()}
    permute_truth(bench)
    shutil.rmtree(bench.store)
    for kind in ("train", "ceiling"):
        shutil.rmtree(bench.cache / "referee" / kind)
    shutil.rmtree(bench.cache / "workers" / "diary")
    bench.go(*cells)
    assert bench.worked() == {"ceiling": 1, "train": 2}
    for record in bench.records():
        assert record["predictions"] == before[record["digest"]]["predictions"]
        assert record["test"]["floor"] != before[record["digest"]]["test"]["floor"]
    for page in bench.diary():
        changed = {n for n, sha in page["bytes"].items() if sha != seen[page["stage"], *page["names"]][n]}
        assert changed == ({"in/truth.npy"} if page["stage"] == "ceiling" else set())


def test_a_worker_cannot_change_what_the_referee_keeps(bench, monkeypatch):
    """Even where files are linked instead of copied, a change is found before the next use."""
    from w2s_bench.referee import artefacts

    monkeypatch.setattr(artefacts, "LINK_FROM", 1)
    bench.go(cell("trick"))
    (saved,) = (bench.cache / "referee" / "supervise").glob("*/*/supervisor/saved.json")
    saved.write_text("changed")  # as a worker could through its link
    bench.go(cell("trick_b"))
    assert "saved.json has changed" in bench.output
    assert bench.worked()["supervise"] == 2
