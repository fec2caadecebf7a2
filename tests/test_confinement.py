"""Hostile plugins, each as a mitigation of a cell of its own: what they meet, and that nothing else is touched."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import sys
import sysconfig
from pathlib import Path

import pytest
from rich.console import Console
from support.referee_bench import Bench

from w2s_bench.cells import Cell, Entry
from w2s_bench.errors import UsageError
from w2s_bench.referee import confinement, doctor, shelves, walls
from w2s_bench.referee.engines import LIGHT, PRELOAD, InlineEngine, LocalEngine, Submission
from w2s_bench.referee.plan import plan_cells
from w2s_bench.referee.sweep import run_cells
from w2s_bench.registry import load

SUPPORT = Path(__file__).parent / "support"
TOY = str(SUPPORT / "toy.py")
SIZES = {"n_supervision": 60, "n_transfer": 64, "n_validation": 20, "n_test": 40}
WAYS = re.findall(r'^(?:def |    ")(\w+)(?:\(\):|": lambda)', (SUPPORT / "attacks.py").read_text(), re.MULTILINE)
LANDLOCK = confinement.abi()
landlock = pytest.mark.skipif(LANDLOCK < confinement.WHOLE, reason="this kernel lacks some of the walls")


def cell_of(registry, *stack, student="toy"):
    def entry(kind, name, **options):
        return Entry(name, {**registry.get(kind, name).options, **options})

    task, weak, strong = entry("task", "toy", **SIZES), entry("supervisor", "toy_weak"), entry("student", student)
    return Cell(task, (weak,), strong, tuple(entry("mitigation", name, **options) for name, options in stack), 0)


class Sweeps:
    """Sweeps of the toy task in one folder, with the real worker."""

    def __init__(self, folder, engine):
        self.bench, self.engine = Bench(folder), engine

    def go(self, registry, *stacks, confine="auto", engine=None):
        """Returns the records, by the last mitigation's `way` or name."""
        run = self.bench.run_of(*(cell_of(registry, *stack) for stack in stacks), engine={"confine": confine})
        console = Console(file=io.StringIO(), width=300)
        run_cells(run, registry, console=console, engine=engine or self.engine)
        last = [(record["cell"]["mitigations"][-1], record) for record in self.bench.records()]
        return {str(mitigation.get("way", mitigation["name"])): record for mitigation, record in last}


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    engine = LocalEngine(2, 60.0, 1, PRELOAD)
    yield Sweeps(tmp_path_factory.mktemp("walls"), engine)
    engine.close()


@pytest.fixture(scope="module")
def attacked(sweeps, tmp_path_factory):
    """All attacks, in one sweep: their records, and every file of store and cache before and after."""
    bench = sweeps.bench
    sweeps.go(load([TOY]), [("naive", {})])
    folder = tmp_path_factory.mktemp("plugin")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        name = f"w2s-{os.getpid()}"
        abstract.bind("\0" + name)
        abstract.listen()
        places = {
            "truth": next(bench.cache.glob("referee/prepare/*/*/truth/transfer.npy")),
            "ceiling": next(bench.cache.glob("referee/ceiling/*/*/predictions.parquet")),
            "tokens": next(bench.cache.glob("workers/*/tokens-*.npz")),
            "record": next(bench.store.glob("records/*.json")),
            "scores": next(bench.store.glob("scores/*.parquet")),
            "store": bench.store, "cache": bench.cache, "library": sysconfig.get_paths()["purelib"],
            "abstract": name, "job": bench.cache / "jobs" / "neighbour" / "job.json",
        }  # fmt: skip
        more = {"referee": os.getpid(), "port": server.getsockname()[1]}
        (folder / "places.json").write_text(json.dumps({k: str(v) for k, v in places.items()} | more))
        plugin = str(shutil.copy(SUPPORT / "attacks.py", folder / "attacks.py"))
        neighbour = bench.cache / "jobs" / "neighbour" / "job.json"  # of another run, as far as anybody can see
        neighbour.parent.mkdir()
        neighbour.write_text("{}")
        before = contents(bench.store, bench.cache, folder)
        stacks = [[("attack", {"way": way, "doors": str(bench.cache)})] for way in WAYS]
        records = sweeps.go(load([TOY, plugin]), *stacks)
        return records, before, contents(bench.store, bench.cache, folder)


def contents(*folders):
    return {
        p: p.read_bytes() for folder in folders for p in folder.rglob("*") if p.is_file() and "owners" not in p.parts
    }


