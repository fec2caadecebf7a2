"""Cells: what one record measures, fully resolved. JSON-able throughout, so that a digest of it is its identity."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from w2s_bench.interfaces import Recipe, Sizes
from w2s_bench.seeds import Secret

PROTOCOL_VERSION = 1
"""Raised when the split rule, the scoring or the selection rule changes."""


ENTRY_RECIPE_FIELDS = ("body_lr", "head_lr", "tune", "max_length")
"""Of a recipe, what a student's or supervisor's entry decides; the rest belongs to the protocol."""


def entry_recipe(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """Returns a protocol's recipe with what an entry decides, taken from the entry's options; None decides nothing."""
    return replace(recipe, **{k: options[k] for k in ENTRY_RECIPE_FIELDS if options.get(k) is not None})


def digest(value: Any) -> str:
    """Returns 32 hex digits that identify a JSON-able value."""
    return hashlib.sha256(_ENCODER.encode(value).encode()).hexdigest()[:32]


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Entry:
    """A registered name with every option resolved."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def key(self) -> str:
        """Returns a text that is the same for equal entries alone."""
        return json.dumps([self.name, self.options], sort_keys=True)

    def flat(self) -> dict[str, Any]:
        """Returns the entry as records show it: the name beside the options."""
        return {"name": self.name, **self.options}


@dataclass(frozen=True)
class Protocol:
    """All that must be equal before two numbers may be compared in one table; learning rates belong to the entries."""

    metric: str = "accuracy"
    """Registered metric that floor, student and ceiling are compared on."""
    training: Recipe = field(default_factory=Recipe)
    """Student and ceiling: steps, batch, optimiser, schedule, precision. The last step counts, for all."""
    supervision: Recipe = field(default_factory=lambda: Recipe(epochs=2.0, head_lr=1e-2, body_lr=2e-4))
    """The same for supervisors that are finetuned."""

    @functools.cached_property
    def key(self) -> str:
        """Returns a text that is the same for equal protocols alone."""
        return json.dumps(asdict(self), sort_keys=True)

    def settings(self, sizes: Sizes) -> dict[str, Any]:
        """Returns what the protocol's digest is made of."""
        recipes = {"training": asdict(self.training), "supervision": asdict(self.supervision)}
        return {
            "version": PROTOCOL_VERSION,
            "metric": self.metric,
            "selection": "last step",
            "optimiser": "AdamW",
            # Unlabelled texts came later: runs without them keep the protocol that they had.
            "sizes": {name: n for name, n in asdict(sizes).items() if name != "n_unlabelled" or n},
            **{k: {n: v for n, v in r.items() if n not in ENTRY_RECIPE_FIELDS} for k, r in recipes.items()},
        }


def variable_settings() -> list[str]:
    """Returns the protocol's numbers, such as `protocol.training.epochs`: a suite may declare that it varies one."""
    settings = Protocol().settings(Sizes())
    return [
        f"protocol.{recipe}.{name}"
        for recipe in ("training", "supervision")
        for name, value in settings[recipe].items()
        if isinstance(value, int | float)
    ]


def varied_setting(varies: Any) -> str | None:
    """Returns what boards call it (`training.epochs`, `student.saliency`); None for what no suite may declare."""
    if varies in variable_settings():
        return varies.removeprefix("protocol.")
    return varies if isinstance(varies, str) and re.fullmatch(r"student\.[a-z_][a-z0-9_]{0,40}", varies) else None


@dataclass(frozen=True, slots=True)
class Cell:
    """One (task, supervisors, student, mitigations, seed)."""

    task: Entry
    supervisors: tuple[Entry, ...]
    """The first is the reference."""
    student: Entry
    mitigations: tuple[Entry, ...]
    """In config order; the last named is outermost. `naive` alone is the empty stack."""
    seed: int
    protocol: Protocol = field(default_factory=Protocol)
    intermediate: dict[str, Entry] = field(default_factory=dict)
    """Student entries that a mitigation named in its option `intermediate`, by name."""
    tuning: dict[str, Any] | None = None
    """How its options were chosen, where a suite tunes them: the rule, the seeds and every trial."""
    secret: Secret | None = None
    """What its splits are drawn with, beside the seed; the fingerprint is among the protocol's settings."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Returns what is the same for equal cells alone."""
        supervisors, mitigations = (tuple(e.key for e in entries) for entries in (self.supervisors, self.mitigations))
        return self.task.key, supervisors, self.student.key, mitigations, self.seed, self.protocol.key, self.drawn_with

    @property
    def drawn_with(self) -> str | None:
        """Returns the fingerprint of its secret."""
        return self.secret.fingerprint if self.secret else None

    def describe(self) -> dict[str, Any]:
        """Returns the record's `cell`."""
        return {
            "task": self.task.flat(),
            "supervisors": [s.flat() for s in self.supervisors],
            "student": self.student.flat(),
            "mitigations": [m.flat() for m in self.mitigations],
            "seed": self.seed,
        }

    def label(self) -> str:
        """Returns one line for people."""
        return label(self.describe())


def label(cell: dict[str, Any]) -> str:
    """Returns one line for a record's `cell`: `facts  ladder_xs_0 > ladder_m  easy_to_hard+aux_confidence  seed 3`."""
    weak = "+".join(s["name"] for s in cell["supervisors"])
    stack = "+".join(m["name"] for m in cell["mitigations"])
    return f"{cell['task']['name']}  {weak} > {cell['student']['name']}  {stack}  seed {cell['seed']}"


@dataclass(frozen=True)
class Tuning:
    """What a suite gives each stack to be tuned with."""

    configurations: int
    """How many are tried: the defaults, and others drawn from the product of the declared values."""
    seeds: tuple[int, ...]
    """On which they are tried; none of them is one of the suite's."""


@dataclass(frozen=True)
class Run:
    """A set of cells and how they are to be run; nothing here changes a number, so nothing here is in a digest."""

    cells: list[Cell]
    store: str
    cache: str
    engine: dict[str, Any] = field(
        default_factory=lambda: {"name": "local", "workers": 0, "timeout_s": 3600.0, "save_every_s": 300.0}
    )
    """`name` (local, inline; ray and slurm, with options that conf/engine shows), `workers` (0: as many as cores
    allow), `timeout_s` for one stage, `save_every_s`, `confine` (auto, required, off) and `readable`, a list of more
    paths that confined workers read."""
    hardware: dict[str, Any] = field(default_factory=lambda: {"accelerator": "cpu", "threads": 1})
    """`accelerator` (cpu, gpu) and `threads` of a worker."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """What goes to Lightning's Trainer beside the protocol."""
    plugins: list[str] = field(default_factory=list)
    """Paths and modules given by `--plugins`, which workers load too."""
    suite: str | None = None
    tuning: Tuning | None = None
    """What the suite's options are tuned with; None where they are what they are."""
    varies: str | None = None
    """What the suite declares to vary, such as `protocol.training.epochs` or `student.saliency`."""
    commands: list[str] = field(default_factory=list)
    """One for each cell: the `w2s run ...` that reruns it, without any machine's path."""
    retry_failed: bool = False
