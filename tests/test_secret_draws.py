"""What a secret changes of plans and draws, what it leaves as it was, and files that are no secret."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.secret_cells import CONTENT, FACTS, OTHER, SIZES, planned, with_file

from w2s_bench import exchange
from w2s_bench.cells import digest
from w2s_bench.compose import runs as compose
from w2s_bench.compose import suites
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import Sizes
from w2s_bench.plugins.tasks.sandbox import Facts
from w2s_bench.referee import plan, prepare
from w2s_bench.referee.plan import plan_cells
from w2s_bench.referee.sweep import run_cells
from w2s_bench.registry import Registration, load
from w2s_bench.seeds import Secret, derive, keyed


def test_without_a_secret_nothing_changes(monkeypatch):
    """Pinned before there were secrets; sources, which change for other reasons, are left out."""
    monkeypatch.setattr(plan, "training_source", lambda: "training")
    monkeypatch.setattr(plan, "splitting_source", lambda: "splitting")
    monkeypatch.setattr(Registration, "source_sha256", property(lambda _: "source"))
    registry = load([])
    run = suites.compose(suites.find("quick", registry), [], registry)
    made = plan_cells(run.cells, registry, run.commands)
    first = made.cells[0]
    pinned = (first.prepare, first.supervise[0], first.ceiling, first.train, first.digest, first.protocol)
    assert pinned == PINNED
    assert digest([[c.digest, *c.stages, c.protocol, c.command] for c in made.cells]) == PINNED_SUITE
    assert "secret" not in first.settings and made.stages[first.prepare].seed == derive(first.cell.seed, "split")


PINNED = (
    "b13a6c7f9093126fd310ea9a1ace90d1",
    "d80f2cccb050d886a41cdde339e3205d",
    "19e83694b730c6b30e2f236ce6e2cde8",
    "4ffa033155680d8f5d695b2719df4145",
    "682a2f9ed972f108b01f80181e8fc4bc",
    "ae115376ecdaa3f62d401dce01e826fb",
)
PINNED_SUITE = "5a90b8fea575dd3aa584be22669b0046"


def test_digests_differ_by_secret_and_are_equal_for_the_same(tmp_path):
    registry = load([])
    files = {name: tmp_path / name for name in ("one", "same", "two")}
    for name, content in zip(files, (CONTENT, CONTENT, OTHER), strict=True):
        files[name].write_bytes(content)
    public, one, same, two = (planned(registry, files.get(n)).cells[0] for n in ("none", *files))
    assert (one.digest, one.stages, one.protocol) == (same.digest, same.stages, same.protocol)
    for way in (lambda c: c.digest, lambda c: c.protocol, *(lambda c, k=k: c.stages[k] for k in range(4))):
        assert len({way(c) for c in (public, one, two)}) == 3
    assert one.command == public.command and str(tmp_path) not in repr([one.cell.describe(), one.settings, one.command])
    assert one.settings["secret"] == Secret.read(str(files["same"])).fingerprint != two.settings["secret"]
    assert CONTENT.decode() not in repr(one.cell)


def test_seeds_are_wide_and_of_one_task_and_one_public_seed():
    one = Secret("f", CONTENT, "")
    draws = {one.draws_of(plugin, data, seed) for plugin in "ab" for data in ("x", None) for seed in range(250)}
    seeds = np.array([seed for seed, _ in draws], dtype=np.uint64)
    assert len(set(seeds.tolist())) == 1000 and len({key for _, key in draws}) == 4
    shares = [float((seeds >> np.uint64(bit) & np.uint64(1)).mean()) for bit in range(64)]
    assert shares[63] == 0 and all(0.4 < share < 0.6 for share in shares[:63])
    assert not {seed for seed, _ in draws} & {
        seed for seed, _ in map(Secret("f", OTHER, "").draws_of, "ab", "xx", (0, 1))
    }


def test_every_bit_of_a_wide_seed_counts():
    """numpy's older generator takes 32 bits, and the generated tasks use it."""
    sizes = Sizes(**SIZES)
    with pytest.raises(ValueError, match="2\\*\\*32"):
        Facts().load(1 << 40, sizes)
    with keyed(b"k" * 32):
        texts = [Facts().load(1 << 40 | 1 << bit, sizes)[1]["test"].inputs.text for bit in (0, 1, 31, 32, 33, 62)]
        narrow = Facts().load(5, sizes)[1]["test"].inputs.text
    assert len(set(map(tuple, texts))) == 6
    assert Facts().load(5, sizes)[1]["test"].inputs.text == narrow  # what was taken before is taken as it was
    assert np.random.RandomState.__module__ == "numpy.random.mtrand" and derive(1, "split") < 2**31


