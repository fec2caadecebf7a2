"""What is saved of a fit comes back as it was: values, and who shares memory with whom."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from w2s_bench.training.snapshot import Unsaved, pack, unpack


def there_and_back(value, roots=None, live=None):
    """Returns the value after a way through JSON and bytes, into other roots."""
    tree, tensors = pack(roots or {}, value)
    tree = json.loads(json.dumps(tree, allow_nan=False))
    came, fill = unpack(tree, {name: content.clone() for name, content in tensors.items()}, live or {})
    fill()
    return came


def test_numbers_and_texts_come_back_to_the_last_bit():
    value = {
        "a": [0.1 + 0.2, -0.0, math.inf, -math.inf, 10**30, True, None, "größe"], ("x", 1): (1, (2.5,)), 3: {},
        "numpy": [np.float32(0.1), np.int64(-7), np.str_("s")],
    }  # fmt: skip
    came = there_and_back(value)
    assert came == value and str(came["a"][1]) == "-0.0" and type(came["a"][5]) is bool
    assert [type(v) for v in came["numpy"]] == [type(v) for v in value["numpy"]]
    assert math.isnan(there_and_back(math.nan))


def test_tensors_and_arrays_come_back_with_their_layout():
    value = {
        "half": torch.randn(3, 4).half(), "bools": torch.tensor([True, False]), "turned": torch.randn(3, 4).T,
        "same": torch.ones(1).expand(5), "none": torch.zeros(0, 2), "c": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "words": np.array(["a", "bcd"]),
        "empty": np.zeros((0, 3)),
    }  # fmt: skip
    came = there_and_back(value)
    for name, v in value.items():
        if isinstance(v, torch.Tensor):
            assert torch.equal(came[name], v) and came[name].dtype == v.dtype and came[name].stride() == v.stride()
        else:
            assert (came[name] == v).all() and came[name].dtype == v.dtype and came[name].flags.writeable
            assert came[name].flags.f_contiguous == v.flags.f_contiguous


def test_memory_begins_where_it_does_elsewhere():
    came = there_and_back([torch.zeros(3, dtype=torch.uint8), *(torch.randn(n) for n in (5, 7, 9))])
    assert [tensor.data_ptr() % 64 for tensor in came] == [0, 0, 0, 0]  # products of other memory sum in another order


def test_what_is_shared_is_shared_again():
    whole, inner = torch.zeros(4), [1]
    came = there_and_back({"whole": whole, "part": whole[1:3], "again": whole, "lists": [inner, inner]})
    came["part"] += 1
    assert came["whole"].tolist() == [0, 1, 1, 0] and came["again"] is came["whole"]
    assert came["lists"][0] is came["lists"][1]


def test_what_contains_itself_does_so_again():
    loop: list = [1]
    loop.append((loop,))
    came = there_and_back(loop)
    assert came[1][0] is came


def test_roots_are_filled_in_place_and_what_has_a_part_of_them_has_it_again():
    rng, weights = torch.Generator().manual_seed(3), torch.arange(6.0)
    torch.rand(5, generator=rng)
    live = {"rng": torch.Generator(), "weights": torch.zeros(6)}
    came = there_and_back({"view": weights[2:], "rng": rng}, {"rng": rng, "weights": weights}, live)
    assert came["rng"] is live["rng"] and torch.equal(live["weights"], weights)
    assert torch.equal(torch.rand(3, generator=live["rng"]), torch.rand(3, generator=rng))
    live["weights"][3] = 9
    assert came["view"].tolist() == [2, 9, 4, 5]


@pytest.mark.parametrize("live", [{"w": torch.zeros(5)}, {"w": torch.zeros(4).double()}, {"v": torch.zeros(4)}])
def test_other_roots_are_refused_before_anything_is_filled(live):
    tree, tensors = pack({"w": torch.ones(4)}, {})
    with pytest.raises(ValueError, match=r"its w is|other weights"):
        unpack(tree, tensors, live)
    assert not any(v.any() for v in live.values())


class Own:
    pass


@pytest.mark.parametrize(
    "value",
    [
        Own(), {1, 2}, lambda: 1, torch.ones(2, requires_grad=True), torch.nn.Linear(1, 1), np.array([Own()]),
        np.arange(10)[::2], b"bytes", np.random.default_rng(0), torch.ones(2, requires_grad=True) * 2,
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_anything_else_is_refused_by_its_place(value):
    with pytest.raises(Unsaved, match=r"^state\.mean\[1\] is "):
        pack({}, {"mean": [0, value]})


def test_an_array_on_memory_of_a_tensor_is_refused():
    tensor = torch.zeros(4)
    with pytest.raises(Unsaved, match="shares memory"):
        pack({"labels": tensor}, {"array": tensor.numpy()})
    array = np.zeros(8)
    with pytest.raises(Unsaved, match="shares memory"):
        pack({}, [array[:6], array[4:]])
