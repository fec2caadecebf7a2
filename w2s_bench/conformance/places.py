"""Where supervisors and students are tried: of each kind of task that they serve, the first whose texts they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from w2s_bench.conformance.findings import Failed, Skipped
from w2s_bench.conformance.general import Subject as Entry
from w2s_bench.conformance.toy_kinds import toys_of
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import KINDS_WITH_CLASSES, TASK_KINDS, Recipe, Sizes, Split, TaskInfo
from w2s_bench.registry import Registration

SIZES = Sizes(n_supervision=96, n_transfer=48, n_validation=24, n_test=48)
RECIPE = Recipe(body_lr=1e-3, head_lr=1e-2, batch_size=16)
SEED = 3


@dataclass(frozen=True)
class Place:
    """A task that is at hand, loaded."""

    task: TaskInfo
    splits: dict[str, Split]


@dataclass
class Placed(Entry):
    """A supervisor or student on one kind of task, with the tasks that it may be tried on."""

    kind_of_task: str = "classification"
    first: bool = True
    """No other kind of task was tried before."""
    task: str | None = None
    """The one that the user named."""
    tasks: dict[str, Registration] = field(default_factory=dict)
    """All that are known: those of the target itself, and those that are installed."""

    def places(self) -> Iterator[Place]:
        """Yields the task that was named; else those of the same module, the toy task, those of the distribution."""
        if self.task:
            yield _loaded(self.task, self.tasks[self.task].build())
            return
        known = list(self.tasks.values())
        module = self.entry.module.removeprefix("w2s_file_")
        same_module = [t for t in known if t.module.removeprefix("w2s_file_") == module]
        beside = [t for t in known if t.distribution == self.entry.distribution and t not in same_module]
        makers: list[tuple[str, Callable[[], Any]]] = [(t.name, t.build) for t in same_module]
        makers += [("toy", toys_of(self.kind_of_task).task), *((t.name, t.build) for t in beside)]
        for name, make in makers:
            try:
                task = make()
            except UsageError:  # one that needs an option, such as a file
                continue
            if task.kind == self.kind_of_task:
                yield _loaded(name, task)

    @property
    def brings_tasks(self) -> bool:
        """Whether its own module brings tasks, so that it need not read the texts of others."""
        module = self.entry.module.removeprefix("w2s_file_")
        return any(t.module.removeprefix("w2s_file_") == module for t in self.tasks.values())

    def first_that_reads(self, trying: Any) -> Any:
        """Returns what `trying(place)` returns at the first place that it does not decline with a UsageError."""
        declined: UsageError | None = None
        for place in self.places():
            try:
                return trying(place)
            except UsageError as error:
                declined = declined or error
            except Exception as error:
                if self.task or place.task.name != "toy":
                    raise
                what = f"{type(error).__name__}: {' '.join(str(error).split())}"
                remedy = f"name a {self.kind_of_task} task whose texts it reads: --task NAME"
                if not self.first and self.brings_tasks:
                    raise Skipped(f"no {self.kind_of_task} task is at hand whose texts it reads; {remedy}") from error
                raise Failed(
                    f"on the toy task (`{place.splits['test'].inputs.text[0]}`) it raised {what}",
                    remedy if self.first else f"{remedy}; or leave {self.kind_of_task} out of its `kinds`",
                ) from error
        raise declined or UsageError("no task is at hand that loads without options; name one: --task NAME")


def kinds_served(entry: Registration) -> list[str]:
    """Returns the kinds of task that an entry serves."""
    served = getattr(entry.cls, "kinds", KINDS_WITH_CLASSES)
    return [kind for kind in TASK_KINDS if kind in served]


def _loaded(name: str, task: Any) -> Place:
    names, splits = task.load(0, SIZES)
    return Place(TaskInfo(name, task.kind, len(names), [str(n) for n in names]), splits)