@landlock
@pytest.mark.parametrize("way", [way for way in WAYS if way != "honest"])
def test_an_attack_fails_its_own_cell(attacked, way):
    record = attacked[0][way]
    refusal = r"OSError: [Errno 18]" if way == "truth_by_hard_link" else "PermissionError: "
    assert record["status"] == "failed"
    assert record["reason"].startswith(f"mitigation attack: revise_labels raised {refusal}"), record["reason"]


@landlock
def test_attacks_cost_nobody_else_anything(attacked):
    records, before, after = attacked
    assert records["honest"]["status"] == records["naive"]["status"] == "ok", records["honest"]["reason"]
    assert records["honest"]["provenance"]["confined"] == f"landlock-{LANDLOCK}"
    assert {path: content for path, content in after.items() if path in before} == before
    assert not any(path.name in ("mine.json", "mine.npz") for path in after)
    for place in (Path("/tmp"), Path("/dev/shm"), Path.home()):
        assert not list(place.glob("*w2s-was-here"))


def test_an_option_opens_no_door(attacked):
    assert attacked[0]["truth_by_option"]["cell"]["mitigations"][0]["doors"]  # it named the cache


def test_what_is_in_force_is_in_the_record(tmp_path, sweeps, monkeypatch):
    """Without walls it says so, and where they are required it counts nothing that was computed without them."""
    registry, here = load([TOY]), Sweeps(tmp_path, sweeps.engine)

    def confined(*stack, **settings):
        return here.go(registry, list(stack), **settings)[stack[-1][0]]["provenance"]["confined"]

    if LANDLOCK:
        assert confined(("naive", {}), confine="off") == "none: engine.confine=off"
        shutil.rmtree(here.bench.store)
        assert confined(("naive", {}), confine="required") == f"landlock-{LANDLOCK}"
        assert confined(("gce", {}), confine="off") == f"landlock-{LANDLOCK}; none: engine.confine=off"
    monkeypatch.setattr(confinement, "abi", lambda: 0)  # as this process sees it, which is not a plugin's
    shutil.rmtree(here.bench.cache, ignore_errors=True)
    assert confined(("sce", {})) == "none: kernel offers no Landlock"
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert confined(("elr", {})).startswith("none: Darwin has no Landlock; ")


@pytest.mark.parametrize(
    ("abi", "engine", "words"),
    [
        (0, None, "kernel offers no Landlock); run on Linux"),
        (5, None, "Landlock 5 lacks walls of 6); run on Linux"),
        (7, InlineEngine(), "inline engine); use engine=local"),
    ],
)
def test_required_walls_that_cannot_be_end_a_run_before_it_starts(tmp_path, sweeps, monkeypatch, abi, engine, words):
    monkeypatch.setattr(confinement, "abi", lambda: abi)
    here = Sweeps(tmp_path, sweeps.engine)
    with pytest.raises(UsageError) as refusal:
        here.go(load([TOY]), [("naive", {})], confine="required", engine=engine)
    assert str(refusal.value).startswith("engine.confine=required: workers cannot be confined here (")
    assert words in str(refusal.value)
    assert not [path for path in here.bench.cache.rglob("*.json")] and here.bench.records() == []


@pytest.mark.parametrize(
    ("abi", "state", "words"),
    [
        (7, "ok", "landlock-7: files, TCP, signals, abstract sockets"),
        (4, "note", "landlock-4: files and TCP alone"),
        (2, "note", "landlock-2: files alone"),
        (0, "note", "none: kernel offers no Landlock"),
    ],
)
def test_doctor_says_what_this_machine_can_do(monkeypatch, abi, state, words):
    monkeypatch.setattr(confinement, "abi", lambda: abi)
    finding = doctor.confined_workers()
    assert (finding.what, finding.state, finding.description) == ("confined workers", state, words)
    assert bool(finding.remedy) == (state == "note")


def test_a_stage_with_truth_and_a_plugin_adds_nothing_to_the_cache(tmp_path):
    """What a student wrote there while it had the truth of the transfer split, it could read while it must not."""
    registry = load([TOY])
    stages = plan_cells(
        [cell_of(registry, ("naive", {})), cell_of(registry, ("naive", {}), student="ladder_s")], registry
    )
    kept = {}
    for stage in stages.stages.values():
        added, root = tmp_path / stage.digest / "cache", tmp_path / "workers" / stage.digest
        added.mkdir(parents=True)
        (added / "tokens-a.npz").touch()
        shelves.take_in(stage, registry, root, added.parent)
        kept[stage.kind, stage.entry.name] = [p.parent.name for p in root.rglob("*.npz")]
    foreign = kept["train", "toy"]
    assert kept["ceiling", "toy"] == [] and len(foreign) == 1 and foreign != ["built-in"]
    assert kept["ceiling", "ladder_s"] == ["built-in"]
    assert kept["train", "ladder_s"] == foreign  # its supervisor is the plugin's too


