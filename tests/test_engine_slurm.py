"""engine=slurm: bundles, jobs that die, a referee that goes away and comes back; with real SLURM where there is one."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import same_board
from support.cluster_bench import engine_of, go, naps, run_of
from support.referee_bench import Bench, cell, grid

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.referee import engines
from w2s_bench.referee.cancel import cancel_sweeps
from w2s_bench.referee.engines.contract import Submission
from w2s_bench.referee.engines.slurm import living_jobs
from w2s_bench.referee.status import describe, look
from w2s_bench.referee.submitted import Submitted

pytest.importorskip("submitit", reason="submitit is not installed: the extra `slurm`")

STAGES = {"ceiling": 2, "supervise": 2, "train": 4}
"""Of `naps`, beside two of prepare."""


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def jobs_of(bench: Bench) -> list[Path]:
    return list((bench.cache / "referee" / "submitted" / "jobs").glob("*_submitted.pkl"))


def is_clean(bench: Bench) -> bool:
    left = [*(bench.cache / "jobs").iterdir(), *(bench.cache / "referee" / "building").iterdir()]
    return not left and [p.name for p in Submitted(bench.cache).place.iterdir()] == ["jobs"]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_board_is_as_with_local(bench, tmp_path):
    outcome = go(bench, *grid())
    assert (outcome.ok, outcome.failed) == (6, 0)
    other = Bench(tmp_path / "local")
    other.go(*grid(), suite="grid")
    assert bench.results() == other.results() and bench.board() == other.board()
    assert len(jobs_of(bench)) < 8  # of 12 stages
    assert is_clean(bench)


def test_a_job_that_dies_costs_one_stage_and_the_rest_of_its_bundle_goes_into_another(bench):
    cells = [cell((m, {"fault": "nap 1"})) for m in ("trick", "trick_b", "trick_c")]
    done = []

    def kill():
        began = [n for n in Submitted(bench.cache).all() if n.job and Submitted(bench.cache).begun_by(Path(n.folder))]
        trains = sum(page["stage"] == "train" for page in bench.diary())
        if trains == 1 and began and not done:
            done.append(began[0].job)
            children = Path(f"/proc/{began[0].job}/task/{began[0].job}/children").read_text().split()
            for pid in (began[0].job, *children):
                os.kill(int(pid), signal.SIGKILL)

    run = run_of(bench, *cells, bundle_s=60.0)
    engine = engine_of(run)
    wait = engine.wait
    engine.wait = lambda seconds: (kill(), wait(min(seconds, 0.2)))[1]
    assert bench.with_engine(run, engine).ok == 3
    engine.close()
    assert done and bench.output.count("it is submitted again") == 1
    assert bench.worked() == {"ceiling": 1, "supervise": 1, "train": 4}
    assert is_clean(bench)


def test_what_kills_its_job_again_and_again_fails(bench):
    outcome = go(bench, cell(("trick", {"fault": "oom"})), cell("trick_b"), resubmit=1)
    assert (outcome.ok, outcome.failed) == (1, 1)
    (reason,) = [r["reason"] for r in bench.records() if r["status"] == "failed"]
    assert reason.startswith("was killed from outside") and "submitted 2 times, it was lost each time" in reason


def test_the_next_referee_collects_what_went_on_without_the_first(bench, tmp_path):
    command = [sys.executable, "-m", "support.cluster_bench", str(tmp_path)]
    referee = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)
    wait_for(lambda: bench.worked().get("train"))
    referee.kill()
    referee.wait()
    notes = list(Submitted(bench.cache).all())
    assert len(notes) == 4 and all(note.engine == "slurm" and note.store == str(bench.store) for note in notes)
    again = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)
    assert again.wait() == 0
    assert bench.worked() == STAGES and len(bench.records()) == 4
    other = Bench(tmp_path / "local")
    other.go(*naps(), suite="grid")
    assert bench.results() == other.results() and bench.board() == other.board()
    assert is_clean(bench)


def test_what_another_engine_submitted_is_left_alone(bench, tmp_path):
    Submitted(bench.cache).clean()
    engine = engine_of(run_of(bench, cell()))
    folder = bench.cache / "jobs" / "submitted-1"
    folder.mkdir(parents=True)
    engine.submit(Submission("d1", "m:f", folder, None))
    assert engines.LocalEngine(1, 1.0, 1).adopt("d1") is None and folder.is_dir()
    engine.close()
    assert not folder.exists() and Submitted(bench.cache).read("d1") is None


@pytest.mark.parametrize("expected, sizes", [([None] * 20, [8, 8]), ([100.0] * 7, [3, 3]), ([400.0] * 2, [1, 1])])
def test_bundles_are_as_long_as_asked(bench, expected, sizes):
    engine = engine_of(run_of(bench, cell(), bundle_s=300.0))
    engine._out["x"] = None  # something runs, so that what fills no bundle waits for more
    engine._ready = [
        (time.monotonic(), Submission(str(k), "m:f", bench.cache, None, s)) for k, s in enumerate(expected)
    ]
    bundles, rest = engine._bundled()
    assert [len(b) for b in bundles] == sizes and len(rest) == len(expected) - sum(sizes)
    engine._out.clear()
    assert len(engine._bundled()[0]) == len(sizes) + bool(rest)


def test_without_the_package_a_sentence_names_the_extra(bench, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"engine=slurm needs the package submitit: pip install 'w2s_bench\[slurm\]'"):
        engines.make_engine(run_of(bench, cell()), ())


def test_without_slurm_a_sentence_says_so(bench, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match=r"engine=slurm: there is no SLURM here .* run it where `sbatch` works"):
        bench.with_engine(run_of(bench, cell()), None)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    from support import slurm_cluster

    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(slurm_cluster.start(folder)))
        patch.setenv("PATH", slurm_cluster.search_path())
        yield folder
        slurm_cluster.stop(folder)


def real(bench: Bench, *cells, **engine):
    return bench.run_of(*cells, engine={"name": "slurm", "workers": 2, "bundle_s": 4.0, **engine}, suite="grid")


@pytest.mark.slurm
def test_real_slurm_gives_the_same_board(bench, tmp_path, slurm):
    outcome = bench.with_engine(real(bench, *grid(), partition="tests", time_limit_min=5), None)
    assert (outcome.ok, outcome.failed) == (6, 0)
    other = Bench(tmp_path / "local")
    other.go(*grid(), suite="grid")
    assert bench.results() == other.results() and bench.board() == other.board()
    assert len(jobs_of(bench)) < 8 and is_clean(bench)
    assert all(page["variables"] == [] for page in bench.diary())


@pytest.mark.slurm
def test_a_cancelled_job_of_real_slurm_is_submitted_again(bench, slurm):
    def cancel():
        wait_for(lambda: bench.worked().get("train"))
        notes = Submitted(bench.cache)
        subprocess.run(["scancel", *{j for n in notes.all() if (j := notes.begun_by(Path(n.folder)))}], check=True)

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    assert bench.with_engine(real(bench, *naps(), bundle_s=60.0), None).ok == 4
    assert "its job was ended: preempted, or its time was up; it is submitted again" in bench.output
    assert bench.worked() == {"ceiling": 2, "supervise": 2, "train": 5}
    assert is_clean(bench)


@pytest.mark.slurm
def test_jobs_of_real_slurm_go_on_without_the_referee(bench, tmp_path, slurm):
    command = [sys.executable, "-m", "support.cluster_bench", str(tmp_path), "slurm"]
    referee = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)
    wait_for(lambda: bench.worked().get("train"))
    referee.kill()
    referee.wait()
    assert subprocess.run(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL).returncode == 0
    assert bench.worked() == STAGES and len(bench.records()) == 4 and is_clean(bench)


@pytest.mark.slurm
def test_jobs_that_go_on_are_shown_and_cancelled(bench, tmp_path, slurm, monkeypatch):
    monkeypatch.setenv("W2S_CACHE", str(bench.cache))
    command = [sys.executable, "-m", "support.cluster_bench", str(tmp_path), "slurm"]
    referee = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)
    wait_for(lambda: bench.worked().get("train"))
    wait_for(lambda: look(str(bench.store))["running"][0]["running"])
    seen = look(str(bench.store))
    assert seen["running"][0]["engine"] == "slurm" and "engine slurm: " in describe(seen)
    referee.kill()
    referee.wait()
    seen = look(str(bench.store))
    assert sum(seen["submitted"]["slurm"].values()) == 4 and "jobs of slurm go on: " in describe(seen)
    (line,) = cancel_sweeps(str(bench.store))
    assert line.startswith("ended: ") and line.endswith(" jobs of SLURM with 4 stages")
    assert is_clean(bench) and not living_jobs()
    with pytest.raises(W2SError, match="nothing is running"):
        list(cancel_sweeps(str(bench.store)))


@pytest.mark.slow
@pytest.mark.slurm
def test_the_suite_quick_has_one_board(tmp_path):
    assert same_board.main(tmp_path, ["ray", "slurm"]) == 0
