"""A fit that is killed goes on from what was saved of it, and ends with the same bits."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from support.hf_models import make
from support.referee_bench import Bench

from w2s_bench.cells import Cell, Entry, Protocol
from w2s_bench.interfaces import Recipe
from w2s_bench.referee import confinement
from w2s_bench.referee.engines import PRELOAD, LocalEngine
from w2s_bench.referee.sweep import run_cells
from w2s_bench.referee.unfinished import KEPT_DAYS, Unfinished
from w2s_bench.registry import load

WATCHED = Path(__file__).parent / "support/watched.py"
OFTEN = 1e-6
COUNTS = ("steps", "examples", "tokens", "flops", "supervisor_calls")


@pytest.fixture(scope="module")
def engine():
    made = LocalEngine(1, 300.0, 1, PRELOAD)
    yield made
    made.close()


class Place(Bench):
    """A store, a cache and a plugin with its notes, in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.plugin = Path(shutil.copy(WATCHED, folder / "watched.py"))
        self.made, self.stop = folder / "made", folder / "stop"
        self.made.touch()
        self.registry = load([str(self.plugin)])

    def entry(self, kind, name, **options):
        return Entry(name, {**self.registry.get(kind, name).options, **options})

    def cell(self, *stack, student="toy", seed=0, recipe=None, **options):
        entries = [self.entry("mitigation", *(m if isinstance(m, tuple) else (m,))) for m in stack]
        task, weak = self.entry("task", "toy"), self.entry("supervisor", "toy_weak")
        between = {"toy_small": self.entry("student", "toy_small")} if "bootstrapping" in stack else {}
        protocol = Protocol(training=recipe or Recipe(epochs=2))
        strong = self.entry("student", student, **options)
        for one in entries:
            if one.name == "bootstrapping":
                one.options["intermediate"] = ["toy_small"]
        return Cell(task, (weak,), strong, tuple(entries), seed, protocol, between)

    def go_on(self, cell, engine, every_s=OFTEN, confine="off", **settings):
        """Returns the outcome, and how many batches were made for it; the engine may be the name of one."""
        before = self.made.stat().st_size
        name, lent = (engine, None) if isinstance(engine, str) else ("local", engine)
        asked = {"name": name, "save_every_s": every_s, "confine": confine}
        run = self.run_of(cell, engine=asked, plugins=[str(self.plugin)], **settings)
        console = Console(file=io.StringIO(), width=300)
        outcome = run_cells(run, self.registry, console=console, engine=lent)
        self.output = console.file.getvalue()
        return outcome, self.made.stat().st_size - before

    def saved(self):
        return sorted((self.cache / "referee" / "unfinished").glob("*/*"))


STACKS = {
    "naive": (),
    "elr": ("elr",),
    "rounds": ("bootstrapping",),
    "stack": ("easy_to_hard", "aux_confidence"),
    "lora": (),
}


@pytest.mark.parametrize("which", STACKS)
def test_a_killed_worker_goes_on_and_ends_with_the_same_bits(tmp_path, engine, which):
    student = {}
    if which == "lora":
        pytest.importorskip("peft", reason="tune=lora needs the package peft, which is not installed")
        model = str(make(tmp_path / "model", "bert"))  # it has dropout
        student = {"student": "hf", "model": model, "tune": "lora", "body_lr": 1e-3}
    undisturbed, killed = Place(tmp_path), Place(tmp_path)
    cell = undisturbed.cell(*STACKS[which], "watched", **student)
    undisturbed.cache, undisturbed.store = tmp_path / "cache_of_one", tmp_path / "store_of_one"
    outcome, steps = undisturbed.go_on(cell, engine, every_s=300.0)
    assert outcome.ok == 1 and steps == (24 if which == "rounds" else 12)
    at = steps - 4
    killed.stop.write_text(f"kill {steps + at}")
    outcome, made = killed.go_on(cell, engine)
    assert outcome.ok == 1 and not killed.stop.exists()
    assert "goes on from what was saved before it was killed" in killed.output
    assert made == steps + 1  # the batch that it was killed at is made twice, all others once
    first, second = undisturbed.record(), killed.record()
    assert second["predictions"]["sha256"] == first["predictions"]["sha256"]
    assert [second["cost"][k] for k in COUNTS] == [first["cost"][k] for k in COUNTS]
    assert (first["cost"]["resumed"], second["cost"]["resumed"]) == (0, 1)
    assert killed.saved() == [] and not list((killed.cache / "jobs").iterdir())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, engine):
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    assert place.go_on(place.cell("watched"), engine, every_s=300.0)[1] == 12
    return place.record()


