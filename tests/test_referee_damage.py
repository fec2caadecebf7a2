"""Whatever the referee reads may be damaged at any moment: its cell is computed again or fails, and no other one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.damage import WAYS, damage
from support.referee_bench import Bench, cell, registry

from w2s_bench.cells import Cell
from w2s_bench.cli.main import cli
from w2s_bench.referee.plan import PlannedCell, plan_cells
from w2s_bench.referee.schedule import DAMAGES
from w2s_bench.referee.status import describe, look

FILES = {
    "prepare": ("info.json", "cost.json", "inputs/test.parquet", "inputs/transfer.parquet", "truth/test.npy"),
    "supervise": ("votes.npz", "cost.json", "identity.json", "supervisor/saved.json"),
    "ceiling": ("predictions.parquet", "cost.json", "identity.json"),
    "train": ("predictions.parquet", "cost.json", "identity.json"),
}
ARTEFACTS = [(kind, name) for kind, names in FILES.items() for name in (*names, "manifest.json")]
NAMES = sorted({name for _, name in ARTEFACTS})


def planned(one: Cell) -> PlannedCell:
    (plan,) = plan_cells([one], registry()).cells
    return plan


def artefact(one: Cell, kind: str, name: str) -> str:
    """Returns where a file of one of the cell's stages is, in the cache."""
    plan = planned(one)
    digest = {"prepare": plan.prepare, "supervise": plan.supervise[0], "ceiling": plan.ceiling, "train": plan.train}
    return f"referee/{kind}/{digest[kind][:2]}/{digest[kind]}/{name}"


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Bench:
    """A finished sweep of one cell for each way of damage, and of one more."""
    bench = Bench(tmp_path_factory.mktemp("done"))
    assert bench.go(*cells(), suite="whole").ok == len(WAYS) + 1
    return bench


def cells() -> list[Cell]:
    """Returns one more cell than there are ways, each with stages of its own."""
    return [cell("trick", seed=seed) for seed in range(len(WAYS) + 1)]


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def resumed(done, tmp_path) -> Bench:
    """A copy of the finished sweep."""
    for folder in ("store", "cache"):
        shutil.copytree(getattr(done, folder), tmp_path / folder)
    return Bench(tmp_path)


def worked_since(bench: Bench, before: Bench) -> dict[str, int]:
    earlier = before.worked()
    return {k: n - earlier.get(k, 0) for k, n in bench.worked().items() if n != earlier.get(k, 0)}


@pytest.mark.parametrize("name", NAMES)
def test_artefacts_damaged_before_a_sweep(done, resumed, name):
    kinds = [kind for kind, names in FILES.items() if name in (*names, "manifest.json")]
    for one, way in zip(cells(), WAYS, strict=False):
        for kind in kinds:
            damage(resumed.cache / artefact(one, kind, name), way)
    shutil.rmtree(resumed.store)
    outcome = resumed.go(*cells(), suite="whole")
    assert (outcome.ok, outcome.failed) == (len(WAYS) + 1, 0)
    assert resumed.results() == done.results()
    assert resumed.output.count("the cached artefact is damaged") == len(kinds) * len(WAYS)
    assert resumed.output.count(f"/{name} ") >= len(kinds) * (len(WAYS) - 1)  # a folder with files shows as those
    assert worked_since(resumed, done) == {k: len(WAYS) for k in kinds if k != "prepare"}


