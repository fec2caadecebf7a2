"""Features by text: read once, the same beside any others, mended where a file is damaged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hf_models import make, student
from w2s_bench.interfaces import Inputs, Recipe, TaskInfo
from w2s_bench.training.batches import BATCH_TOKENS, WIDTH_STEP, of_one_shape
from w2s_bench.training.meter import Meter
from w2s_bench.training.shelf import Shelf
from w2s_bench.training.student import StudentModel


class Reader:
    """Gives a text the features [its length, its first letter], and counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts):
        self.asked += texts
        return self.true(texts)

    @staticmethod
    def true(texts):
        return np.array([[len(t), ord(t[0]) if t else -1] for t in texts], np.float32).reshape(len(texts), 2)


words = st.lists(st.text("abc", max_size=4), max_size=12)


@given(st.lists(words, min_size=1, max_size=5))
def test_each_text_is_read_once(tmp_path_factory, calls):
    folder, read = tmp_path_factory.mktemp("shelf"), Reader()
    shelves = [Shelf(folder), Shelf(folder), Shelf()]  # two processes, and one without a cache
    for n, texts in enumerate(calls):
        np.testing.assert_array_equal(shelves[n % 2].features(texts, read).reshape(-1, 2), Reader.true(texts))
    assert sorted(read.asked) == sorted({text for texts in calls for text in texts})
    alone = Reader()
    for texts in calls:
        np.testing.assert_array_equal(shelves[2].features(texts, alone).reshape(-1, 2), Reader.true(texts))
    assert sorted(alone.asked) == sorted(read.asked)


@pytest.mark.parametrize("ending", ["features", "index"])
def test_one_byte_flipped_anywhere_is_noticed(tmp_path, ending):
    texts = ["a", "bb", "ccc"]
    Shelf(tmp_path).features(texts, Reader())
    file = next(tmp_path.glob(f"*.{ending}"))
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        read = Reader()
        np.testing.assert_array_equal(Shelf(tmp_path).features(texts, read), Reader.true(texts))
        assert len(read.asked) == 1
        for other in {*tmp_path.glob("*")} - {file, *tmp_path.glob(f"{file.stem}.*")}:
            other.unlink()  # what was read instead
    file.write_bytes(whole)


@pytest.mark.parametrize("cut", [0, 5, 12])
def test_files_cut_short_are_read_again(tmp_path, cut):
    for ending in ("features", "index"):
        folder, read = tmp_path / ending, Reader()
        Shelf(folder).features(["a", "bb"], read)
        file = next(folder.glob(f"*.{ending}"))
        file.write_bytes(file.read_bytes()[:cut])
        np.testing.assert_array_equal(Shelf(folder).features(["a", "bb"], read), Reader.true(["a", "bb"]))


def test_a_shelf_that_cannot_write_does_without(tmp_path):
    (tmp_path / "shelf").write_text("a file is in the folder's place")
    np.testing.assert_array_equal(Shelf(tmp_path / "shelf").features(["a"], Reader()), Reader.true(["a"]))


@given(st.lists(st.integers(1, 80), min_size=1, max_size=60))
def test_the_shape_of_a_batch_tells_the_width_alone(lengths):
    seen, shapes = set(), {}
    for width, at in of_one_shape(np.array(lengths), 64, "cpu"):
        assert shapes.setdefault(width, len(at)) == len(at) == BATCH_TOKENS["cpu"] // width
        assert all(min(lengths[i], 64) <= width < lengths[i] + WIDTH_STEP for i in at.tolist())
        seen |= set(at.tolist())
    assert seen == set(range(len(lengths)))


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "opt"])
def test_features_do_not_depend_on_what_is_read_beside_them(tmp_path, family):
    backbone = student(make(tmp_path / family, family)).backbone(0)
    recipe = Recipe(tune="probe", max_length=30)
    model = StudentModel(backbone, TaskInfo("t", "classification", 2, ["0", "1"]), recipe, 0, Meter())
    draw = np.random.default_rng(0)
    texts = [" ".join(f"w{k}" for k in draw.integers(0, 60, draw.integers(1, 28))) for _ in range(60)]
    together = model.features(Inputs([str(i) for i in range(60)], texts))
    for some in ([0], [3, 59, 17], list(range(59, -1, -2))):
        assert torch.equal(model._read([texts[i] for i in some]), together[some])


def test_only_the_files_that_texts_are_in_are_opened(tmp_path, monkeypatch):
    for k in range(5):
        Shelf(tmp_path).features([f"{k}", f"{k}{k}", "shared"], Reader())
    opened = []
    fromfile = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda file, kind: opened.append(file) or fromfile(file, kind))
    read = Reader()
    Shelf(tmp_path).features(["3", "33", "shared"], read)
    assert len(opened) == 2 and not read.asked  # its own, and the first, which has what they share
    for note in tmp_path.glob("*.places"):
        note.write_bytes(b"\xff nothing of that name")
    np.testing.assert_array_equal(Shelf(tmp_path).features(["3", "33"], read), Reader.true(["3", "33"]))
    assert len(opened) == 7 and not read.asked
