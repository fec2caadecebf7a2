"""Texts to batches: padding, buckets, micro-batches, and the cache of what was made once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bag import encode, inputs_of, words_backbone, words_student
from support.bench import RECIPE, student_of, supervisor

from w2s_bench import hookimpl
from w2s_bench.interfaces import Inputs
from w2s_bench.training.batches import Batch, batches_within, bucketed, cached_array, consecutive, tokenise


@given(st.lists(st.integers(1, 30), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_bucketed_batches_hold_each_kept_example_at_most_once(lengths, size, seed):
    rng = np.random.default_rng(seed)
    kept = np.flatnonzero(rng.random(len(lengths)) < 0.7)
    order = rng.permutation(kept if len(kept) else np.arange(len(lengths)))
    batches = list(bucketed(order, np.array(lengths), size, rng))
    used = np.concatenate(batches)
    assert len(set(used.tolist())) == len(used) and set(used) <= set(order)
    if len(order) < size:
        assert [len(b) for b in batches] == [len(order)]
    else:
        assert [len(b) for b in batches] == [size] * (len(order) // size)
    np.testing.assert_array_equal(np.concatenate(list(consecutive(used, size))), used)


def test_bucketed_batches_pad_less_and_still_shuffle():
    lengths = np.random.default_rng(0).integers(1, 100, 1024)
    waste = {}
    for name, batches in (
        ("bucketed", list(bucketed(np.arange(1024), lengths, 32, np.random.default_rng(0)))),
        ("consecutive", list(consecutive(np.arange(1024), 32))),
    ):
        waste[name] = sum(lengths[b].max() * len(b) - lengths[b].sum() for b in batches) / lengths.sum()
    assert waste["bucketed"] < 0.2 * waste["consecutive"]
    longest = [lengths[b].max() for b in batches]
    assert longest != sorted(longest)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad_id", [0, 7, 100])
def test_padding_on_either_side_with_any_id_changes_nothing(side, pad_id):
    inputs = inputs_of(40)
    expected = words_student().predict(inputs)
    student = words_student(padding_side=side, pad_id=pad_id)
    torch.testing.assert_close(student.predict(inputs), expected)
    batch = student.tokens(inputs).padded(np.array([0, 5, 9]))
    rows = encode([inputs.text[i] for i in (0, 5, 9)])
    width = max(map(len, rows))
    assert batch["input_ids"].shape == (3, width)  # the longest of this batch, not of the split
    for ids, mask, row in zip(batch["input_ids"], batch["attention_mask"], rows, strict=True):
        assert ids[mask.bool()].tolist() == row
        empty = slice(0, width - len(row)) if side == "left" else slice(len(row), width)
        assert not mask[empty].any() and (ids[empty] == pad_id).all()


def test_texts_are_cut_at_the_recipe_and_at_the_backbone():
    inputs = Inputs(["a", "b"], ["1 2 3 4 5", ""])
    assert tokenise(inputs, words_backbone(), 3).lengths.tolist() == [3, 0]
    assert tokenise(inputs, words_backbone(max_length=2), 3).lengths.tolist() == [2, 0]
    assert tokenise(inputs, words_backbone(max_length=2), 3).padded(np.array([1]))["attention_mask"].tolist() == [[0]]


def test_every_kept_example_is_used_in_each_pass():
    seen = []

    class Look:
        @hookimpl
        def training_batch(self, batch):
            seen.append(batch.index)

    student_of([("look", Look)], [supervisor()], recipe=replace(RECIPE, epochs=3))
    used = torch.cat(seen).view(3, 480)
    for one_pass in used:
        assert one_pass.sort().values.tolist() == list(range(480))
    assert not torch.equal(used[0], used[1])


@given(st.integers(1, 12), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_a_batch_splits_into_exactly_as_many_parts_as_asked(size, parts):
    weights = torch.arange(1.0, size + 1)
    inputs = {"input_ids": torch.arange(size)[:, None], "attention_mask": torch.ones(size, 1)}
    batch = Batch(torch.arange(size), inputs, torch.full((size, 2), 0.5), weights, torch.full((1, size, 2), 0.5))
    split = batch.split(parts)
    assert len(split) == parts
    assert sum(float(p.weights.sum()) for p in split) == float(weights.sum())
    taught = torch.cat([p.index[p.weights > 0] for p in split])
    assert taught.tolist() == list(range(size))
    for part in split:
        assert part.inputs["input_ids"][:, 0].tolist() == part.index.tolist()


def test_a_damaged_cache_file_is_made_again(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"x": np.arange(1000)}

    def read():
        return cached_array([str(tmp_path)], "key", ("x",), make)["x"]

    assert (read() == read()).all() and len(made) == 1
    file = tmp_path / "key.npz"
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[500] ^= 0xFF
    np.savez(tmp_path / "other.npz", y=np.arange(3))
    other = (tmp_path / "other.npz").read_bytes()
    (tmp_path / "other.npz").unlink()
    for damaged in (b"", b"no zip", whole[: len(whole) // 2], whole[:-10], bytes(flipped), other):
        file.write_bytes(damaged)
        count = len(made)
        assert (read() == np.arange(1000)).all() and len(made) == count + 1
        assert file.read_bytes() == whole
    assert [f.name for f in tmp_path.iterdir()] == ["key.npz"]
    file.unlink()
    file.mkdir()
    assert (read() == np.arange(1000)).all()
    assert [f.name for f in tmp_path.iterdir()] == ["key.npz"]


def test_batches_where_nothing_is_learnt_stay_within_so_many_tokens():
    lengths = np.array([9, 2, 2, 30, 4, 9, 2])
    order = np.argsort(lengths, kind="stable")
    batches = list(batches_within(order, lengths, 3, 18))
    assert [lengths[b].tolist() for b in batches] == [[2, 2, 2], [4, 9], [9], [30]]
    assert np.concatenate(batches).tolist() == order.tolist()
    assert [len(b) for b in batches_within(order, lengths, 256, 1 << 30)] == [7]