@pytest.mark.parametrize("part", ["records", "predictions", "scores", "suites"])
def test_stores_damaged_before_a_sweep(done, resumed, part):
    if part == "suites":
        for way in WAYS:
            damage(resumed.store / "suites" / "whole.json", way)
            outcome = resumed.go(*cells(), suite="whole")
            assert (outcome.ok, outcome.skipped) == (0, len(WAYS) + 1)
            assert json.loads((resumed.store / "suites" / "whole.json").read_text())["suite"] == "whole"
        return
    paths = [
        resumed.store / part / f"{planned(c).digest}.{'json' if part == 'records' else 'parquet'}" for c in cells()
    ]
    for path, way in zip(paths, WAYS, strict=False):
        damage(path, way)
    outcome = resumed.go(*cells(), suite="whole")
    assert (outcome.ok, outcome.failed, outcome.skipped) == (len(WAYS), 0, 1)
    assert resumed.results() == done.results()
    assert worked_since(resumed, done) == {}  # all is in the cache
    unnamed = [way for path, way in zip(paths, WAYS, strict=False) if f"{path} is damaged" not in resumed.output]
    assert set(unnamed) <= ({"deleted", "link"} if part == "records" else set())


def test_artefacts_damaged_by_workers(bench):
    """Each damages a file of another kind that its cell rests on, in another way; a neighbour rests on it as well."""
    files = [(kind, name) for kind, name in ARTEFACTS if kind != "train"]
    bad, good = [], []
    for seed, (kind, name) in enumerate(files):
        one = cell("trick", seed=seed)
        fault = f"damage {artefact(one, kind, name)}: {WAYS[seed % len(WAYS)]}"
        bad.append(replace(one, mitigations=(cell(("trick_b", {"fault": fault})).mitigations)))
        good.append(one)
    outcome = bench.go(*good, *bad, cell("trick", seed=100))
    assert (outcome.ok, outcome.failed) == (2 * len(files) + 1, 0), bench.output
    again = Bench(bench.store.parent)
    assert again.go(*good, *bad, cell("trick", seed=100)).skipped == 2 * len(files) + 1
    assert bench.output.count("the cached artefact is damaged") > 0


@pytest.mark.parametrize("way", WAYS)
def test_votes_damaged_by_a_worker(bench, way):
    """The file that every cell of a sweep rests on."""
    path = artefact(cell("trick"), "supervise", "votes.npz")
    outcome = bench.go(cell(("trick_b", {"fault": f"damage {path}: {way}"})), cell("trick"), cell("trick_c"))
    assert (outcome.ok, outcome.failed) == (3, 0)
    assert bench.worked()["supervise"] == 2 and path in bench.output


def test_votes_damaged_again_and_again(bench):
    """By so many workers that the sweep gives up: what rests on the file fails and names it, nothing else does."""
    path = artefact(cell("trick"), "supervise", "votes.npz")
    bad = [cell(("trick_b", {"fault": f"damage {path}: garbage", "words": [str(k)]})) for k in range(2 * DAMAGES)]
    good = (cell("trick", supervisors=("guess_b",)), cell("control", seed=1))
    outcome = bench.go(*bad, *good, slots=1)  # two at a time may damage the same copy of it
    assert outcome.ok >= 2 and outcome.failed > 0 and outcome.ok + outcome.failed == len(bad) + 2
    for record in bench.records():
        if record["status"] != "ok":
            assert record["cell"]["mitigations"][0]["name"] == "trick_b"
            assert record["reason"].startswith("supervise digits: guess, seed 0: referee/supervise/")
            assert f"votes.npz has changed; it was damaged {DAMAGES} times" in record["reason"]
            assert str(bench.cache) not in record["reason"]


@pytest.mark.parametrize("stage", ["supervise", "train"])
@pytest.mark.parametrize("name", ["main", "cost.json", "identity.json"])
def test_outputs_left_damaged(bench, stage, name):
    main = {"supervise": "votes.npz", "train": "predictions.parquet"}[stage]
    name = main if name == "main" else name
    faults = [{"fault": f"leave out/{name}: {way}"} for way in WAYS]
    if stage == "train":
        bad = [cell(("trick_b", fault)) for fault in faults]
    else:
        bad = [cell("trick_b", supervisors=(("guess", fault),)) for fault in faults]
    outcome = bench.go(*bad, cell("trick"))
    assert (outcome.ok, outcome.failed) == (1, len(WAYS))
    assert all(name in r["reason"] for r in bench.records() if r["status"] != "ok")


