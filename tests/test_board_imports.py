"""Result files of other tools, and the verification of stores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.board_records import write_store

from w2s_bench.board import build_board
from w2s_bench.board.render import render
from w2s_bench.cells import digest
from w2s_bench.errors import UsageError
from w2s_bench.store.importers import import_results, write_records
from w2s_bench.store.packing import pack
from w2s_bench.store.verify import verify_store

PEERS = Path(__file__).resolve().parents[2] / "shared" / "data" / "peer-results"
needs_peers = pytest.mark.skipif(not PEERS.is_dir(), reason=f"no folder {PEERS.name} beside the repository's own")


@needs_peers
def test_aar_gives_the_published_pgrs_with_wider_intervals(tmp_path):
    made = import_results("aar", PEERS / "aar")
    assert len(made.records) == 30
    assert len(made.notes) == 2 and all("ue_zeroshot" in n and "not averaged" in n for n in made.notes)
    write_records(made, tmp_path)
    rows = {(r["task"], r["mitigation"]): r for r in build_board([tmp_path]).data["rows"]}
    published = {
        ("chat", "naive"): 0.204, ("chat", "train_only_on_confident_labels"): 0.234, ("chat", "critic"): -0.038,
        ("math", "naive"): 0.338, ("math", "train_only_on_confident_labels"): 0.296, ("math", "critic"): 0.260,
    }  # fmt: skip
    assert set(rows) == set(published)
    for key, pgr in published.items():
        assert rows[key]["pgr"]["mean"] == pytest.approx(pgr, abs=0.001)
        assert rows[key]["imported"] and rows[key]["pgr"]["low"] < pgr < rows[key]["pgr"]["high"]
    lists = {id(v): v for r in made.records for v in r["imported"]["baselines"].values()}
    for values in lists.values():  # noisier floors and ceilings must show in PGR
        middle = sum(values) / len(values)
        values[:] = [middle + 4 * (v - middle) for v in values]
    write_records(made, tmp_path)
    wider = {(r["task"], r["mitigation"]): r for r in build_board([tmp_path]).data["rows"]}
    for key, row in rows.items():
        assert wider[key]["pgr"]["mean"] == pytest.approx(row["pgr"]["mean"], abs=1e-4)
        assert wider[key]["pgr"]["high"] - wider[key]["pgr"]["low"] > 1.05 * (row["pgr"]["high"] - row["pgr"]["low"])


@needs_peers
def test_openai_w2s_is_an_unresolved_gap(tmp_path):
    write_records(import_results("openai-w2s", PEERS / "openai-w2s"), tmp_path)
    board = build_board([tmp_path])
    assert len(board.data["rows"]) == 3
    assert {r["status"] for r in board.data["rows"]} == {"gap_unresolved"}
    assert {r["pgr"] for r in board.data["rows"]} == {None}
    assert "no PGR: the ceiling (0.597) equals the floor (0.597)\n" in render(board)  # nobody's options to raise


def _run(folder: Path, name: str, config: dict, accuracy: float) -> None:
    (folder / name).mkdir()
    (folder / name / "config.json").write_text(json.dumps(config))
    (folder / name / "results_summary.json").write_text(json.dumps({"accuracy": accuracy}))


def test_openai_w2s_pairs_runs_by_seed(tmp_path):
    for seed in range(3):
        weak = {"ds_name": "d", "model_size": "w", "seed": seed, "loss": "xent", "n_test_docs": 1000}
        strong = weak | {"model_size": "s"}
        _run(tmp_path, f"w{seed}", weak, 0.60 + 0.01 * seed)
        _run(tmp_path, f"s{seed}", strong, 0.90 + 0.01 * seed)
        for loss in ("xent", "logconf"):
            taught = strong | {"loss": loss, "weak_model_size": "w", "weak_model": weak}
            _run(tmp_path, f"{loss}{seed}", taught, 0.75 + 0.01 * seed)
    orphan = {"ds_name": "d", "model_size": "l", "seed": 0, "loss": "xent", "weak_model": {"seed": 9}}
    _run(tmp_path, "orphan", orphan, 0.8)
    (tmp_path / "w0" / "extra").mkdir()
    (tmp_path / "w0" / "extra" / "config.json").write_text("{")
    made = import_results("openai-w2s", tmp_path)
    assert len(made.records) == 6 and len(made.notes) == 2
    write_records(made, tmp_path / "store")
    rows = {r["mitigation"]: r for r in build_board([tmp_path / "store"]).data["rows"]}
    assert set(rows) == {"naive", "logconf"}
    assert rows["naive"]["pgr"]["mean"] == pytest.approx(0.5)


def test_nothing_to_import_is_said(tmp_path):
    with pytest.raises(UsageError, match="aar, openai-w2s"):
        import_results("lm-eval", tmp_path)
    with pytest.raises(UsageError, match="has no aar result"):
        import_results("aar", tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        import_results("aar", tmp_path / "no")


@pytest.fixture
def store(tmp_path) -> Path:
    truths = {"naive": 0.4, "gce": 0.5}
    write_store(tmp_path / "s", truths, seeds=2, n=200, same_test=True, predictions=True)
    return tmp_path / "s"


def test_a_sound_store_holds_packed_or_not(store, tmp_path):
    done = verify_store(store)
    assert done.problems == [] and (done.records, done.predictions, done.scores) == (4, 4, 4)
    pack(store, tmp_path / "packed")
    assert verify_store(tmp_path / "packed").ok


def test_one_flipped_byte_in_a_prediction_file_is_named(store):
    path = sorted((store / "predictions").glob("*.parquet"))[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    (problem,) = verify_store(store).problems
    assert path.name in problem and "was changed" in problem


def edit(store: Path, change) -> str:
    path = sorted((store / "records").glob("*.json"))[0]
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path.stem


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["test"]["student"].update(accuracy=0.99), "student accuracy 0.99"),
        (lambda r: r.update(pgr=1.5), "PGR 1.5"),
        (lambda r: r["predictions"].update(path="predictions/none.parquet"), "predictions file is missing"),
        (lambda r: r["scores"].update(path="../../etc/passwd"), "scores file is missing"),
        (lambda r: r.update(status="splendid"), "status splendid"),
    ],
)
def test_changed_records_are_named(store, change, words):
    name = edit(store, change)
    problems = verify_store(store).problems
    assert len(problems) == 1 and name in problems[0] and words in problems[0]


@pytest.mark.parametrize(("pgr", "problems"), [(0.25, 0), (0.75, 1)])
def test_pgr_is_checked_in_the_metric_of_the_protocol(store, pgr, problems):
    def with_auroc(record):
        record["protocol_settings"]["metric"] = "auroc"
        record["protocol"] = digest(record["protocol_settings"])
        for side, auroc in zip(("floor", "student", "ceiling"), (0.6, 0.65, 0.8), strict=True):
            record["test"][side]["auroc"] = auroc
        record["pgr"] = pgr

    edit(store, with_auroc)
    assert len(verify_store(store).problems) == problems


def test_scores_bent_together_with_their_digests_clash_with_other_records(store):
    """A cheat who turns wrong answers right in the score file and mends all digests and counts."""
    import hashlib
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from support.board_records import write_parquet

    def bend(record):
        path = store / record["scores"]["path"]
        table = pq.read_table(io.BytesIO(path.read_bytes()))
        columns = {n: table[n].to_pylist() for n in table.column_names}
        columns["student"] = [1] * len(table)
        record["scores"]["sha256"] = write_parquet(path, {k: pa.array(v) for k, v in columns.items()})
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record["scores"]["sha256"]
        joint = {k: 0 for k in record["test"]["joint"]}
        for f, s, c in zip(columns["floor"], columns["student"], columns["ceiling"], strict=True):
            joint[f"{f}{s}{c}"] += 1
        record["test"]["joint"] = joint
        record["test"]["student"]["accuracy"] = 1.0
        record["pgr"] = None

    edit(store, bend)
    problems = verify_store(store).problems
    assert problems and all("another true answer" in p for p in problems)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(pgr="high"), "pgr is str, expected a number"),
        (lambda r: r.update(predictions="x"), "predictions is str, expected an object"),
        (lambda r: r.update(cost=3), "cost is int, expected an object"),
        (lambda r: r.update(provenance=[]), "provenance is list, expected an object"),
        (lambda r: r["provenance"].update(plugins=["x"]), "provenance.plugins[0] is str, expected an object"),
        (lambda r: r["test"].update(student=None), "accuracy of the student is None"),
        (lambda r: r["test"]["floor"].update(accuracy=True), "test.floor.accuracy is bool, expected a number"),
        (lambda r: r["test"]["ceiling"].update(accuracy=1.5), "accuracy of the ceiling is 1.5"),
        (lambda r: r.pop("test"), "not a whole record"),
    ],
)
def test_records_of_another_shape_are_named_and_the_rest_is_built(store, change, words):
    name = edit(store, change)
    (problem,) = verify_store(store).problems
    assert name in problem and words in problem
    board = build_board([store])
    assert any(name in n and words in n for n in board.notes) and board.data["records"]["ok"] == 3
    assert all(render(board, face) for face in ("table", "json", "md", "csv", "latex", "html"))


def test_a_protocol_is_the_digest_of_its_settings(store):
    edit(store, lambda r: r["protocol_settings"].update(version=2))
    (problem,) = verify_store(store).problems
    assert "not the digest of its protocol_settings" in problem


def test_missing_cells_and_several_protocols_are_notes(store):
    (store / "suites").mkdir()
    planned = [p.stem for p in (store / "records").glob("*.json")] + ["e" * 32]
    (store / "suites" / "quick.json").write_text(json.dumps({"cells": planned}))
    write_store(store, {"naive": 0.4}, seeds=1, settings={"version": 2, "metric": "accuracy"})
    done = verify_store(store)
    assert done.ok and len(done.notes) == 2
    assert "1 of 5 planned cells" in done.notes[0] and "2 protocols" in done.notes[1]


def w2s(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "w2s_bench", *words], capture_output=True, text=True)


def test_verify_as_typed(store):
    done = w2s("verify", str(store))
    assert done.returncode == 0 and "no problems" in done.stdout
    edit(store, lambda r: r.update(pgr=9.0))
    done = w2s("verify", str(store), "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["ok"] is False


@needs_peers
def test_import_as_typed(tmp_path):
    store = str(tmp_path / "store")
    done = w2s("import", "aar", str(PEERS / "aar"), "--store", store)
    assert done.returncode == 0 and "30 records" in done.stdout and done.stdout.count(": PGR 0.") == 5
    assert "naive: PGR 0.204 [" in done.stdout and "critic: PGR -0.038 [" in done.stdout
    done = w2s("import", "openai-w2s", str(PEERS / "openai-w2s"), "--store", store)
    assert done.returncode == 0 and done.stdout.count("no PGR: the ceiling (0.") == 3
    assert "other protocols" in done.stderr and "--store" in done.stderr
