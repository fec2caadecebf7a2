"""The split rule: its promises as properties, its documented shares, its errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2s_bench.errors import UsageError
from w2s_bench.interfaces import SPLITS, Sizes
from w2s_bench.splitting import SHARES, shrink, split_examples

SMALL = Sizes(n_supervision=20, n_transfer=20, n_validation=6, n_test=20)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**31 - 1),
    n=st.integers(40, 300),
    n_classes=st.integers(2, 4),
    per_group=st.integers(1, 4),
    fixed=st.booleans(),
    balance=st.booleans(),
    sizes=st.builds(Sizes, *[st.integers(4, 80)] * 4),
)
def test_splits_keep_their_promises(seed, n, n_classes, per_group, fixed, balance, sizes):
    draw = np.random.default_rng(seed)
    truth = np.r_[np.arange(n_classes).repeat(4 * per_group), draw.integers(0, n_classes, n)]
    group = [f"g{i // per_group}" for i in draw.permutation(len(truth))]
    in_test = np.array([int(g[1:]) % 3 == 0 for g in group]) if fixed else None
    try:
        splits = split_examples(truth, sizes, seed, group=group, in_test=in_test, balance=balance)
    except UsageError as error:
        assert "would be empty" in str(error)  # few, large groups of the wrong classes
        return
    assert set(splits) == set(SPLITS)
    everything = np.concatenate(list(splits.values()))
    assert len(everything) == len(set(everything.tolist()))
    owner = {}
    for name, at in splits.items():
        assert 0 < len(at) <= getattr(sizes, f"n_{name}")
        assert all(owner.setdefault(group[i], name) == name for i in at)
        if balance:
            assert len(set(np.bincount(truth[at], minlength=n_classes))) == 1
        if fixed:
            assert (in_test[at] == (name == "test")).all()
    again = split_examples(truth, sizes, seed, group=group, in_test=in_test, balance=balance)
    assert all((splits[s] == again[s]).all() for s in SPLITS)
    other = split_examples(truth, sizes, seed + 1, group=group, in_test=in_test, balance=balance)
    assert (other["test"].tolist() == splits["test"].tolist()) or not fixed


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 5000), min_size=4, max_size=4), available=st.integers(13, 20000))
def test_shrinking_shares_what_there_is(sizes, available):
    wanted = dict(zip(SPLITS, sizes, strict=True))
    got = shrink(wanted, available)
    assert sum(got.values()) <= available
    assert all(1 <= got[s] <= wanted[s] for s in SPLITS)
    if sum(sizes) <= available:
        assert got == wanted
    elif got["supervision"] < wanted["supervision"] and got["transfer"] < wanted["transfer"]:
        assert got["supervision"] == got["transfer"]


def test_asked_sizes_are_met_exactly_where_data_suffices():
    truth = np.arange(1000) % 2
    splits = split_examples(truth, Sizes(300, 300, 100, 300), seed=1)
    assert {s: len(at) for s, at in splits.items()} == dict(zip(SPLITS, (300, 300, 100, 300), strict=True))


def test_too_little_data_is_shared_as_documented():
    splits = split_examples(np.arange(500) % 2, Sizes(), seed=1)
    assert {s: len(at) for s, at in splits.items()} == {s: 20 * SHARES[s] for s in SPLITS}


def test_order_within_a_split_does_not_follow_the_class():
    truth = np.arange(4000) // 2000
    at = split_examples(truth, Sizes(1000, 1000, 10, 1000), seed=3)["transfer"]
    runs = 1 + np.count_nonzero(np.diff(truth[at]))
    assert 400 < runs < 600  # 2 where sorted, 1000 where alternating


def test_a_seed_changes_the_draw():
    truth = np.arange(1000) % 2
    first, second = (set(split_examples(truth, Sizes(300, 300, 100, 300), seed)["transfer"]) for seed in (0, 1))
    assert 40 < len(first & second) < 140  # 90 expected


def test_a_group_across_a_given_test_split_is_named():
    with pytest.raises(UsageError, match="group 'b' has examples inside and outside"):
        split_examples(np.arange(40) % 2, SMALL, 0, group=["a"] * 19 + ["b"] * 21, in_test=np.arange(40) < 20)


@pytest.mark.parametrize(
    ("n", "sizes", "message"),
    [(6, SMALL, "would be empty"), (100, Sizes(n_validation=1), "n_validation=1: a split needs at least one example")],
)
def test_empty_splits_are_refused(n, sizes, message):
    with pytest.raises(UsageError, match=message):
        split_examples(np.arange(n) % 2, sizes, 0)
