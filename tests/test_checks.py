"""Checks that an accelerator puts off: what they find is raised when they are settled, in their order."""

from __future__ import annotations

import pytest
import torch
from support.bench import student_of, supervisor

from w2s_bench import hookimpl
from w2s_bench.errors import W2SError
from w2s_bench.training import checks


def failing(what: str):
    return lambda: W2SError(what)


@pytest.fixture
def far(monkeypatch):
    """Values seem to be on an accelerator."""
    monkeypatch.setattr(checks, "known_at_once", lambda _: False)


def test_on_the_cpu_a_check_is_made_at_once():
    checks.demand(torch.tensor(True), failing("never"))
    with pytest.raises(W2SError, match="now"):
        checks.demand(torch.tensor(False), failing("now"))


def test_put_off_checks_raise_the_first_error_when_they_are_settled(far):
    for name, good in (("a", True), ("b", False), ("c", False)):
        checks.demand(torch.tensor(good), failing(name))
    with pytest.raises(W2SError, match=r"^b$"):
        checks.settle()
    checks.settle()  # nothing is left over for the next fit


def test_no_more_than_so_many_are_put_off(far):
    checks.demand(torch.tensor(False), failing("long ago"))
    with pytest.raises(W2SError, match="long ago"):
        for _ in range(checks.AT_MOST):
            checks.demand(torch.tensor(True), failing("never"))


def test_a_fit_ends_with_its_checks(far):
    class Spoilt:
        @hookimpl
        def training_loss(self, batch, logits, targets, progress):
            return logits.sum(-1) * float("nan")

    with pytest.raises(W2SError, match=r"spoilt: training_loss returned losses that are not finite"):
        student_of([("spoilt", Spoilt)], [supervisor()])
