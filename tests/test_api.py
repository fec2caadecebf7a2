"""The benchmark from Python: the same composition, records and boards as the command line's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import w2s_bench
from w2s_bench.errors import UsageError

TOY = Path(__file__).parent / "support/toy.py"
SMALL = [
    "task=toy", "task.n_supervision=60", "task.n_transfer=60", "task.n_validation=20", "task.n_test=80",
    "supervisor=[toy_weak]", "student=toy", "student.body_lr=0.01", "student.head_lr=0.01", "engine.workers=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("python")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("W2S_CACHE", str(folder / "cache"))
        yield w2s_bench.run(
            *SMALL, "mitigation=[naive],[gce]", "seed=0,1", multirun=True, plugins=[TOY], store=folder / "store"
        )


def test_a_sweep_returns_its_records(results):
    assert (results.ok, results.failed, results.skipped) == (4, 0, 0)
    cells = [(r["cell"]["mitigations"][0]["name"], r["cell"]["seed"]) for r in results.records]
    assert cells == [("naive", 0), ("naive", 1), ("gce", 0), ("gce", 1)]
    assert all(r["status"] == "ok" for r in results.records)


def test_a_board_is_the_command_lines(results):
    board = results.board()
    command = [sys.executable, "-m", "w2s_bench", "board", "--store", str(results.store)]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rows"] == json.loads(json.dumps(board.rows))
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == str(board)
    assert {row["mitigation"] for row in board.rows} == {"naive", "gce"}


def test_a_notebook_shows_the_tables(results):
    shown = w2s_bench.board(results.store)._repr_html_()
    assert "<table>" in shown and "gce" in shown and "<script" not in shown


def test_a_hostile_name_stays_text_in_a_notebook(results):
    board = results.board()
    board.data["rows"][0]["mitigation"] = "<img src=x onerror=alert(1)>"
    assert "<img" not in board._repr_html_()


def test_what_is_done_is_not_run_again(results):
    again = w2s_bench.run(*SMALL, "mitigation=[gce]", "seed=1", plugins=[TOY], store=results.store)
    assert (again.ok, again.skipped) == (0, 1) and again.records == results.records[3:]


def test_a_suite_and_its_board(results, tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(json.dumps({"description": "two", "sweeps": [[*SMALL, "mitigation=[naive],[gce]", "seed=0"]]}))
    done = w2s_bench.suite(str(path), "seed=0,1", plugins=[TOY], store=results.store)
    assert (done.ok, done.skipped, done.suite) == (0, 4, "two")
    assert {tuple(row["seeds"]) for row in done.board().rows} == {(0, 1)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: w2s_bench.run("mitigation=[nave]"), "did you mean 'naive'"),
        (lambda: w2s_bench.run("seed=0,1"), "needs -m"),
        (lambda: w2s_bench.suite("quik"), "did you mean 'quick'"),
        (lambda: w2s_bench.run(plugins=["nowhere.py"]), "nowhere.py: there is no such file"),
        (lambda: w2s_bench.board("nowhere"), "nowhere is not a folder"),
    ],
)
def test_bad_input_raises_what_the_command_line_says(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_names_are_there_lazily():
    code = (
        "import sys, w2s_bench; assert not {'torch', 'hydra', 'pyarrow', 'numpy'} & set(sys.modules); "
        "from w2s_bench import hookimpl, Round, Inputs, Split, Backbone, run, suite, board, Board; "
        "import w2s_bench.board as package; assert board is package and callable(board); "
        "assert 'torch' not in sys.modules; assert {'run', 'board', 'Round'} <= set(dir(w2s_bench))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'borad'"):
        w2s_bench.borad  # noqa: B018
