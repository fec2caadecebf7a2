"""Cells of a store run again: equal on the machine that made them, named where they are out or cannot be run."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from w2s_bench import exchange
from w2s_bench.compose import commands as rerun
from w2s_bench.compose import runs as compose
from w2s_bench.errors import UsageError
from w2s_bench.referee.engines import PRELOAD, LocalEngine
from w2s_bench.referee.plan import plan_cells
from w2s_bench.referee.rerun import rerun_cells
from w2s_bench.referee.sweep import run_cells
from w2s_bench.registry import load
from w2s_bench.store.packing import pack

TOY = str(Path(__file__).parent / "support/toy.py")
SST2 = Path(__file__).parents[1] / "leaderboard" / "sst2"
SWEEP = ["task=toy", "task.n_supervision=200", "task.n_transfer=160", "task.n_validation=20", "task.n_test=200",
         "supervisor=[toy_weak]", "student=toy", "mitigation=[naive],[gce],[easy_to_hard,aux_confidence]", "seed=3",
         "mitigation.gce.q=0.4", "protocol.training.epochs=2"]  # fmt: skip


@pytest.fixture(scope="module")
def registry():
    return load([TOY])


@pytest.fixture(scope="module")
def engine():
    made = LocalEngine(2, 300.0, 1, PRELOAD)
    yield made
    made.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory, registry, engine) -> Path:
    """A store of three toy cells."""
    folder = tmp_path_factory.mktemp("made")
    run = compose.cells([*SWEEP, f"cache={folder / 'cache'}"], True, registry, store=str(folder / "store"))
    assert run_cells(run, registry, console=Console(file=io.StringIO()), engine=engine).ok == 3
    return folder / "store"


@pytest.fixture
def store(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "store")


def record_of(store: Path, stack: str) -> Path:
    paths = (store / "records").glob("*.json")
    return next(p for p in paths if json.loads(p.read_text())["cell"]["mitigations"][0]["name"] == stack)


def edit(store: Path, stack: str, change) -> None:
    path = record_of(store, stack)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def bend(store: Path, stack: str, share: float) -> None:
    """Turns a share of a cell's test answers around, and mends the digest."""
    path = store / "predictions" / f"{record_of(store, stack).stem}.parquet"
    splits = exchange.read_predictions(path)
    ids, p = splits["test"]
    turned = np.arange(len(p)) < share * len(p)
    exchange.write_predictions(path, splits | {"test": (ids, np.where(turned[:, None], p[:, ::-1], p))})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(store, stack, lambda r: r["predictions"].update(sha256=digest))


def states(store: Path, registry, engine, k: int = 3, **extra):
    done = rerun_cells(store, k, 1, registry, engine=engine, **extra)
    return done, {json.loads((store / "records" / f"{r.digest}.json").read_text())["cell"]["mitigations"][0]["name"]: r
                  for r in done.cells}  # fmt: skip


def test_the_same_machine_gives_every_bit_again(store, registry, engine, tmp_path):
    before = {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    done, rows = states(store, registry, engine)
    assert done.ok and {r.state for r in rows.values()} == {"equal"} and len(rows) == done.of == 3
    assert all(r.changed == 0 and not r.differs for r in rows.values())
    assert {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()} == before
    pack(store, tmp_path / "packed")
    again = rerun_cells(tmp_path / "packed", 2, 1, registry, engine=engine)
    assert [r.state for r in again.cells] == ["equal", "equal"]
    assert [r.digest for r in again.cells] == [r.digest for r in rerun_cells(store, 2, 1, load()).cells]


def test_what_differs_is_measured_and_named(store, registry, engine):
    bend(store, "naive", 0.01)
    bend(store, "gce", 0.2)
    edit(store, "easy_to_hard", lambda r: r["test"]["ceiling"].update(accuracy=r["test"]["ceiling"]["accuracy"] - 0.02))
    edit(store, "naive", lambda r: r["provenance"].update(torch="1.0"))
    done, rows = states(store, registry, engine)
    assert {n: r.state for n, r in rows.items()} == {"naive": "within", "gce": "out", "easy_to_hard": "out"}
    assert not done.ok and rows["naive"].changed == pytest.approx(0.01) and rows["gce"].changed == pytest.approx(0.2)
    assert rows["naive"].differs["torch"][0] == "1.0" and not rows["gce"].differs


def test_what_cannot_be_run_is_named_and_the_rest_is_run(store, registry, engine):
    edit(store, "gce", lambda r: r["cell"]["mitigations"][0].update(name="gone"))
    edit(store, "easy_to_hard", lambda r: r["cell"]["task"].update(n_test=100))  # not what its protocol says
    done, _ = states(store, registry, engine)
    by_state = {r.state: r for r in done.cells}
    assert not done.ok and by_state.keys() == {"equal", "not rerun"}
    reasons = {r.cell.split("  ")[2]: r.reason for r in done.cells if r.reason}
    assert "no mitigation 'gone'" in reasons["gone"]
    assert "protocol" in reasons["easy_to_hard+aux_confidence"]


def test_options_that_came_after_a_record_are_at_their_defaults_and_named(store, registry, engine):
    edit(store, "gce", lambda r: r["cell"]["mitigations"][0].pop("truncated"))
    edit(store, "naive", lambda r: r["cell"]["student"].update(was_there_once=1))
    _, rows = states(store, registry, engine)
    assert rows["gce"].state == "equal"
    assert rows["gce"].differs["option mitigation.gce.truncated"] == ["no such option", False]
    assert rows["naive"].state == "not rerun" and "was_there_once" in rows["naive"].reason


def test_other_data_is_out(store, registry, engine):
    edit(store, "gce", lambda r: r["provenance"].update(task_fingerprint="another"))
    _, rows = states(store, registry, engine)
    assert rows["gce"].state == "out" and rows["gce"].reason == "its data is another"


def test_overrides_give_the_cell_again_whatever_the_defaults_are(registry):
    run = compose.cells(SWEEP, True, registry)
    planned = plan_cells(run.cells, registry).cells
    for cell, one in zip(run.cells, planned, strict=True):
        record = {"cell": cell.describe(), "protocol_settings": one.settings}
        again = compose.cells(rerun.overrides(record), False, registry)
        assert again.cells == [cell]


def test_a_store_without_results_is_said(tmp_path, registry):
    (tmp_path / "records").mkdir()
    with pytest.raises(UsageError, match="no result"):
        rerun_cells(tmp_path, 1, 0, registry)


def verify(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "w2s_bench", "verify", *words], capture_output=True, text=True)


