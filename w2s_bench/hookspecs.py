"""Every hook of w2s_bench, one line each: the API index. Shapes: S supervisors, N examples, C classes, B batch.

Registration and observation hooks are implemented by plugin modules; mitigation hooks by the mitigation's class.
`combines` says how several mitigations meet on one hook: `one` claim plus wrappers, a `chain`, or a `product`.
"""

# mypy: disable-error-code="empty-body"
from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from w2s_bench import hookspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from click import Group
    from torch import Tensor

    from w2s_bench import events
    from w2s_bench.interfaces import Inputs, Round
    from w2s_bench.training.batches import Batch
    from w2s_bench.training.pool import Pool

    Register = Callable[..., None]
    """`register(name, cls, **options)`; for metrics and suites `register(name, function or path)`."""


class TrainableStudent(Protocol):
    """A student in a loop of a mitigation's own: what `training.step.TrainableStudent` offers there."""

    def losses(self, batch: Batch, progress: float, params: dict[str, Tensor] | None = None) -> Tensor:
        """Returns losses [B] of targets that the stack decides, with these weights in place of the student's."""

    def logits_of(self, batch: Batch, params: dict[str, Tensor] | None = None) -> Tensor:
        """Returns logits [B, C] of a batch."""

    def step(self, losses: Tensor, batch: Batch, chosen: Tensor | None = None) -> None:
        """Takes one optimiser step down the weighted mean."""

    def predict(self, inputs: Inputs) -> Tensor:
        """Returns probabilities [N, C] on the CPU."""


class Problem(Protocol):
    """One round's training, as a loop of a mitigation's own gets it: what `training.loop.Problem` offers."""

    pool: Pool
    labels: Tensor
    """[N, C], after all revisions."""
    weights: Tensor
    """[N]; 0 leaves an example out."""

    @property
    def steps(self) -> int:
        """Optimiser steps of the round."""

    def new_student(self) -> TrainableStudent:
        """Returns a student to train; a second call gives a twin, with other initial weights."""

    def batches(self) -> Iterator[tuple[Batch, float]]:
        """Yields (batch, progress) for every step, ordered and changed by the stack."""


# --- registration: `register(name, cls, **options)` names a plugin, with options that differ from its defaults


@hookspec
def register_tasks(register: Register) -> None:
    """Calls `register` for each task (see `interfaces.Task`)."""


@hookspec
def register_supervisors(register: Register) -> None:
    """Calls `register` for each supervisor (see `interfaces.Supervisor`)."""


@hookspec
def register_students(register: Register) -> None:
    """Calls `register` for each student (see `interfaces.Student`)."""


@hookspec
def register_mitigations(register: Register) -> None:
    """Calls `register` for each mitigation (see `interfaces.Mitigation`)."""


@hookspec
def register_metrics(register: Register) -> None:
    """Calls `register(name, function)`; function(probabilities [N, C], truth [N]) returns a float."""


@hookspec
def register_suites(register: Register) -> None:
    """Calls `register(name, path)` with the YAML file of a suite."""


@hookspec
def register_commands(cli: Group) -> None:
    """Adds verbs to the `w2s` click group."""


# --- mitigation, in the order in which they are asked


@hookspec(firstresult=True)
def combine_votes(votes: Tensor, pool: Pool) -> Tensor:
    """Returns labels [N, C] from votes [S, N, C] (NaN rows abstain); combines: one; default: the first supervisor."""


@hookspec(firstresult=True)
def plan_rounds(students: Sequence[str], pool: Pool) -> list[Round]:
    """Returns a list of `Round`s over the names in `students`; combines: one; default: one round, `strong`."""


@hookspec
def revise_labels(labels: Tensor, pool: Pool, round_plan: Round) -> Tensor | None:
    """Returns labels [N, C], or None for unchanged; combines: chain."""


@hookspec
def weigh_examples(labels: Tensor, pool: Pool, round_plan: Round) -> Tensor:
    """Returns weights [N] >= 0, 0 leaves an example out; combines: product; default: ones."""


@hookspec(firstresult=True)
def order_examples(
    labels: Tensor, weights: Tensor, pool: Pool, round_plan: Round, epoch: int, progress: float
) -> Tensor:
    """Returns indices [any number] for one pass; combines: one; default: a seeded shuffle in length buckets."""


@hookspec(firstresult=True)
def fit_student(problem: Problem) -> TrainableStudent:
    """Returns a fitted student made by `problem.new_student()`; combines: one; default: Lightning loop."""


@hookspec
def training_batch(batch: Batch, progress: float) -> Batch | None:
    """Returns a batch made from this one, or None for unchanged; combines: chain."""


@hookspec(firstresult=True)
def training_targets(batch: Batch, logits: Tensor, progress: float) -> Tensor:
    """Returns target probabilities [B, C]; combines: one; default: the batch's labels."""


@hookspec(firstresult=True)
def training_loss(batch: Batch, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
    """Returns losses [B]; combines: one; default: cross-entropy of logits [B, C] against targets [B, C]."""


# --- observation: one frozen dataclass each (see `events.py`); an exception here is a warning


@hookspec
def run_started(event: events.RunStarted) -> None:
    """Sees a plan before its first stage (`events.RunStarted`)."""


@hookspec
def stage_finished(event: events.StageFinished) -> None:
    """Sees each finished stage, cached ones too (`events.StageFinished`)."""


@hookspec
def run_finished(event: events.RunFinished) -> None:
    """Sees the counts after the last cell (`events.RunFinished`)."""


@hookspec
def run_failed(event: events.RunFailed) -> None:
    """Sees each cell that failed or timed out, with its reason (`events.RunFailed`)."""