def test_errors_left_damaged(bench):
    """What a worker that fails says of itself; one that is not there is no error."""
    outcome = bench.go(*(cell(("trick", {"fault": f"leave out/error.json: {way}"})) for way in WAYS), cell("trick_b"))
    assert (outcome.ok, outcome.failed) == (2, len(WAYS) - 1)
    assert all("error.json" in r["reason"] for r in bench.records() if r["status"] != "ok")


def test_a_task_that_ends_its_process(bench):
    outcome = bench.go(cell("trick", task=("digits", {"fault": "exit"})), cell("trick"))
    assert (outcome.ok, outcome.failed) == (1, 1)
    (failed,) = (r for r in bench.records() if r["status"] != "ok")
    assert "ended without leaving info.json" in failed["reason"]


@pytest.mark.parametrize("name", ["claims", "owners", "building", "failures", "supervise", "train"])
def test_a_file_in_the_place_of_a_folder_of_the_cache(done, resumed, name):
    shutil.rmtree(resumed.cache / "referee" / name, ignore_errors=True)
    (resumed.cache / "referee" / name).write_text("no folder")
    outcome = resumed.go(*cells(), cell(("trick_b", {"fault": "uncaught"})), cell("control"))
    assert (outcome.ok, outcome.failed, outcome.skipped) == (1, 1, len(WAYS) + 1)


def test_folders_in_the_place_of_claims_and_notes(done, resumed):
    fails = cell(("trick_b", {"fault": "uncaught"}))
    for name in ("claims", "failures"):
        for digest in (planned(fails).train, planned(cell("control")).train):
            (resumed.cache / "referee" / name / f"{digest}{'.txt' * (name == 'failures')}").mkdir(parents=True)
    (resumed.cache / "referee" / "owners" / "someone").mkdir()
    outcome = resumed.go(cell("trick"), cell("control"), fails)
    assert (outcome.ok, outcome.failed, outcome.skipped) == (1, 1, 1)


def test_a_cache_that_is_removed_meanwhile(bench):
    removes = cell(("trick_b", {"fault": "remove referee"}))
    outcome = bench.go(removes, cell("trick"), cell("trick_c"), cell("control"))
    assert (outcome.ok, outcome.failed) == (4, 0)


@pytest.mark.parametrize("way", WAYS)
def test_entries_of_running_sweeps(done, resumed, way):
    from w2s_bench.referee.store import Store

    marker = Store(resumed.store).mark_running()
    try:
        entry = next((resumed.store / ".running").glob("*.json"))
        marker.write(suite=None, running=[], cells={"done": 1, "failed": 0, "left": 2}, seconds=1.0, seconds_left=None)
        assert "1 done, 0 failed, 2 left" in describe(look(str(resumed.store)))
        damage(entry, way)
        assert "nothing is running" in describe(look(str(resumed.store)))
        marker.write(suite=None)
        assert resumed.go(cell("control")).ok == 1
    finally:
        marker.close()


@pytest.mark.parametrize("part", ["records", "predictions", "scores", "suites"])
def test_verbs_that_read_a_store_name_the_file(done, resumed, part):
    """`w2s verify` names every damaged file, `status` and `board` those that they read."""
    for way in (w for w in WAYS if w != "deleted"):
        (path,) = sorted((resumed.store / part).iterdir())[:1]
        content = path.read_bytes()
        damage(path, way)
        for verb in ("status --store", "board --store", "verify"):
            result = CliRunner().invoke(cli, [*verb.split(), str(resumed.store)])
            assert isinstance(result.exception, SystemExit | None), (way, verb, result.exception)
            reads = {"status": ("records", "suites"), "board": ("records", "suites")}
            if part in reads.get(verb.split()[0], (part,)):
                assert path.name in result.output, (way, verb, result.output)
        shutil.rmtree(path, ignore_errors=True)
        Path(path).unlink(missing_ok=True)
        path.write_bytes(content)
