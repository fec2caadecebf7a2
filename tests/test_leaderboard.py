"""The published pages are what their records give, byte for byte."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from w2s_bench.store.files import StoreFiles

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


@pytest.mark.parametrize("store", STORES, ids=lambda p: p.name)
def test_records_name_no_place(store):
    files = StoreFiles(store)
    for name in files.names("records", ".json"):
        text = files.read(name).decode()
        assert not re.search(r"/(home|root|tmp|Users)/", text), name
        assert json.loads(text)["schema"] == 1
