"""Where supervisors and students are tried: the first task whose texts they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from w2s_bench.conformance.findings import Failed
from w2s_bench.conformance.general import Subject as Entry
from w2s_bench.conformance.toy import ToyTask
from w2s_bench.errors import UsageError
from w2s_bench.interfaces import Recipe, Sizes, Split, TaskInfo

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
    """A supervisor or student, with the tasks that it may be tried on."""

    task: str | None = None
    """The one that the user named."""

    def places(self) -> Iterator[Place]:
        """Yields the task that was named; else those of the same module, the toy task, those of the distribution."""
        if self.task:
            yield _loaded(self.task, self.registry.get("task", self.task).build())
            return
        known = self.registry.entries("task")
        own = [t for t in known if t.module.removeprefix("w2s_file_") == self.entry.module.removeprefix("w2s_file_")]
        beside = [t for t in known if t.distribution == self.entry.distribution and t not in own]
        makers: list[tuple[str, Callable[[], Any]]] = [(t.name, t.build) for t in own]
        makers += [("toy", ToyTask), *((t.name, t.build) for t in beside)]
        for name, make in makers:
            try:
                yield _loaded(name, make())
            except UsageError:  # one that needs an option, such as a file
                continue

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
                raise Failed(
                    f"on the toy task (`{place.splits['test'].inputs.text[0]}`) it raised "
                    f"{type(error).__name__}: {' '.join(str(error).split())}",
                    "name a task whose texts it reads: --task NAME",
                ) from error
        raise declined or UsageError("no task is at hand that loads without options; name one: --task NAME")


def _loaded(name: str, task: Any) -> Place:
    names, splits = task.load(0, SIZES)
    return Place(TaskInfo(name, task.kind, len(names), [str(n) for n in names]), splits)
