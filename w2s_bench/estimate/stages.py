"""From cells to lines: the stages that they share, counted without a plan, which would ask for the data itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from w2s_bench.cells import Cell, Entry, entry_recipe
from w2s_bench.errors import W2SError
from w2s_bench.estimate.machine import Machine
from w2s_bench.estimate.shape import Shape
from w2s_bench.estimate.work import Work
from w2s_bench.interfaces import Recipe, Sizes
from w2s_bench.registry import Registry
from w2s_bench.store.escape import of_error

KINDS = ("supervise", "features", "ceiling", "train")
"""In the order of the lines; `features` is what frozen networks read once, in whichever stage asks first."""
COST = re.compile(r"Cost:\s+(?:about\s+)?(\d+(?:\.\d+)?)?")
"""In a mitigation's docstring, relative to naive; without a number it depends on the options."""


@dataclass(frozen=True)
class Stage:
    """A piece of work that cells share."""

    kind: str
    role: str
    """Of its model: `supervisor` or `student`."""
    entry: Entry
    recipe: Recipe
    texts: int
    """Of an example: two in a preference task."""
    trained: int = 0
    read: int = 0
    fits: float = 1.0

    def work(self, shape: Shape) -> Work:
        """Returns what it does with a model of this shape."""
        return Work(shape, self.recipe, self.trained, self.read, self.texts, self.fits)


@dataclass
class Line:
    """The stages of one kind with one model."""

    kind: str
    model: str
    stages: int = 0
    seconds: float = 0.0
    """Of one worker."""
    memory: float = 0.0
    """Bytes, of the stage that needs most."""
    largest: Stage | None = None
    """That stage."""
    unknown: str = ""
    """Why the model's size is not known."""


@dataclass(frozen=True)
class Estimate:
    """What cells take from an empty cache, without the preparation of their data."""

    lines: list[Line]
    counted_as_one: set[str]
    """Mitigations whose docstring gives no number of fits."""

    @property
    def seconds(self) -> float:
        """Of one worker, for all stages whose models' sizes are known."""
        return sum(line.seconds for line in self.lines)

    @property
    def left_out(self) -> int:
        """Stages that no time is known of."""
        return sum(line.stages for line in self.lines if line.unknown)


def estimate(cells: Iterable[Cell], registry: Registry, machine: Machine) -> Estimate:
    """Returns what the stages of all cells take on a machine, each stage once."""
    counter = _Counter(registry)
    stages: dict[Any, Stage] = {}
    for cell in cells:
        for key, stage in counter.stages(cell):
            if key not in stages or stages[key].read < stage.read:
                stages[key] = stage
    lines: dict[tuple[str, str], Line] = {}
    for stage in stages.values():
        shape = counter.shape(stage.role, stage.entry)
        known = isinstance(shape, Shape)
        name = (shape.name if isinstance(shape, Shape) else "") or stage.entry.name
        plain = stage.recipe.tune == "full" or stage.kind == "features" or not known
        model = name if plain else f"{name}, {stage.recipe.tune}"
        line = lines.setdefault((stage.kind, model), Line(stage.kind, model))
        line.stages += 1
        if not isinstance(shape, Shape):
            line.unknown = shape
            continue
        work = stage.work(shape)
        line.seconds += work.seconds(machine)
        if (memory := work.memory) > line.memory:
            line.memory, line.largest = memory, stage
    return Estimate(sorted(lines.values(), key=lambda line: KINDS.index(line.kind)), counter.counted_as_one)


class _Counter:
    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.counted_as_one: set[str] = set()
        self._known: dict[Any, Any] = {}

    def shape(self, role: str, entry: Entry) -> Shape | str:
        """Returns what `shape_of` does; each entry is asked once."""
        return self._once(role, entry, lambda: shape_of(self.registry, role, entry))

    def _once(self, what: str, entry: Entry, make: Callable[[], Any]) -> Any:
        if (what, entry.key) not in self._known:
            self._known[what, entry.key] = make()
        return self._known[what, entry.key]

    def stages(self, cell: Cell) -> Iterator[tuple[Any, Stage]]:
        """Yields the stages of a cell, each with what equal stages share."""
        sizes = Sizes(**{name: cell.task.options[name] for name in Sizes.__dataclass_fields__})
        task = self.registry.get("task", cell.task.name)
        kind = self._once("kind", cell.task, lambda: task.kind_under(cell.task.options))
        texts = 2 if kind == "preference" else 1
        data = (cell.task.key, cell.seed)
        answered = sizes.n_transfer + sizes.n_test
        voted = answered + sizes.n_validation
        for entry in cell.supervisors:
            recipe = entry_recipe(cell.protocol.supervision, entry.options)
            stage = Stage("supervise", "supervisor", entry, recipe, texts, sizes.n_supervision, voted)
            yield from self._with_features((*data, entry.key, recipe), stage, sizes.n_supervision + voted)
        student = cell.student
        recipe = entry_recipe(cell.protocol.training, student.options)
        stage = Stage("ceiling", "student", student, recipe, texts, sizes.n_transfer, answered)
        yield from self._with_features((*data, student.key, recipe), stage, voted)
        fits = self._fits(cell.mitigations)
        yield cell.key, _under(recipe, replace(stage, kind="train", read=voted, fits=fits))
        if recipe.tune != "probe" and any("features" in self._needs(m) for m in cell.mitigations):
            frozen = Stage("features", "student", student, replace(recipe, tune="probe"), texts, read=sizes.n_transfer)
            yield ("features", *data, student.key, recipe), frozen

    def _with_features(self, key: Any, stage: Stage, read: int) -> Iterator[tuple[Any, Stage]]:
        yield (stage.kind, *key), _under(stage.recipe, stage)
        if stage.recipe.tune == "probe":
            yield ("features", stage.role, *key), replace(stage, kind="features", trained=0, read=read)

    def _needs(self, mitigation: Entry) -> Any:
        return getattr(self.registry.get("mitigation", mitigation.name).cls, "needs", ())

    def _fits(self, stack: tuple[Entry, ...]) -> float:
        """Returns how many fits of naive finetuning a stack is worth, as the docstrings of its mitigations say."""
        more = 0.0
        for entry in stack:
            cost = COST.search(self.registry.get("mitigation", entry.name).cls.__doc__ or "")
            if cost is not None and cost[1] is None:
                self.counted_as_one.add(entry.name)
            more += float(cost[1]) - 1.0 if cost and cost[1] else 0.0
        return max(0.0, 1.0 + more)


def _under(recipe: Recipe, stage: Stage) -> Stage:
    """Returns a stage as it reads: a probe's texts were read for its features."""
    return replace(stage, read=0) if recipe.tune == "probe" else stage


def shape_of(registry: Registry, role: str, entry: Entry) -> Shape | str:
    """Returns the shape of a supervisor's or student's network, or why it is not known."""
    try:
        plugin = registry.get(role, entry.name).build(entry.options)
        if not hasattr(plugin, "shape"):
            return f"{role} {entry.name} has no method shape()"
        shape = plugin.shape()
    except Exception as error:  # no network, no such folder, a plugin's own: the other lines go on
        return f"{role} {entry.name}: {error if isinstance(error, W2SError) else of_error(error)}"
    return shape if isinstance(shape, Shape) else f"{role} {entry.name}: shape() gave {type(shape).__name__}, no Shape"