def test_the_cache_takes_plain_files_under_its_own_names(tmp_path):
    registry = load([TOY])
    (stage,) = [
        s for s in plan_cells([cell_of(registry, ("naive", {}))], registry).stages.values() if s.kind == "train"
    ]
    added = tmp_path / "job" / "cache"
    (added / "features-ab").mkdir(parents=True)
    for name in ("features-ab/1-2.features", "features-ab/1-2.index", "tokens-a.npz"):
        (added / name).write_text("mine")
    for name in ("tokens-dir.npz/x.npz", "features-ab/deep/x.index", "deep/x.npz"):
        (added / name).parent.mkdir(exist_ok=True)
        (added / name).touch()
    (added / "tokens-link.npz").symlink_to("/etc/hostname")
    (added / "unknown").touch()
    shelves.take_in(stage, registry, tmp_path / "workers", added.parent)
    taken = [p.relative_to(tmp_path / "workers").parts[1:] for p in (tmp_path / "workers").rglob("*") if p.is_file()]
    assert sorted(map("/".join, taken)) == ["features-ab/1-2.features", "features-ab/1-2.index", "tokens-a.npz"]


def test_data_beside_a_plugin_stays_hidden_from_all_but_its_task(tmp_path, monkeypatch):
    """A project folder has everything in it: plugin, module, data with truth, a model, the store and the cache."""
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"words {n},{n % 2}\n" for n in range(400)))
    plugin = tmp_path / "mine.py"
    plugin.write_text((SUPPORT / "toy.py").read_text().replace('"toy', '"mine'))
    (tmp_path / "model").mkdir()
    registry, bench = load([str(plugin)]), Bench(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    names = {"task": "table", "supervisor": "mine_weak", "student": "mine", "mitigation": "naive"}
    entry = {kind: Entry(name, dict(registry.get(kind, name).options)) for kind, name in names.items()}
    entry["task"].options.update(path=str(tmp_path / "data.csv"), text="text", label="label")
    entry["student"].options.update(model=str(tmp_path / "model"))
    plan = plan_cells(
        [Cell(entry["task"], (entry["supervisor"],), entry["student"], (entry["mitigation"],), 0)], registry
    )
    bench.store.mkdir()
    reach = walls.Reach(bench.run_of(engine={"readable": [str(tmp_path / "model")]}), registry, plan, bench.cache)
    seen = {s.kind: reach.of(s, bench.cache / "jobs" / "one", [bench.cache / "workers"]) for s in plan.stages.values()}
    for kind, made in seen.items():
        below = {os.path.relpath(path, tmp_path) for path in made.read if path.startswith(str(tmp_path))}
        mine = {"cache/jobs/one", "cache/workers", "mine.py", "model"}
        assert below == (mine | {"data.csv"} if kind == "prepare" else mine), kind
        assert not any(str(tmp_path).startswith(path.rstrip("/") + "/") for path in (*made.read, *made.write))
        assert [os.path.basename(path) for path in made.write[:4]] == ["out", "tmp", "cache", "saved"]
    assert not seen["train"].connect and len(seen["train"].write) == 4


@landlock
def test_a_worker_that_is_spawned_is_confined_too(tmp_path, monkeypatch):
    folder = tmp_path / "job"
    for name in walls.FOLDERS:
        (folder / name).mkdir(parents=True)
    (tmp_path / "secret").write_text("truth")
    (tmp_path / "lib").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    (tmp_path / "lib" / "task.py").write_text(
        "def run(folder):\n    open('note', 'w').write(open('../../secret').read())\n"
    )
    reads = (*walls.libraries(), *walls.search_path(), str(folder))
    made = confinement.Walls(reads, tuple(str(folder / name) for name in walls.FOLDERS))
    engine = LocalEngine(1, 60.0, 1, (*LIGHT, "support.threaded"))  # whose threads make forks unsafe
    try:
        engine.submit(Submission("one", "task:run", folder, made))
        while not (ended := engine.wait(1.0)):
            pass
    finally:
        engine.close()
    assert (
        ended[0].status == "failed"
        and "PermissionError: [Errno 13] Permission denied: '../../secret'" in ended[0].details
    )
