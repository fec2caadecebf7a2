"""From cells to the unique stages that they share, in dependency order. No torch, no work: only names and digests.

    prepare    the task's four splits                           per task, split seed and secret
    supervise  a supervisor fitted, and its votes               per prepare and supervisor
    ceiling    the student trained on the transfer truth        per prepare and student
    train      the student trained on votes, and predictions    per cell

A digest is made of all that determines a stage's result and of nothing else: hardware, engine and the names that
entries go by are not in it, so equal work is done once whatever it is called. Records do carry names, so a record's
digest has them too.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from w2s_bench import __version__, splitting
from w2s_bench.cells import PROTOCOL_VERSION, Cell, Entry, Protocol, digest, entry_recipe
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Recipe, Sizes, TaskOptions
from w2s_bench.seeds import derive
from w2s_bench.store.escape import of_error
from w2s_bench.store.paths import strip_local_paths

SCHEMA = 1
"""Of the record (see the contract); part of a record's digest."""

STAGE_KINDS = ("prepare", "supervise", "ceiling", "train")
"""Stages, each after all that it may need."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A piece of work that cells share."""

    kind: str
    digest: str
    needs: tuple[str, ...]
    """Digests of the stages before it; train: prepare, then one supervise for each supervisor."""
    label: str
    """For people."""
    task: Entry
    seed: int
    """Of the split, the supervisor or the student."""
    entry: Entry
    """The task, the supervisor or the student."""
    recipe: Recipe = field(default_factory=Recipe)
    mitigations: tuple[Entry, ...] = ()
    supervisors: tuple[Entry, ...] = ()
    intermediate: dict[str, Entry] = field(default_factory=dict)
    supervision: Recipe = field(default_factory=Recipe)
    students: dict[str, str] = field(default_factory=dict)
    """ceiling, train: by name (`strong` or an intermediate's), digests of the students that every seed loads alike."""
    truth: tuple[int, bool] = (0, False)
    """How many examples of the supervision split it gets with truth; whether that of transfer (supervise: of all)."""
    fingerprint: str = ""
    """prepare: what the task called its data when this was planned."""
    key: str = ""
    """prepare, with a secret: see `Secret.draws_of`."""


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell with the digests of its record and of its stages."""

    cell: Cell
    digest: str
    prepare: str
    supervise: tuple[str, ...]
    ceiling: str
    train: str
    command: str
    settings: dict[str, Any]
    """The protocol's settings, sizes included."""
    protocol: str
    """Their digest."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Returns the digests of all stages that the cell needs, each after those before it."""
        return (self.prepare, *self.supervise, self.ceiling, self.train)


@dataclass(frozen=True)
class Plan:
    """The union of the stages of all cells; equal cells are in it once."""

    stages: dict[str, Stage]
    """By digest, in dependency order."""
    cells: list[PlannedCell]


def sizes_of(options: dict[str, Any]) -> Sizes:
    """Returns the split sizes among a task's options."""
    return Sizes(**{k: options[k] for k in asdict(Sizes()) if k in options})


def training_source() -> str:
    """Returns the digest of the code that turns votes into predictions."""
    return _source(*(Path(__file__).parents[1] / "training").glob("*.py"))


def splitting_source() -> str:
    """Returns the digest of the split rule that tasks share."""
    return _source(Path(splitting.__file__))


def _source(*files: Path) -> str:
    sha = hashlib.sha256(__version__.encode())
    for path in sorted(files):
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()[:32]


def plan_cells(cells: Sequence[Cell], registry: Any, commands: Sequence[str] = ()) -> Plan:
    """Returns the plan of all cells; `registry` is `plugins.load(...)`, `commands` has one for each cell or none."""
    return _Planner(registry).plan(cells, commands)