def test_the_verb_names_what_records_cannot_hold():
    done = verify(str(SST2), "--rerun", "1", "--seed", "5")
    assert done.returncode == 1
    assert (
        "NOT RUN" in done.stdout and "task.path=sst2.jsonl.gz: no such file" in done.stdout and "--set" in done.stdout
    )
    told = json.loads(verify(str(SST2), "--rerun", "1", "--seed", "5", "--json").stdout)
    assert told["ok"] and not told["rerun"]["ok"] and told["rerun"]["seed"] == 5
    assert told["rerun"]["cells"][0]["state"] == "not rerun" and told["rerun"]["tolerance"]["accuracy"] > 0


def test_options_of_reruns_need_one():
    done = verify(str(SST2), "--set", "hardware=gpu")
    assert done.returncode == 2 and "--rerun" in done.stderr and done.stderr.count("\n") == 1


def test_a_rerun_of_the_verb(store):
    done = verify(str(store), "--rerun", "1", "--plugins", TOY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("equal    toy  toy_weak > toy  ")
    assert pq.read_table(store / "predictions" / f"{record_of(store, 'naive').stem}.parquet").num_rows == 380


@pytest.mark.parametrize("task", ["sums_gen", "reviews_pairs"])
def test_cells_of_the_other_kinds_are_rerun_and_compared(task, tmp_path, registry, engine):
    """Answers in words are compared as such, preferences like classes; packed or not."""
    sweep = [f"task={task}", "task.n_supervision=96", "task.n_transfer=64", "task.n_validation=10", "task.n_test=60",
             "supervisor=[ladder_xs_0]", "student=ladder_xs", f"cache={tmp_path / 'cache'}"]  # fmt: skip
    store = tmp_path / "store"
    run = compose.cells(sweep, False, registry, store=str(store))
    assert run_cells(run, registry, console=Console(file=io.StringIO()), engine=engine).ok == 1
    done = rerun_cells(store, 1, 1, registry, engine=engine)
    assert [(r.state, r.changed, r.reason) for r in done.cells] == [("equal", 0.0, None)]
    pack(store, tmp_path / "packed")
    assert [r.state for r in rerun_cells(tmp_path / "packed", 1, 1, registry, engine=engine).cells] == ["equal"]
    bend_answers(store)
    (row,) = rerun_cells(store, 1, 1, registry, engine=engine).cells
    assert row.state == "out" and row.changed == pytest.approx(0.5)


def bend_answers(store: Path) -> None:
    """Changes every other test answer of the store's one cell, and mends the digest."""
    (path,) = (store / "predictions").glob("*.parquet")
    splits = exchange.read_predictions(path)
    ids, answers = splits["test"]
    if answers.ndim == 2:
        changed = np.where((np.arange(len(answers)) % 2 == 0)[:, None], answers[:, ::-1], answers)
    else:
        changed = np.array([f"not {a}" if k % 2 == 0 else a for k, a in enumerate(answers.tolist())])
    exchange.write_predictions(path, splits | {"test": (ids, changed)})
    (record,) = (store / "records").glob("*.json")
    content = json.loads(record.read_text())
    content["predictions"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    record.write_text(json.dumps(content))
