"""A ceiling that is not above its floor: no PGR, and every place that shows results says why and what to raise."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from support.board_records import write_record, write_store

from w2s_bench.board import build_board
from w2s_bench.board.render import FORMATS, render
from w2s_bench.cli.main import cli
from w2s_bench.referee import status
from w2s_bench.referee.scoring import recovered
from w2s_bench.store.gap import ceiling_steps, no_gap, no_gap_in

STUDENT = {"name": "hf", "head_lr": 3e-3, "body_lr": 5e-5, "tune": "full"}
PROBE = STUDENT | {"tune": "probe"}
MORE = "task.n_transfer (more examples)", "protocol.training.epochs"
RATES = "student.head_lr (now 0.003)", "student.body_lr (now 5e-05)"


@pytest.fixture
def inverted(tmp_path):
    """A store with one group whose ceiling is below its floor, and one that is as it should be."""
    rng = np.random.default_rng(0)
    for seed in range(3):
        weak, own, strong = (rng.uniform(size=400) < level for level in (0.7, 0.1, 0.4))
        for mitigation in ("naive", "gce"):
            write_record(
                tmp_path, np.stack([weak, own, strong]), task="mine", student=STUDENT, mitigations=[mitigation],
                seed=seed, cost={"seconds": 1.0, "steps": 3, "device": "cpu", "stages": {}},
            )  # fmt: skip
    write_store(tmp_path, {"naive": 0.5}, seeds=3)
    return tmp_path


def test_pgr_needs_a_ceiling_above_the_floor():
    assert recovered(0.5, 0.0, 0.0) is None and recovered(0.5, 0.9, 0.5) is None
    assert recovered(0.5, 0.25, 0.75) == -1.0


BELOW = "the ceiling (0.400) is below the floor (0.500)"
EQUAL = "the ceiling (0.500) equals the floor (0.500)"


@pytest.mark.parametrize(
    ("ceiling", "steps", "student", "before", "levers"),
    [
        (0.4, 3, STUDENT, f"{BELOW} after 3 steps on the true labels", (*MORE, *RATES)),
        (0.4, 1, {"name": "own"}, f"{BELOW} after 1 step on the true labels", MORE),
        (0.4, 93, STUDENT, f"{BELOW} after 93 steps on the true labels", (*RATES, *MORE)),
        (0.5, None, PROBE, EQUAL, (RATES[0], *MORE)),
    ],
)
def test_the_sentence_names_what_to_raise(ceiling, steps, student, before, levers):
    assert no_gap(0.5, ceiling, steps, student) == f"{before}; raise {', '.join(levers[:-1])} or {levers[-1]}"
    assert no_gap(ceiling, 0.6, steps, student) is None
    assert no_gap(0.5, ceiling, None, None) == before.partition(" after")[0]  # of another tool


def test_steps_are_the_ceilings_own(inverted):
    records = [json.loads(p.read_text()) for p in (inverted / "records").iterdir()]
    records = [r for r in records if r["cell"]["task"]["name"] == "mine"]
    (naive, *_) = (r for r in records if r["cell"]["mitigations"] == [{"name": "naive"}])
    (gce, *_) = (r for r in records if r["cell"]["mitigations"] == [{"name": "gce"}])
    assert (ceiling_steps(naive), ceiling_steps(gce)) == (3, None)
    gce["cost"]["stages"]["ceiling"] = {"seconds": 1.0, "cached": True, "steps": 7}
    assert ceiling_steps(gce) == 7 and "after 7 steps" in no_gap_in(gce)
    gce["protocol_settings"]["metric"] = "auroc"  # .8 on every side
    assert no_gap_in(gce).startswith("the ceiling (0.800) equals the floor (0.800)")
    gce["protocol_settings"]["metric"] = "another"
    assert no_gap_in(gce) is None


@pytest.mark.parametrize("format_", [f for f in FORMATS if f not in ("csv", "latex")])
def test_boards_say_it_and_show_no_pgr(inverted, format_):
    board = build_board([inverted])
    without = [r for r in board.rows if r["task"] == "mine"]
    assert len(without) == 2 and all(r["pgr"] is None and r["status"] == "gap_unresolved" for r in without)
    assert all("no_gap" not in r and r["pgr"] for r in board.rows if r["task"] != "mine")
    assert all(
        c["pgr"] is None for r, cells in zip(board.rows, board.cells, strict=True) if r in without for c in cells
    )
    shown = " ".join(render(board, format_, width=300).replace("\\", "").split())
    assert re.search(r"is below the floor \(0\.\d{3}\) after 3 steps on the true labels; raise task.n", shown)
    assert format_ == "json" or "no gap" in shown


def test_status_says_it(inverted):
    found = status.look(str(inverted))
    (group,) = found["no_gap"]
    assert group["cells"] == 6 and "mine  ladder_xs_0 > hf" in group["cell"]
    assert "no PGR in 6 cells like mine  ladder_xs_0 > hf" in status.describe(found)


def test_a_run_of_too_few_steps_says_it_in_its_line(tmp_path, monkeypatch):
    """What a new user's own file gives first: a supervisor that learnt something, a student that took two steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("W2S_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("W2S_STORE", raising=False)
    line = "run task=toy supervisor=[toy_strong] student=toy task.n_supervision=400 task.n_transfer=64 task.n_test=200"
    small = ["task.n_validation=20", "student.head_lr=1e-6", "student.body_lr=1e-6", "engine=inline"]
    from support.referee_bench import PLUGIN

    toy = PLUGIN.replace("referee_plugin", "toy")
    done = CliRunner().invoke(cli, [*line.split(), *small, "--plugins", toy])
    assert done.exit_code == 0, done.output
    assert (
        "  no PGR: the ceiling (0." in done.stderr and "after 2 steps on the true labels; raise task.n" in done.stderr
    )
    assert "PGR " not in done.stderr.replace("no PGR: ", "")
    (record,) = (tmp_path / "w2s-runs" / "records").iterdir()
    record = json.loads(record.read_text())
    assert record["pgr"] is None and record["cost"]["stages"]["ceiling"]["steps"] == 2
