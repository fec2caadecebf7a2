"""Every pair of mitigations composes or is refused with a reason, decided without training."""

from __future__ import annotations

import pytest

from w2s_bench.errors import UsageError
from w2s_bench.interfaces import KINDS_WITH_CLASSES
from w2s_bench.registry import load, stacking

REGISTRY = load([])
NAMES = [e.name for e in REGISTRY.entries("mitigation") if e.distribution == "w2s_bench" and e.name != "naive"]


def hooks(name):
    return stacking.implementations(REGISTRY.get("mitigation", name).cls)


def clash(first, second):
    """Returns the hooks that a pair cannot share."""
    ours, theirs = (
        {i.hook for i in hooks(n) if not i.wrapper and stacking.COMBINES[i.hook] == "one"} for n in (first, second)
    )
    shared = ours & theirs
    for owner, other in ((first, second), (second, first)):
        cls = REGISTRY.get("mitigation", owner).cls
        if any(i.hook == "fit_student" for i in hooks(owner)):
            honours = set(getattr(cls, "honours", ()))
            shared |= {i.hook for i in hooks(other) if i.hook in stacking.LOOP_HOOKS and i.hook not in honours}
    return shared


@pytest.mark.parametrize("first", NAMES)
def test_every_pair_composes_or_says_why_not(first):
    for second in NAMES:
        if second == first:
            continue
        pair = [REGISTRY.get("mitigation", n) for n in (first, second)]
        if clash(first, second):
            with pytest.raises(UsageError, match=f"(?s)'{first}'.*'{second}'|'{second}'.*'{first}'") as refused:
                stacking.check_stack(pair, 3)
            assert any(f"`{hook}`" in str(refused.value) for hook in clash(first, second))
        else:
            stacking.check_stack(pair, 3)


def test_most_pairs_compose():
    pairs = [(a, b) for a in NAMES for b in NAMES if a < b]
    composing = sum(not clash(a, b) for a, b in pairs)
    assert len(NAMES) >= 55 and composing > len(pairs) / 2
    assert clash("mean_ensemble", "dawid_skene") == {"combine_votes"} and not clash("elr", "knn_filter")
    assert set(KINDS_WITH_CLASSES) <= {"classification", "preference", "generation"}
