"""Bad tasks: each fault is named, with what was expected and what to do."""

from __future__ import annotations

import numpy as np
import pytest
from support.referee_bench import PLUGIN, entry

from w2s_bench import exchange
from w2s_bench.errors import W2SError
from w2s_bench.referee.prepare import prepare, run


def order(folder, **options):
    digits = entry("task", "digits", **options)
    words = {"task": "digits", "options": digits.options, "seed": 5, "key": "", "plugins": [PLUGIN], "installed": []}
    words["cwd"] = str(folder)
    exchange.write_json(folder / "prepare.json", words)
    return folder


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("empty", ["empty split transfer", "n_transfer"]),
        ("one class", ["only the class 'class 0' in transfer", "at least two classes"]),
        ("labels", ["the label 5 in transfer", "class numbers from 0 to 1"]),
        ("nan labels", ["the label nan in transfer", "class numbers"]),
        ("words", ["the label 'yes' in transfer", "class numbers"]),
        ("duplicate", ["the id '5-42' twice in transfer", "unique"]),
        ("duplicate between", ["the id '5-0' in supervision and in transfer", "unique"]),
        ("group", ["the group 'g1' in supervision and in transfer", "one split"]),
        ("truth shape", ["truth of shape (29,) for 30 examples in transfer"]),
        ("text", ["7 (int) among the text of transfer, row 1"]),
        ("difficulty", ["difficulty nan in transfer, row 2", "finite"]),
        ("missing split", ["supervision, transfer, validation, test", "gave ['supervision', 'test', 'transfer']"]),
        ("class names", ["two classes with different names"]),
        ("notes", ["has the notes 'no list'", "give a list of sentences"]),
        ("raise", ["load raised ValueError: the file is torn"]),
    ],
)
def test_fault_is_named(tmp_path, fault, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(W2SError) as caught:
        prepare(order(tmp_path, fault=fault))
    assert str(caught.value).startswith("task 'digits'")
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_fault_crosses_the_process_boundary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(str(order(tmp_path, fault="empty")))
    assert "empty split transfer" in exchange.read_json(tmp_path / "out" / "error.json")["message"]


def test_what_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare(order(tmp_path, classes=3))
    out = tmp_path / "out"
    info = exchange.read_json(out / "info.json")
    assert info == {
        "kind": "classification",
        "class_names": ["class 0", "class 1", "class 2"],
        "n_classes": 3,
        "fingerprint": "digits-1",
        "same_for_all_seeds": False,
        "sealed": False,
        "notes": [],
    }
    inputs = exchange.read_inputs(out / "inputs" / "test.parquet")
    truth = np.load(out / "truth" / "test.npy")
    assert len(inputs) == 50 and truth.dtype == np.int64 and set(truth) == {0, 1, 2}
    assert sorted(p.name for p in out.iterdir()) == ["info.json", "inputs", "truth"]
