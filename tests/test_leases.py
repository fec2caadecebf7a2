"""One cache and one store for many machines: who does what, however machines die, and nothing twice to its end."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.machines import Clock, Machine

from w2s_bench.errors import W2SError
from w2s_bench.referee import leases
from w2s_bench.referee.leases import EXPIRES_S, RENEWED_S, Lease, Watch


@pytest.fixture
def pair(tmp_path):
    clock = Clock()
    return Machine(tmp_path, "a", clock), Machine(tmp_path, "b", clock), clock


def test_what_is_claimed_is_taken_over_when_its_lease_has_expired_and_not_before(pair):
    a, b, clock = pair
    assert a.claims.take("work") and not b.claims.take("work")
    for _ in range(100):  # as long as it is renewed
        clock.now += 10
        a.renew()
        assert not b.claims.take("work")
    silent = clock.now
    while not b.claims.take("work"):
        clock.now += 5
    assert EXPIRES_S < clock.now - silent <= EXPIRES_S + 10
    assert b.claims.has("work") and not a.claims.has("work")
    a.claims.drop("work")  # it comes back, and lets go of what it no longer has
    assert b.claims.has("work") and not a.claims.take("work")


def test_what_is_dropped_is_free_and_what_is_done_leaves_nothing(pair):
    a, b, _ = pair
    assert a.claims.take("work")
    a.claims.drop("work")
    assert b.claims.take("work") and not a.claims.take("work")
    b.claims.forget("work")
    assert list(b.claims.folder.iterdir()) == []
    a.lease.unlink()  # its sweep has ended
    assert a.claims.take("more") and b.claims.take("more")


def test_clocks_of_machines_are_not_compared(pair):
    """Renewed at times that are far off, in either direction, or go back: only whether they change counts."""
    a, b, clock = pair
    assert a.claims.take("work")
    for stamp in [10**18 * k for k in (4, 1, 3, 2)] * 10:
        clock.now += RENEWED_S
        os.utime(a.lease, ns=(stamp, stamp))
        assert not b.claims.take("work")


def test_who_was_away_takes_nothing_over_at_once(pair):
    """The watcher was suspended, or the file server away for both: an hour without a look says nothing."""
    a, b, clock = pair
    assert a.claims.take("work") and not b.claims.take("work")
    for _ in range(int(EXPIRES_S / RENEWED_S)):
        clock.now += 3600
        assert not b.claims.take("work")
    clock.now += 3600
    assert b.claims.take("work")


def test_of_two_takers_at_once_one_gets_it(tmp_path):
    """The second takes over between the look of the first at the dead owner's lease and its own claim."""
    dead, a, b = (Machine(tmp_path, name) for name in ("dead", "a", "b"))
    assert dead.claims.take("work")
    for k in range(int(EXPIRES_S) + 2):
        for one in (a, b):
            one.clock.now = float(k)
            one.watch.is_dead(dead.lease)
    taken = []
    a.clock.now += 10
    a.clock.then = lambda: taken.append(b.claims.take("work"))
    assert [a.claims.take("work"), *taken] == [False, True]
    assert b.claims.has("work") and not a.claims.has("work")


def test_of_many_takers_at_once_one_gets_it(tmp_path):
    machines = [Machine(tmp_path, f"m{k}") for k in range(6)]
    start_together = threading.Barrier(len(machines))
    won: dict[str, list[str]] = {}

    def take_all(one):
        for k in range(60):
            start_together.wait()
            if one.claims.take(f"work{k}"):
                won.setdefault(f"work{k}", []).append(one.claims.owner)

    threads = [threading.Thread(target=take_all, args=(one,)) for one in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(owners) for owners in won.values()] == [1] * 60
    assert all(sum(m.claims.has(work) for m in machines) == 1 for work in won)


MEMORY = "/dev/shm"
"""No other work on the disk holds thousands of small files up there."""


class Claiming(RuleBasedStateMachine):
    """Three machines and two pieces of work, in whatever order things happen."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None)
        root = Path(self.folder.name)
        self.clock = Clock()
        self.machines = {name: Machine(root, name, self.clock) for name in "abc"}
        self.living = set("abc")
        self.owners: dict[str, str] = {}
        """Of each piece of work, who has it as far as this test knows."""
        self.silent_s = dict.fromkeys("abc", 0.0)

    def teardown(self):
        self.folder.cleanup()

    @rule(name=st.sampled_from("abc"), work=st.sampled_from(["x", "y"]))
    def take(self, name, work):
        if name not in self.living or self.owners.get(work) == name:
            return
        before = self.owners.get(work)
        if self.machines[name].claims.take(work):
            assert before is None or (before not in self.living and self.silent_s[before] > EXPIRES_S)
            self.owners[work] = name
        else:
            assert before is not None

    @rule(work=st.sampled_from(["x", "y"]), done=st.booleans())
    def end(self, work, done):
        owner = self.owners.get(work)
        if owner in self.living:
            claims = self.machines[owner].claims
            (claims.forget if done else claims.drop)(work)
            del self.owners[work]

    @precondition(lambda self: len(self.living) > 1)
    @rule(name=st.sampled_from("abc"))
    def die(self, name):
        self.living.discard(name)

    @rule(steps=st.integers(1, 14))
    def wait(self, steps):
        for _ in range(steps):
            self.clock.now += RENEWED_S - 1
            for name, one in self.machines.items():
                if name in self.living:
                    one.renew()
                    for other in self.machines.values():
                        one.watch.is_dead(other.lease)
                else:
                    self.silent_s[name] += RENEWED_S - 1

    @invariant()
    def nobody_that_lives_loses_its_work_and_no_two_have_it(self):
        for work in ("x", "y"):
            having = [name for name, one in self.machines.items() if one.claims.has(work)]
            assert having == [self.owners[work]] if work in self.owners else having == []


TestClaiming = Claiming.TestCase
TestClaiming.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_what_is_damaged_has_no_owner(pair):
    a, b, clock = pair
    place = a.claims.folder / "work"
    for damage in ("", "../a", "*", "\x00", "folder"):
        place.mkdir()
        (place / "1").mkdir() if damage == "folder" else (place / "1").write_text(damage)
        assert a.claims.take("work"), damage
        assert not b.claims.take("work")
        a.claims.forget("work")
    assert a.claims.take("work")
    a.lease.write_text("no lease")
    waited = 0
    while not b.claims.take("work"):
        clock.now += RENEWED_S
        waited += RENEWED_S
    assert waited > EXPIRES_S


def test_a_server_that_loses_its_answer(pair, monkeypatch):
    a, b, _ = pair
    link = os.link

    def repeated(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", repeated)
    assert a.claims.take("work") and a.claims.has("work") and not b.claims.take("work")


def test_a_file_system_without_links(pair, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(W2SError, match="its file system has no hard links, by which work is claimed; give another"):
        pair[0].claims.take("work")


def test_a_lease_is_renewed_while_its_owner_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEWED_S", 0.05)
    lease = Lease(tmp_path / "owners" / "a", tmp_path)

    def busy_until(changed):
        deadline = time.monotonic() + 30
        while not changed():
            assert time.monotonic() < deadline

    stamp = lease.file.stat().st_mtime_ns
    busy_until(lambda: lease.file.stat().st_mtime_ns != stamp)
    lease.file.unlink()
    busy_until(lease.file.exists)
    assert not Watch().is_dead(lease.file)
    lease.end()
    assert not lease.file.exists() and Watch().is_dead(lease.file)
