"""The reliability plot: the metric's bins, one line a stack, nothing drawn from files that do not hold."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.board_records import write_parquet, write_record

from w2s_bench.board import build_board
from w2s_bench.board.render.page import as_page
from w2s_bench.board.render.plots import draw_plot
from w2s_bench.board.render.reliability import LEAST, with_reliability
from w2s_bench.cli.main import cli
from w2s_bench.registry import load
from w2s_bench.store.packing import pack

SAMPLES = 1500
OURS = {"naive": 1.0, "gce": -0.15, "product": 0.1}
"""How far the share of right answers lies above the confidence, by stack."""


def write_answers(
    store: Path, above: float, *, seed: int = 0, classes: int = 2, n: int = SAMPLES, **extra
) -> tuple[dict, np.ndarray, np.ndarray]:
    """Writes a record whose student is right `above` more often than it is sure; returns it, p [n, C] and truth [n]."""
    rng = np.random.default_rng([seed, classes, n])
    p = rng.dirichlet(np.ones(classes), n).astype(np.float32)
    likely = p.argmax(1)
    correct = rng.uniform(size=n) < p.max(1) + above
    truth = np.where(correct, likely, (likely + 1) % classes)
    right = np.stack([rng.uniform(size=n) < 0.6, correct, rng.uniform(size=n) < 0.9])
    record = write_record(store, right, seed=seed, **extra)
    ids = [f"{'' if extra.get('same_test') else f's{seed}-'}t{i}" for i in range(n)]
    shuffled = rng.permutation(n)  # files are joined by id, not by place
    columns = {
        "split": ["test"] * n + ["transfer"],
        "id": [ids[i] for i in shuffled] + ["x0"],
        "p_student": [*p[shuffled].tolist(), [1.0] + [0.0] * (classes - 1)],
    }
    path = f"predictions/{record['digest']}.parquet"
    record["predictions"] = {"path": path, "sha256": write_parquet(store / path, columns)}
    save(store, record)
    return record, p, truth


def save(store: Path, record: dict) -> None:
    (store / "records" / f"{record['digest']}.json").write_text(json.dumps(record, indent=1, sort_keys=True))


def curves(*stores: Path, notes: list[str] | None = None) -> list[dict]:
    found = [] if notes is None else notes
    data = with_reliability(build_board(stores), found)
    assert notes is not None or found == []
    return data["reliability"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store")
    for stack, above in OURS.items():
        for seed in range(3):
            write_answers(path, above, seed=seed, mitigations=[stack])
    write_answers(path, 0.0, mitigations=["random_labels"], control=True)
    return path


@pytest.mark.parametrize("classes", [2, 3])
def test_bins_are_those_of_the_calibration_error(tmp_path, classes, monkeypatch):
    monkeypatch.setattr("w2s_bench.board.render.reliability.LEAST", 1)
    _, p, truth = write_answers(tmp_path, -0.1, classes=classes)
    (group,) = curves(tmp_path)
    bins = group["curves"]["naive"]
    assert sum(b["examples"] for b in bins) == SAMPLES
    off = sum(b["examples"] * abs(b["share"] - b["confidence"]) for b in bins) / SAMPLES
    assert off == pytest.approx(load().metric("ece")(p, truth), abs=1e-7)
    assert all(b["low"] is None for b in bins)  # one seed tells no interval


def test_a_record_that_is_too_sure_lies_below_the_diagonal(store):
    (group,) = curves(store)
    assert next(iter(group["curves"])) == "naive" and set(group["curves"]) == set(OURS)  # and no control
    wide = [b for b in group["curves"]["gce"] if b["examples"] > 200]
    assert len(wide) > 3
    assert all(b["share"] == pytest.approx(b["confidence"] - 0.15, abs=0.07) for b in wide)
    assert all(b["low"] <= b["share"] <= b["high"] for b in wide)
    assert all(b["share"] == 1 for b in group["curves"]["naive"])


def test_bins_of_few_examples_are_left_out(tmp_path):
    _, p, _ = write_answers(tmp_path, 0.0, n=240)
    counts = np.bincount(np.ceil(p.max(1) * 15).astype(int) - 1, minlength=15)
    (group,) = curves(tmp_path)
    assert [b["examples"] for b in group["curves"]["naive"]] == [c for c in counts if c >= LEAST]
    assert 0 < len(group["curves"]["naive"]) < (counts > 0).sum()


def test_shared_examples_widen_the_interval(tmp_path):
    for same_test in (False, True):
        for seed in range(3):
            record, *_ = write_answers(tmp_path / str(same_test), 0.0, seed=seed, same_test=same_test)
            assert record["test"]["same_for_all_seeds"] is same_test
    own, shared = (curves(tmp_path / str(s))[0]["curves"]["naive"][5] for s in (False, True))
    assert own["share"] == shared["share"] and own["low"] > shared["low"] and own["high"] < shared["high"]


def test_a_packed_store_gives_the_same_picture(tmp_path):
    for seed in range(3):
        write_answers(tmp_path / "store", 0.0, seed=seed)
    pack(tmp_path / "store", tmp_path / "packed")
    before, after = (
        [(b["confidence"], b["share"]) for b in curves(tmp_path / form)[0]["curves"]["naive"]]
        for form in ("store", "packed")
    )
    assert len(before) == 8 and np.allclose(before, after, atol=0.01)


@pytest.mark.parametrize("what", ["missing", "changed", "unfit"])
def test_files_that_do_not_hold_are_named_and_left_out(tmp_path, what):
    record, *_ = write_answers(tmp_path, 0.0)
    kept, *_ = write_answers(tmp_path, 0.0, mitigations=["gce"])
    path = tmp_path / record["predictions"]["path"]
    if what == "missing":
        path.unlink()
    elif what == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    else:  # a sound file, of other examples
        other, *_ = write_answers(tmp_path / "other", 0.0, seed=1)
        path.write_bytes((tmp_path / "other" / other["predictions"]["path"]).read_bytes())
        record["predictions"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        save(tmp_path, record)
    notes: list[str] = []
    (group,) = curves(tmp_path, notes=notes)
    assert set(group["curves"]) == {"gce"} and len(notes) == 1
    assert record["digest"] in notes[0] and kept["digest"] not in notes[0]
    says = {"missing": "file is missing", "changed": "was changed: sha256", "unfit": "different test examples"}
    assert says[what] in notes[0]


def test_the_verb_draws_or_says_in_one_line_why_not(store, tmp_path):
    def plot(path: Path, file: str):
        return CliRunner().invoke(cli, ["plot", "reliability", "--store", str(path), "-o", str(tmp_path / file)])

    assert plot(store, "a.svg").exit_code == 0 and plot(store, "a.png").exit_code == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "a.svg").read_bytes()
    assert all(f">{word}<".encode() in svg for word in [*OURS, "confidence", "right as often as sure"])
    assert draw_plot("reliability", with_reliability(build_board([store]), [])) == svg
    sealed, words = tmp_path / "sealed", tmp_path / "words"
    for seed in range(2):
        write_answers(sealed, 0.0, seed=seed, scores=False)
        record, *_ = write_answers(words, 0.0, seed=seed)
        columns = {"split": ["test"] * 2, "id": ["t0", "t1"], "answer": ["one", "two"]}
        sha = write_parquet(words / record["predictions"]["path"], columns)
        record["predictions"]["sha256"] = sha
        save(words, record)
    for path in (sealed, words):
        done = plot(path, "b.svg")
        assert done.exit_code == 2 and not (tmp_path / "b.svg").exists()
        assert re.fullmatch(r"w2s: the board has nothing for the plot reliability: [^\n]+\n", done.output)
    (record,) = [r for p in (sealed / "records").iterdir() if (r := json.loads(p.read_text()))["cell"]["seed"] == 0]
    record["scores"] = {"path": "scores/\x1b[2J.parquet", "sha256": "0"}
    save(sealed, record)
    done = plot(sealed, "b.svg")
    assert done.exit_code == 2 and "note: " in done.output and "\x1b" not in done.output


def test_names_do_no_harm_in_the_picture(tmp_path):
    evil = "<script>alert(1)</script>"
    for name in ("naive", evil, "$\\frac{1}$\x1b[2J\u202e"):
        for seed in range(2):
            write_answers(tmp_path, 0.0, seed=seed, task=evil, student=evil, supervisors=[evil], mitigations=[name])
    svg = draw_plot("reliability", with_reliability(build_board([tmp_path]), []))
    assert b"<script" not in svg and b"&lt;script" in svg
    assert b"\x1b" not in svg and "\u202e".encode() not in svg and rb"$\frac{1}$" in svg


def test_nothing_else_reads_predictions(store, tmp_path):
    """Board and page are there without prediction files, byte for byte as with them."""
    for part in ("records", "scores"):
        (tmp_path / part).symlink_to(store / part)
    bare, full = build_board([tmp_path]), build_board([store])
    bare.data["controls"] = full.data["controls"]  # the control of chance alone asks for predictions
    assert as_page([bare]) == as_page([full]) and "reliability" not in full.data