class _Planner:
    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self.source = training_source()
        self.splitting = splitting_source()
        self.stages: dict[str, dict[str, Stage]] = {kind: {} for kind in STAGE_KINDS}
        self._known: dict[Any, Any] = {}

    def plan(self, cells: Sequence[Cell], commands: Sequence[str]) -> Plan:
        planned: dict[str, PlannedCell] = {}
        for index, cell in enumerate(cells):
            one = self._cell(cell, commands[index] if index < len(commands) else "")
            planned.setdefault(one.digest, one)
        stages = {digest: stage for kind in STAGE_KINDS for digest, stage in self.stages[kind].items()}
        return Plan(stages, list(planned.values()))

    def _once(self, what: str, *subjects: Any, make: Callable[[], Any]) -> Any:
        """Returns what `make` does; cells share entries and protocols, and each is looked into once."""
        key = (what, *(s.key if isinstance(s, Entry | Protocol) else s for s in subjects))
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _identity(self, kind: str, entry: Entry) -> dict[str, Any]:
        return self._once(kind, entry, make=lambda: self._look_into(kind, entry))

    def _look_into(self, kind: str, entry: Entry) -> dict[str, Any]:
        registration = self.registry.get(kind, entry.name)
        fingerprint = None
        if kind != "mitigation":
            try:
                ask = getattr(registration.build(entry.options), "fingerprint", None)
                fingerprint = None if ask is None else str(ask())
            except W2SError:
                raise
            except Exception as error:
                raise W2SError(
                    f"{kind} {entry.name!r} ({registration.distribution}) could not say what its data is: "
                    f"fingerprint() raised {of_error(error)}"
                ) from error
        return {
            "plugin": registration.cls.__qualname__,
            "source": registration.source_sha256,
            "fingerprint": fingerprint,
            # a fingerprint tells the content, so where the content lies does not matter
            "options": entry.options if fingerprint is None else strip_local_paths(entry.options),
        }

    def _public(self, entry: Entry) -> dict[str, Any]:
        return self._once("public", entry, make=lambda: strip_local_paths(entry.flat()))

    def _cell(self, cell: Cell, command: str) -> PlannedCell:
        protocol = cell.protocol
        student_options = cell.student.options
        prepare = self._prepare(cell)
        supervise = tuple(self._supervise(cell, entry, prepare) for entry in cell.supervisors)
        seed = derive(cell.seed, "student", int(student_options.get("replicate", 0)))
        recipe = self._once(
            "recipe", protocol, cell.student, make=lambda: entry_recipe(protocol.training, student_options)
        )
        ceiling = self._ceiling(cell, prepare, seed, recipe)
        train = self._train(cell, prepare, supervise, seed, recipe)
        settings, follows = self._once("settings", protocol, cell.task, cell.drawn_with, make=lambda: _settings(cell))
        entries = (cell.task, *cell.supervisors, cell.student, *cell.mitigations)
        record = digest(
            {
                "schema": SCHEMA,
                "metric": protocol.metric,
                "stages": [*supervise, ceiling, train],
                "cell": [*map(self._public, entries), cell.seed],
                **({"tuned": [cell.tuning["rule"], cell.tuning["seeds"]]} if cell.tuning else {}),
            }
        )
        return PlannedCell(cell, record, prepare, supervise, ceiling, train, command, settings, follows)

    def _prepare(self, cell: Cell) -> str:
        def make() -> str:
            identity, seed, key = self._identity("task", cell.task), derive(cell.seed, "split"), ""
            data = strip_local_paths(identity["fingerprint"])
            made_of = {"protocol": PROTOCOL_VERSION, "task": identity, "seed": seed, "splitting": self.splitting}
            if cell.secret:  # its fingerprint, not the seed that it gives: digests are published
                made_of["secret"] = cell.secret.fingerprint
                seed, key = cell.secret.draws_of(identity["plugin"], data, seed)
            label = f"prepare {cell.task.name}, seed {cell.seed}"
            place, task = digest(made_of), cell.task
            return self._add(Stage("prepare", place, (), label, task, seed, task, fingerprint=data, key=key))

        return self._once("prepare", cell.task, cell.seed, cell.drawn_with, make=make)

    def _supervise(self, cell: Cell, entry: Entry, prepare: str) -> str:
        def make() -> str:
            seed = derive(cell.seed, "supervisor")
            recipe = cell.protocol.supervision
            key = digest(
                {
                    "prepare": prepare,
                    "supervisor": self._identity("supervisor", entry),
                    "seed": seed,
                    "recipe": _as_dict(recipe),
                    "training": self.source,
                }
            )
            label = f"supervise {cell.task.name}: {entry.name}, seed {cell.seed}"
            sees = (0, "truth" in getattr(self.registry.get("supervisor", entry.name).cls, "needs", ()))
            return self._add(Stage("supervise", key, (prepare,), label, cell.task, seed, entry, recipe, truth=sees))

        return self._once("supervise", prepare, entry, cell.protocol, cell.seed, make=make)

    def _ceiling(self, cell: Cell, prepare: str, seed: int, recipe: Recipe) -> str:
        def make() -> str:
            key = digest({"stage": "ceiling", **self._student(cell, prepare, seed, recipe)})
            label = f"ceiling {cell.task.name}: {cell.student.name}, seed {cell.seed}"
            students = self._pretrained(cell.student)
            return self._add(
                Stage("ceiling", key, (prepare,), label, cell.task, seed, cell.student, recipe, students=students)
            )

        return self._once("ceiling", prepare, cell.student, cell.protocol, seed, make=make)

    def _train(self, cell: Cell, prepare: str, supervise: tuple[str, ...], seed: int, recipe: Recipe) -> str:
        # A mitigation's name seeds its random generator and an intermediate's is what rounds call it by.
        key = digest(
            {
                "stage": "train",
                **self._student(cell, prepare, seed, recipe),
                "supervise": supervise,
                "supervision": _as_dict(cell.protocol.supervision),
                "mitigations": [{"name": m.name, **self._identity("mitigation", m)} for m in cell.mitigations],
                "intermediate": {k: self._identity("student", e) for k, e in cell.intermediate.items()},
            }
        )
        return self._add(
            Stage(
                "train", key, (prepare, *supervise), cell.label(), cell.task, seed, cell.student, recipe,
                cell.mitigations, cell.supervisors, cell.intermediate, cell.protocol.supervision,
                self._pretrained(cell.student, **cell.intermediate), self._truth(cell),
            )
        )  # fmt: skip

    def _student(self, cell: Cell, prepare: str, seed: int, recipe: Recipe) -> dict[str, Any]:
        return {
            "prepare": prepare,
            "student": self._identity("student", cell.student),
            "seed": seed,
            "recipe": _as_dict(recipe),
            "training": self.source,
        }

    def _truth(self, cell: Cell) -> tuple[int, bool]:
        needs = {n for m in cell.mitigations for n in getattr(self.registry.get("mitigation", m.name).cls, "needs", ())}
        return int(cell.task.options.get("n_gold", 0)) if "ground_truth" in needs else 0, "transfer_truth" in needs

    def _pretrained(self, strong: Entry, **intermediate: Entry) -> dict[str, str]:
        return {
            name: digest(identity)
            for name, entry in {"strong": strong, **intermediate}.items()
            if getattr(self.registry.get("student", entry.name).cls, "pretrained", False)
            and (identity := self._identity("student", entry))["fingerprint"] is not None
        }

    def _add(self, stage: Stage) -> str:
        self.stages[stage.kind].setdefault(stage.digest, stage)
        return stage.digest


@functools.cache
def _as_dict(recipe: Recipe) -> dict[str, Any]:
    return asdict(recipe)


def _settings(cell: Cell) -> tuple[dict[str, Any], str]:
    more = {name: cell.task.options.get(name, 0) for name in ("n_gold", "n_unlabelled")}
    settings = cell.protocol.settings(TaskOptions(**asdict(sizes_of(cell.task.options)), **more))
    settings |= {"secret": cell.secret.fingerprint} if cell.secret else {}
    return settings, digest(settings)
