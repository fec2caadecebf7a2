"""The published pages are what their records give, byte for byte."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from w2s_bench.store.files import StoreFiles
from w2s_bench.store.packing import pack

HERE = Path(__file__).parents[1] / "leaderboard"
STORES = sorted(p.parent for p in HERE.glob("*/records.tar.xz"))


def test_rebuilt_equals_committed():
    done = subprocess.run([sys.executable, str(HERE / "rebuild.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("store", STORES, ids=lambda p: p.name)
def test_board_verb_gives_the_committed_json(store):
    line = [sys.executable, "-m", "w2s_bench", "board", "--store", str(store), "--format", "json"]
    done = subprocess.run(line, capture_output=True)
    assert done.stdout == (store / "board.json").read_bytes(), done.stderr


@pytest.mark.parametrize("store", STORES, ids=lambda p: p.name)
def test_published_stores_verify(store):
    done = subprocess.run([sys.executable, "-m", "w2s_bench", "verify", str(store)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_is_published_stays_small():
    """In bytes, all of it: whoever clones the project takes it along."""
    files = [p for p in HERE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert len(STORES) > 5 and sum(p.stat().st_size for p in files) < 90e6


@pytest.mark.parametrize("store", STORES, ids=lambda p: p.name)
def test_published_files_are_named_by_what_they_hold(store):
    """A cell that is run again under another digest, with the same numbers, then changes no archive but the records."""
    files = StoreFiles(store)
    for part in ("predictions", "scores"):
        names = files.names(part, ".parquet")
        assert names == [f"{part}/{hashlib.sha256(files.read(n)).hexdigest()[:32]}.parquet" for n in names] != []


@pytest.mark.parametrize("suite", ["quick", "sst2"])
def test_packing_what_is_published_changes_nothing(suite, tmp_path):
    copied = shutil.copytree(HERE / suite, tmp_path / suite)
    pack(copied, copied)
    assert {p.name: p.read_bytes() for p in copied.iterdir()} == {
        p.name: p.read_bytes() for p in (HERE / suite).iterdir()
    }


@pytest.mark.parametrize("store", STORES, ids=lambda p: p.name)
def test_records_name_no_place(store):
    files = StoreFiles(store)
    for name in files.names("records", ".json"):
        text = files.read(name).decode()
        assert not re.search(r"/(home|root|tmp|Users)/", text), name
        assert json.loads(text)["schema"] == 1