@pytest.mark.parametrize("name", ["local", "inline"])
def test_the_same_run_goes_on_where_the_referee_was_killed(tmp_path, engine, undisturbed, name):
    place = Place(tmp_path)
    place.stop.write_text("wait 9")
    code = "import sys, test_resume as t; p = t.Place(t.Path(sys.argv[1])); p.go_on(p.cell('watched'), sys.argv[2])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), name], cwd=Path(__file__).parent, start_new_session=True
    )
    while place.stop.exists() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert place.records() == []
    outcome, made = place.go_on(place.cell("watched"), engine if name == "local" else name)
    assert outcome.ok == 1 and "goes on from what was saved before it was killed" in place.output
    assert made == 4
    assert place.record()["predictions"]["sha256"] == undisturbed["predictions"]["sha256"]
    assert place.record()["cost"]["resumed"] == 1


@pytest.mark.skipif(confinement.abi() < confinement.WHOLE, reason="this kernel lacks some of the walls")
def test_a_confined_worker_goes_on(tmp_path, engine):
    place = Place(tmp_path)
    killed, naive = place.cell("once"), place.cell("naive")
    for cell in (killed, naive):
        assert place.go_on(cell, engine, confine="required")[0].ok == 1, place.output
    records = {r["cell"]["mitigations"][0]["name"]: r for r in place.records()}
    assert [records[name]["cost"]["resumed"] for name in ("once", "naive")] == [1, 0]
    assert records["once"]["predictions"]["sha256"] == records["naive"]["predictions"]["sha256"]
    assert records["once"]["provenance"]["confined"].startswith("landlock-")


def test_a_fit_that_takes_too_long_goes_on_when_it_is_tried_again(tmp_path, engine):
    place = Place(tmp_path)
    cell = place.cell("watched")
    place.stop.write_text("wait 9")
    engine.timeout_s = 8.0
    try:
        assert place.go_on(cell, engine)[0].failed == 1
    finally:
        engine.timeout_s = 300.0
    assert place.record()["status"] == "timeout" and len(place.saved()) == 1
    other, made = place.go_on(place.cell("watched", seed=1), engine)
    assert other.ok == 1 and made == 12 and "goes on" not in place.output  # another seed finds nothing
    (kept,) = place.saved()
    outcome, made = place.go_on(cell, engine, retry_failed=True)
    assert outcome.ok == 1 and made == 4 and not kept.exists()


def test_what_fails_leaves_nothing_to_go_on_from(tmp_path, engine):
    place = Place(tmp_path)
    place.stop.write_text("raise 9")
    assert place.go_on(place.cell("watched"), engine)[0].failed == 1
    assert place.made.stat().st_size == 9 and place.saved() == []


def test_short_fits_write_nothing(tmp_path, engine):
    place = Place(tmp_path)
    place.stop.write_text("kill 9")
    outcome, made = place.go_on(place.cell("watched"), engine, every_s=300.0)
    assert outcome.ok == 1 and made == 9 + 12 and "goes on" not in place.output


def test_what_is_kept_belongs_to_its_stage_and_for_a_time(tmp_path):
    kept = Unfinished(tmp_path)
    one, other = SimpleNamespace(digest="ab"), SimpleNamespace(digest="cd")

    def job(name):
        (tmp_path / "jobs" / name).mkdir(parents=True)
        return tmp_path / "jobs" / name

    first = job("a-1")
    assert not kept.give(one, first)
    (first / "saved").mkdir()
    (first / "saved" / "state").write_text("8 steps")
    kept.take(first, keep=True)
    assert not first.exists()
    assert not kept.give(other, job("a-2"))
    second = job("a-3")
    assert kept.give(one, second) and (second / "saved" / "state").read_text() == "8 steps"
    assert not kept.give(one, job("a-4"))
    kept.take(second, keep=True)
    kept.clean()
    old = time.time() - (KEPT_DAYS + 1) * 86400
    assert (tmp_path / "referee" / "unfinished" / "ab").is_dir()
    os.utime(tmp_path / "referee" / "unfinished" / "ab", (old, old))
    kept.clean()
    assert not (tmp_path / "referee" / "unfinished" / "ab").exists()
    assert not kept.give(one, job("a-5"))