@pytest.mark.parametrize("words", [[], ["task.split=part"], ["task.split=part", "task.rows=120"]])
def test_rows_of_a_table_are_drawn_with_the_secret(tmp_path, words):
    """Also which of a table's test rows are: the same for every seed, and others by secret."""
    rows = [f"{'train' if k % 2 else 'test'}\ttext {k} {'ab'[k % 3 % 2]}\t{'yn'[k % 5 % 2]}" for k in range(400)]
    (tmp_path / "rows.tsv").write_text("\n".join(["part\ttext\tlabel", *rows]))
    registry = load([])
    drawn = {}
    for name, content in (("public", None), ("one", CONTENT), ("two", OTHER)):
        file = tmp_path / name if content else None
        if content:
            file.write_bytes(content)
        for seed in (0, 1):
            sizes = ["task.n_supervision=40", "task.n_transfer=40", "task.n_validation=10", "task.n_test=30"]
            run = compose.cells(
                ["task=table", f"task.path={tmp_path / 'rows.tsv'}", *words, *sizes, f"seed={seed}", *with_file(file)],
                False, registry,
            )  # fmt: skip
            stage = next(iter(plan_cells(run.cells, registry).stages.values()))
            folder = tmp_path / f"{name}-{seed}"
            (folder / "out").mkdir(parents=True)
            prepare.write_order(folder, stage, [], [])
            prepare.prepare(folder)
            for split in ("test", "transfer"):
                drawn[name, seed, split] = exchange.read_inputs(folder / "out/inputs" / f"{split}.parquet").ids
    for split in ("test", "transfer"):
        fixed = split == "test" and bool(words)
        for name in ("public", "one", "two"):
            assert (drawn[name, 0, split] == drawn[name, 1, split]) == fixed
        assert len({frozenset(drawn[name, 0, split]) for name in ("public", "one", "two")}) == 3


def test_a_task_that_takes_no_wide_seed_is_named_and_the_seed_is_not(tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    (tmp_path / "narrow.py").write_text(
        "import numpy as np\nfrom w2s_bench import hookimpl\n"
        "class Narrow:\n    kind = 'classification'\n    def fingerprint(self):\n        return 'narrow'\n"
        "    def load(self, seed, sizes):\n        raise ValueError(f'cannot draw from {seed}')\n"
        "@hookimpl\ndef register_tasks(register):\n    register('narrow', Narrow)\n"
    )
    registry = load([str(tmp_path / "narrow.py")])
    words = ["task=narrow", "supervisor=[tfidf]", "student=ladder_xs", f"secret={tmp_path / 'secret'}"]
    run = compose.cells([*words, f"cache={tmp_path / 'cache'}"], False, registry, store=str(tmp_path / "store"))
    run_cells(run, registry, console=Console(file=io.StringIO()), worker="support.fake_worker:run")
    (record,) = (json.loads(p.read_text()) for p in (tmp_path / "store/records").glob("*.json"))
    assert record["reason"].endswith("cannot draw from SEED; with a secret, seeds have 63 bits: "
                                     "numpy.random.default_rng(seed) takes them")  # fmt: skip


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.mkdir(), "this is a folder"),
        (lambda p: os.mkfifo(p), "this is no plain file"),
        (lambda p: p.touch(), "the file is empty, and a secret needs at least 16"),
        (lambda p: p.write_bytes(b"fifteen bytes.."), "the file has 15 bytes, and a secret needs at least 16"),
    ],
)
def test_a_file_that_is_no_secret_ends_the_run_with_a_sentence(tmp_path, make, words):
    make(tmp_path / "file")
    command = [sys.executable, "-m", "w2s_bench", "run", *FACTS, f"secret={tmp_path / 'file'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"secret={tmp_path / 'file'}: {words}" in done.stderr and "/dev/urandom" in done.stderr


def test_an_unreadable_secret_and_values_that_are_no_path(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(CONTENT)

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)  # root reads every file
        with pytest.raises(UsageError, match="cannot be read \\(Permission denied\\); let this user read it"):
            Secret.read(str(file))
    registry = load([])
    for words, message in (
        (["secret=[a,b]"], "expects the path of a file"),
        (["secret="], "expects the path of a file"),
        (["secret.path=x"], "secret has no parts"),
    ):
        with pytest.raises(UsageError, match=message):
            compose.cells([*FACTS, *words], False, registry)
    assert compose.cells([*FACTS, "secret=null"], False, registry).cells[0].secret is None
    with pytest.raises(UsageError, match="give one value"):
        compose.cells([*FACTS, f"secret={file},{file}"], True, registry)
