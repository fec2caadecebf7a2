"""Two students who pick each other's clean examples."""

from dataclasses import dataclass

from w2s_bench import hookimpl
from w2s_bench.interfaces import TASK_KINDS


class CoTeaching:
    """A student taught on the examples that its twin finds easy, and the other way round.

    Source: Han et al. 2018, arXiv 1804.06872, algorithm 1. Formula: in each batch, each twin steps on the share
    R(t) with the smallest loss under the other, R(t) = 1 - min(t / ramp, 1) `forget_rate`. Defaults: .2, the noise
    rate of their symmetric case, and a ramp over the first tenth. The first twin is the result. Cost: 2.
    """

    source = "Han et al. 2018, arXiv 1804.06872"
    search = {"forget_rate": [0.1, 0.2, 0.3, 0.4], "ramp": [0.1, 0.3]}
    kinds = frozenset(TASK_KINDS)
    honours = frozenset({"order_examples", "training_batch", "training_targets", "training_loss"})

    @dataclass
    class Options:
        forget_rate: float = 0.2
        """Share of each batch that is dropped after the ramp: the guessed share of wrong labels."""
        ramp: float = 0.1
        """Share of the training over which the dropped share rises from 0."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def fit_student(self, problem):
        """Returns the first of the twins."""
        first, second = problem.new_student(), problem.new_student()
        for batch, progress in problem.batches():
            ours, theirs = first.losses(batch, progress), second.losses(batch, progress)
            forget = self.options.forget_rate * min(1.0, progress / self.options.ramp if self.options.ramp else 1.0)
            kept = max(1, round((1 - forget) * len(ours)))
            easy_for_second = theirs.detach().argsort(stable=True)[:kept]
            easy_for_first = ours.detach().argsort(stable=True)[:kept]
            first.step(ours, batch, easy_for_second)
            second.step(theirs, batch, easy_for_first)
        return first


@hookimpl
def register_mitigations(register):
    register("co_teaching", CoTeaching)
