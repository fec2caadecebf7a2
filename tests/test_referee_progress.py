"""What people see: a live table on a terminal, a line for each cell elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.referee_bench import Bench, cell, engine, registry

from w2s_bench.referee.plan import plan_cells
from w2s_bench.referee.progress import Progress, spell
from w2s_bench.referee.sweep import run_cells


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (3599.7, "1 h 00 min"), (9000, "2 h 30 min")],
)
def test_durations(seconds, words):
    assert spell(seconds) == words


def test_plain_lines_elsewhere(tmp_path):
    bench = Bench(tmp_path)
    bench.go(cell("trick"), cell(("trick_b", {"fault": "exit 3"})))
    lines = bench.output.splitlines()
    assert len(lines) == 3  # one for each cell, none for stages, and where to look
    (done,) = (line for line in lines if "accuracy" in line)
    (failed,) = (line for line in lines if "failed" in line)
    assert "digits  guess > pupil  trick  seed 0  accuracy 0." in done and "PGR" in done
    assert "trick_b  seed 0  failed: ended with exit status 3 and no word" in failed
    path = Path(lines[lines.index(failed) + 1].partition("its traceback and output: ")[2])
    assert path.read_text().startswith("digits  guess > pupil  trick_b  seed 0\nfailed: ended with exit status 3")


def test_what_a_task_notes_is_said_once_and_recorded(tmp_path):
    bench = Bench(tmp_path)
    noted = ("digits", {"fault": "noted"})
    bench.go(*(cell("trick", task=noted, seed=seed) for seed in range(2)))
    assert bench.output.count("task digits: 3 rows were left out\n") == 1
    assert [r["provenance"]["task_notes"] for r in bench.records()] == [["3 rows were left out"]] * 2
    bench.go(cell("trick_b", task=noted))  # the prepared task is in the cache
    assert "task digits: 3 rows were left out\n" in bench.output


def test_live_table_on_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")  # rich draws nothing live on a dumb terminal
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    shared = engine()
    shared.timeout_s = 60.0
    naps = cell(("trick", {"fault": "nap 0.6"}))
    run_cells(
        Bench(tmp_path).run_of(naps), registry(), console=console, worker="support.fake_worker:run", engine=shared
    )
    shown = console.file.getvalue()
    assert "supervise" in shown and "cells" in shown and "1/1" in shown and " left" in shown


def test_time_left_is_a_forecast_from_what_ran():
    plan = plan_cells([cell("trick", seed=s) for s in range(4)], registry())
    progress = Progress(Console(file=io.StringIO()), plan.stages, 4, room=2)
    assert progress.left() is None
    for stage in plan.stages.values():
        if stage.kind != "train":
            progress.started(stage)
            progress.ended(stage, None if stage.kind == "prepare" else 3.0)
    assert progress.left() == pytest.approx(4 * 3.0 / 2)  # a guess from the other kinds
    first = next(s for s in plan.stages.values() if s.kind == "train")
    progress.ended(first, 10.0)
    assert progress.left() == pytest.approx(3 * 10.0 / 2)
    progress.dropped(next(s for s in reversed(plan.stages.values()) if s.kind == "train"))
    assert progress.left() == pytest.approx(2 * 10.0 / 2)
