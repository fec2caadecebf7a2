"""The same promises with the real worker: torch, Lightning, real mitigations, on the toy task."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from support.referee_bench import Bench, permute_truth

from w2s_bench.cells import Cell, Entry
from w2s_bench.referee.engines import PRELOAD, LocalEngine
from w2s_bench.referee.sweep import run_cells
from w2s_bench.registry import load

TOY = str(Path(__file__).parent / "support/toy.py")
SIZES = {"n_supervision": 200, "n_transfer": 160, "n_validation": 20, "n_test": 200}
STACKS = (["naive"], ["identity"], ["mean_ensemble", "easy_to_hard", "aux_confidence"], ["corrective_feedback"])


@pytest.fixture(scope="module")
def registry():
    return load([TOY])


@pytest.fixture(scope="module")
def engine():
    made = LocalEngine(2, 300.0, 1, PRELOAD)
    yield made
    made.close()


def cells_of(registry) -> list[Cell]:
    def entry(kind, name, **options):
        return Entry(name, {**registry.get(kind, name).options, **options})

    weak = tuple(entry("supervisor", n) for n in ("toy_weak", "toy_weak_b"))
    return [
        Cell(entry("task", "toy", **SIZES), weak, entry("student", "toy"), tuple(entry("mitigation", m) for m in s), 0)
        for s in STACKS
    ]


def test_hidden_truth_changes_no_prediction(tmp_path, registry, engine):
    bench = Bench(tmp_path)
    run = bench.run_of(*cells_of(registry), engine={"confine": "auto"})

    def go():
        console = Console(file=io.StringIO())
        outcome = run_cells(run, registry, console=console, engine=engine)
        assert outcome.ok == len(STACKS), console.file.getvalue()
        return {"+".join(m["name"] for m in r["cell"]["mitigations"]): r for r in bench.records()}

    before = go()
    assert before["naive"]["predictions"]["sha256"] == before["identity"]["predictions"]["sha256"]
    assert before["corrective_feedback"]["cost"]["supervisor_calls"] > 0
    reach = b"".join(p.read_bytes() for p in sorted((bench.cache / "workers").rglob("*")) if p.is_file())
    permute_truth(bench)
    shutil.rmtree(bench.store)
    shutil.rmtree(bench.cache / "workers")
    for kind in ("train", "ceiling"):
        shutil.rmtree(bench.cache / "referee" / kind)
    after = go()
    for name, record in after.items():
        assert record["predictions"] == before[name]["predictions"], name
        assert record["test"]["ceiling"] != before[name]["test"]["ceiling"]
        assert record["cost"]["steps"] == before[name]["cost"]["steps"]
    again = b"".join(p.read_bytes() for p in sorted((bench.cache / "workers").rglob("*")) if p.is_file())
    assert hashlib.sha256(reach).digest() == hashlib.sha256(again).digest()
    assert str(tmp_path) not in json.dumps(list(after.values()))
