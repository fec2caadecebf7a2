"""Splits drawn with a secret: who lacks the file neither draws them again nor finds what they were drawn with."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from support.referee_bench import Bench
from support.secret_cells import CONTENT, FACTS, OTHER, SIZES, planned, with_file

from w2s_bench.board import build_board
from w2s_bench.board.render import render
from w2s_bench.cli.main import cli
from w2s_bench.compose import runs as compose
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import Sizes
from w2s_bench.plugins.tasks.sandbox import Facts
from w2s_bench.referee import confinement
from w2s_bench.referee.engines import PRELOAD, InlineEngine, LocalEngine
from w2s_bench.referee.rerun import rerun_cells
from w2s_bench.referee.sweep import run_cells
from w2s_bench.registry import load
from w2s_bench.seeds import Secret, keyed
from w2s_bench.store.verify import verify_store

landlock = pytest.mark.skipif(confinement.abi() < confinement.WHOLE, reason="this kernel lacks some of the walls")


@pytest.fixture(scope="module")
def engine():
    made = LocalEngine(2, 300.0, 1, PRELOAD)
    yield made
    made.close()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with the secret's file, one with the attacks, and one for stores and caches."""
    secret, plugin = tmp_path_factory.mktemp("kept") / "secret", tmp_path_factory.mktemp("plugin") / "attacks.py"
    secret.write_bytes(CONTENT)
    shutil.copy(Path(__file__).parent / "support/secret_attacks.py", plugin)
    plugin.with_suffix(".json").write_text(json.dumps(str(secret)))
    (task,) = (s for s in planned(load([]), secret).stages.values() if s.kind == "prepare")
    # as bytes, hexadecimal and decimal digits; what derives from it too
    texts = [CONTENT.hex(), task.key, str(task.seed), f"{task.seed:x}"]
    plugin.with_suffix(".txt").write_text(" ".join([CONTENT.hex(), task.key, *(t.encode().hex() for t in texts)]))
    return secret, plugin, tmp_path_factory.mktemp("runs")


def go(places, engine, store, *overrides, secret=None):
    """Returns the store's records by stack, and what the run printed."""
    _, plugin, folder = places
    registry = load([str(plugin)])
    words = [*FACTS, *overrides, *with_file(secret), f"cache={folder / 'cache'}"]
    run = compose.cells(words, True, registry, store=str(folder / store))
    shown = Console(file=io.StringIO(), width=300)
    run_cells(run, registry, console=shown, engine=engine)
    records = [json.loads(p.read_text()) for p in (folder / store / "records").glob("*.json")]
    return {r["cell"]["mitigations"][0]["name"]: r for r in records}, shown.file.getvalue()


@pytest.fixture(scope="module")
def public(places, engine):
    return go(places, engine, "public", "mitigation=[naive],[draw_again]")[0]


@pytest.fixture(scope="module")
def secret_run(places, engine):
    words = ["mitigation=[naive],[draw_again],[search],[open_it]", f"engine.readable=[{places[0].parent}]"]
    return go(places, engine, "secret", *words, secret=places[0])[0]


def test_a_task_drawn_again_gives_the_truth_without_a_secret_and_nothing_with_one(public, secret_run):
    assert public["draw_again"]["status"] == "ok", public["draw_again"]["reason"]
    assert public["draw_again"]["transfer"]["student_accuracy"] != public["naive"]["transfer"]["student_accuracy"]
    assert secret_run["draw_again"]["status"] == "failed"
    assert "LookupError: no seed draws these texts" in secret_run["draw_again"]["reason"]
    assert secret_run["naive"]["status"] == "ok"


@landlock
def test_workers_neither_open_the_file_nor_see_what_derives_from_it(secret_run):
    assert secret_run["search"]["status"] == "ok", secret_run["search"]["reason"]
    assert "PermissionError: [Errno 13]" in secret_run["open_it"]["reason"]


def test_what_a_run_leaves_has_neither_the_secret_nor_the_seed_nor_the_path(places, secret_run):
    """Records, predictions, the workers' cache and the referee's, with the notes of what failed."""
    file, plugin, folder = places
    wanted = [bytes.fromhex(word) for word in plugin.with_suffix(".txt").read_text().split()]
    left = {p: p.read_bytes() for part in ("secret", "cache") for p in (folder / part).rglob("*") if p.is_file()}
    assert {"records", "workers", "failures"} <= {part for path in left for part in path.parts}
    assert [path for path, content in left.items() if any(word in content for word in wanted)] == []
    assert [p for p, content in left.items() if str(file).encode() in content and "failures" not in p.parts] == []


def test_the_rule_of_a_generated_task_stays_public(secret_run):
    """What docs/publishing.md says plainly: facts has 10,500 examples, and public code says the truth of each."""
    everything = Facts().load(0, Sizes(n_supervision=4, n_transfer=10_488, n_validation=4, n_test=4))[1]["transfer"]
    truth = dict(zip(everything.inputs.text, everything.truth, strict=True))
    with keyed(b"k" * 32):
        drawn = Facts().load(2**62, Sizes(**SIZES))[1]["test"]
    known = [(truth[text], label) for text, label in zip(drawn.inputs.text, drawn.truth, strict=True) if text in truth]
    assert len(known) > 40 and all(a == b for a, b in known)


