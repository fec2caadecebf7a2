"""Twins begin with what a mitigation noted about labels and weights, and share nothing after that."""

from support import bench

from w2s_bench import hookimpl
from w2s_bench.plugins.mitigations.co_teaching import CoTeaching


class Notes:
    """Notes the labels in `weigh_examples` and counts its own losses."""

    seen: list = []  # noqa: RUF012

    @hookimpl
    def weigh_examples(self, labels):
        self.noted, self.calls = labels.sum(), 0
        return labels.new_ones(len(labels))

    @hookimpl(wrapper=True)
    def training_loss(self, batch):
        losses = yield
        self.calls += 1
        Notes.seen.append((id(self), float(self.noted), self.calls, batch.rng is not None))
        return losses


def test_a_twin_has_the_notes_and_its_own_state():
    Notes.seen.clear()
    members = [("notes", Notes), ("co_teaching", lambda: CoTeaching(CoTeaching.Options()))]
    bench.student_of(members, [bench.supervisor(0, flips=0.2)])
    objects = {i for i, *_ in Notes.seen}
    assert len(objects) == 2
    for one in objects:
        calls = [c for i, _, c, _ in Notes.seen if i == one]
        assert calls == list(range(1, len(calls) + 1)), "the twins share a counter"
    assert len({n for _, n, _, _ in Notes.seen}) == 1
    assert all(has_rng for *_, has_rng in Notes.seen)
