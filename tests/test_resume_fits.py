"""A worker's fit that is stopped in this process, and what goes on from it in another job."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import SafetensorError
from support.bench import RECIPE, TASK, data, supervisor

from w2s_bench import exchange
from w2s_bench.cells import Entry
from w2s_bench.jobs import Job
from w2s_bench.registry import load
from w2s_bench.training import worker
from w2s_bench.training.meter import Meter
from w2s_bench.training.step import TrainableStudent

WATCHED = Path(__file__).parent / "support/watched.py"
OFTEN = 1e-6
COUNTS = ("steps", "examples", "tokens", "flops", "supervisor_calls")


class Jobs:
    """Jobs of one worker in this process, and how many steps they took."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.steps = folder, 0
        self.plugin = Path(shutil.copy(WATCHED, folder / "watched.py"))
        count = TrainableStudent._stepped

        def counted(student, taken):
            self.steps += taken - student.taken
            count(student, taken)

        monkeypatch.setattr(TrainableStudent, "_stepped", counted)
        weak = supervisor(words=40)
        self.votes = {s: weak.label(data()[s].inputs)[None].astype(np.float32) for s in ("transfer", "validation")}

    def run(self, *stack, stop="", saved=None, seed=5, recipe=RECIPE):
        """Returns the job's folder, its test predictions where it came to its end, and the steps that it took."""
        place = self.folder / f"job-{len(list(self.folder.glob('job-*')))}"
        (place / "in").mkdir(parents=True)
        student = Entry("toy", {"width": 64, "body_lr": 1e-2, "head_lr": 1e-2})
        registry = load([str(self.plugin)])
        entries = tuple(Entry(n, dict(registry.get("mitigation", n).options)) for n in stack)
        job = Job("train", TASK, student, seed, recipe, entries, plugins=(str(self.plugin),), save_every_s=OFTEN)
        job.write(place)
        for split in ("transfer", "validation", "test"):
            exchange.write_inputs(place / "in" / f"{split}.parquet", data()[split].inputs)
        exchange.write_arrays(place / "in" / "votes.npz", **self.votes)
        if saved:
            shutil.copytree(saved / "saved", place / "saved")
        (self.folder / "made").write_bytes(b"")
        if stop:
            (self.folder / "stop").write_text(stop)
        before, p = self.steps, None
        try:
            worker.work(place)
            p = exchange.read_predictions(place / "out" / "predictions.parquet")["test"][1]
        except BaseException as error:
            if type(error).__name__ != "Stopped":
                raise
        return SimpleNamespace(folder=place, p=p, steps=self.steps - before)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    return Jobs(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("stack", "recipe"),
    [
        (("watched",), replace(RECIPE, accumulate=4)),
        (("elr", "watched"), replace(RECIPE, tune="probe")),
        (("mixup", "watched"), RECIPE),
        (("mdl_curriculum", "watched"), RECIPE),
    ],
)
def test_a_stopped_fit_goes_on(jobs, stack, recipe):
    whole = jobs.run(*stack, recipe=recipe)
    stopped = jobs.run(*stack, recipe=recipe, stop="raise 21")
    again = jobs.run(*stack, recipe=recipe, saved=stopped.folder)
    np.testing.assert_array_equal(again.p, whole.p)
    assert again.steps == whole.steps - stopped.steps > 0 and stopped.steps == 19  # of 21 batches, one was to come


def test_twice_stopped_it_goes_on_twice(jobs, capfd):
    whole = jobs.run("watched")
    stopped = jobs.run("watched", stop="raise 11")
    again = jobs.run("watched", stop="raise 11", saved=stopped.folder)
    last = jobs.run("watched", saved=again.folder)
    np.testing.assert_array_equal(last.p, whole.p)
    assert [job.steps for job in (whole, stopped, again, last)] == [30, 9, 10, 11]
    costs = [exchange.read_json(job.folder / "out" / "cost.json") for job in (whole, last)]
    assert [costs[0][k] for k in COUNTS] == [costs[1][k] for k in COUNTS]
    assert costs[1]["resumed"] == 2
    assert "a fit goes on from step 19 of 30" in capfd.readouterr().out


def test_fits_for_other_mitigations_are_not_repeated(jobs):
    whole = jobs.run("confident_learning", "watched")
    stopped = jobs.run("confident_learning", "watched", stop="raise 11")
    again = jobs.run("confident_learning", "watched", saved=stopped.folder)
    np.testing.assert_array_equal(again.p, whole.p)
    assert stopped.steps > 9 and again.steps == whole.steps - stopped.steps == 30 - 9


def test_seconds_before_a_kill_are_counted(jobs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(worker, "Meter", lambda: Meter(started=time.perf_counter() - 1000))
        stopped = jobs.run("watched", stop="raise 21")
    again = jobs.run("watched", saved=stopped.folder)
    assert 1000 < exchange.read_json(again.folder / "out" / "cost.json")["seconds"] < 1100


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_state_is_ignored(jobs, damage, capfd):
    whole = jobs.run("watched")
    stopped = jobs.run("watched", stop="raise 21")
    (state,) = (stopped.folder / "saved").glob("*.safetensors")
    content = bytearray(state.read_bytes())
    content[-50] ^= 1
    state.write_bytes({"cut": content[:-100], "changed": content, "empty": b""}[damage])
    again = jobs.run("watched", saved=stopped.folder)
    assert again.steps == whole.steps
    np.testing.assert_array_equal(again.p, whole.p)
    assert "what was saved of a fit is ignored: it is damaged" in capfd.readouterr().out


@pytest.mark.parametrize("what", ["seed", "votes", "code", "mitigation"])
def test_the_state_of_another_job_is_ignored(jobs, what):
    stack, seed = ("watched",), 5
    stopped = jobs.run(*stack, stop="raise 21")
    if what == "seed":
        seed = 6
    elif what == "votes":
        jobs.votes["validation"] = 1 - jobs.votes["validation"]  # the fit is as it was
    elif what == "code":
        jobs.plugin.write_text(jobs.plugin.read_text() + "\n\nOTHER = True\n")
    else:
        stack = ("watched", "gce")
    whole, again = jobs.run(*stack, seed=seed), jobs.run(*stack, seed=seed, saved=stopped.folder)
    assert again.steps == whole.steps == 30
    np.testing.assert_array_equal(again.p, whole.p)


def test_a_mitigation_with_more_than_can_be_saved_starts_again(jobs, capfd):
    whole = jobs.run("locked")
    stopped = jobs.run("locked", stop="raise 21")
    assert not (stopped.folder / "saved").exists()
    (stopped.folder / "saved").mkdir()
    again = jobs.run("locked", saved=stopped.folder)
    assert again.steps == whole.steps == 30
    np.testing.assert_array_equal(again.p, whole.p)
    assert "a fit is not saved, because state.plugins.locked.values.lock is of type object" in capfd.readouterr().out


def test_a_full_disk_stops_no_fit(jobs, monkeypatch, capfd):
    whole = jobs.run("watched")

    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("w2s_bench.training.resume.save_file", full)
    again = jobs.run("watched")
    np.testing.assert_array_equal(again.p, whole.p)
    assert capfd.readouterr().out.count("nothing more is saved of this job") == 1