# --- records, boards, reruns


def result_of(record):
    return {k: v for k, v in record.items() if k not in ("cost", "provenance")}


def test_two_runs_with_the_same_secret_give_equal_records(places, engine, secret_run):
    shutil.rmtree(places[2] / "again", ignore_errors=True)
    _, plugin, folder = places
    copy = folder / "copy"
    copy.write_bytes(CONTENT)
    again, _ = go((places[0], plugin, folder / "elsewhere"), engine, "again", "mitigation=[naive]", secret=copy)
    assert result_of(again["naive"]) == result_of(secret_run["naive"])


def test_boards_keep_public_and_secret_cells_apart(places, public, secret_run, tmp_path):
    fingerprint = Secret.read(str(places[0])).fingerprint
    assert secret_run["naive"]["protocol_settings"]["secret"] == fingerprint
    assert "secret" not in public["naive"]["protocol_settings"]
    folder = places[2]
    alone, both = build_board([folder / "secret"]), build_board([folder / "public", folder / "secret"])
    assert alone.data["secret"] == fingerprint and "secret" not in build_board([folder / "public"]).data
    for form in ("table", "md", "html"):
        assert f"drawn with secret {fingerprint}" in render(alone, form)
    assert {r.drawn_with for rows in both.records for r in rows} == {fingerprint}  # most records
    assert any("refused: secret is None instead of" in note for note in both.notes)
    report = verify_store(folder / "secret")
    assert report.ok and f"4 records: splits drawn with the secret {fingerprint}" in report.notes


def test_show_says_what_a_record_was_drawn_with(places, public, secret_run):
    def show(store, record, *more):
        path = str(places[2] / store / "records" / f"{record['digest']}.json")
        return CliRunner().invoke(cli, ["show", path, *more])

    line = f"splits drawn with the secret {secret_run['naive']['protocol_settings']['secret']}"
    assert line in show("secret", secret_run["naive"]).output
    assert "PGR" in show("public", public["naive"]).output and "secret" not in show("public", public["naive"]).output
    assert json.loads(show("secret", secret_run["naive"], "--json").output) == [secret_run["naive"]]
    missing = CliRunner().invoke(cli, ["show", "nowhere/records/x.json"])
    assert missing.exit_code == 2 and "nowhere/records/x.json: there is no such file" in missing.output


def test_a_rerun_needs_the_same_secret(places, engine, secret_run, tmp_path):
    file, plugin, folder = places
    store = tmp_path / "store"
    for part in ("records", "predictions", "scores"):
        (store / part).mkdir(parents=True)
        for path in (folder / "secret" / part).glob(f"{secret_run['naive']['digest']}*"):
            shutil.copy(path, store / part)
    other = tmp_path / "other"
    other.write_bytes(OTHER)
    registry, fingerprint = load([str(plugin)]), Secret.read(str(file)).fingerprint

    def rerun(*overrides):
        (row,) = rerun_cells(store, 1, 0, registry, overrides, engine=engine).cells
        return row.state, row.reason

    needed = f"its splits were drawn with the secret {fingerprint}"
    assert rerun() == ("not rerun", f"{needed}: --set secret=FILE, with that one's file")
    assert rerun(f"secret={other}") == ("not rerun", f"{needed}, and {Secret.read(str(other)).fingerprint} came")
    assert rerun(f"secret={file}") == ("equal", None)


def test_a_rerun_of_public_cells_needs_none(places, engine, public, tmp_path):
    store = shutil.copytree(places[2] / "public", tmp_path / "store")
    for path in (store / "records").glob("*.json"):
        if path.stem != public["naive"]["digest"]:
            path.unlink()
    (row,) = rerun_cells(store, 1, 0, load([]), [f"secret={places[0]}"], engine=engine).cells
    assert row.state == "equal"


# --- where there are no walls, and bad input


def test_inline_is_refused_and_missing_walls_are_named(tmp_path, places, engine):
    registry = load([])
    words = [*FACTS, f"secret={places[0]}", f"cache={tmp_path / 'cache'}"]
    run = compose.cells(words, False, registry, store=str(tmp_path / "store"))
    with pytest.raises(UsageError, match="engine=inline runs plugins in the process that has the secret"):
        run_cells(run, registry, console=Console(file=io.StringIO()), engine=InlineEngine())
    bench = Bench(tmp_path / "open")
    shown = Console(file=io.StringIO(), width=300)
    run_cells(replace(bench.run_of(*run.cells)), registry, console=shown, worker="support.fake_worker:run")
    assert "no walls around workers (none: engine.confine=off): a plugin can read the secret's file" in (
        shown.file.getvalue()
    )


@landlock
def test_a_secret_in_what_workers_read_whole_is_refused(tmp_path, engine):
    file = tmp_path / "cache" / "workers" / "built-in" / "secret"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    registry = load([])
    run = compose.cells([*FACTS, f"secret={file}", f"cache={tmp_path / 'cache'}"], False, registry,
                        store=str(tmp_path / "store"))  # fmt: skip
    with pytest.raises(UsageError, match=re.escape(f"secret={file}: workers read all of ")):
        run_cells(run, registry, console=Console(file=io.StringIO()), engine=engine)
