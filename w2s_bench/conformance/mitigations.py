"""What a mitigation must keep to, tried on toy problems of every kind of task that it serves: alone, stacked, repeated.

The docstring of a check is what it expects. No ground truth is in the toy pool, so none can reach a mitigation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from w2s_bench import exchange
from w2s_bench.conformance import state as holding
from w2s_bench.conformance.findings import Failed, Noted, Skipped, once
from w2s_bench.conformance.places import kinds_served
from w2s_bench.conformance.trial import INTERMEDIATE, RECIPE, SIZES, Trial, trial
from w2s_bench.conformance.watch import REMEDY, Watch, counting, watched
from w2s_bench.errors import UsageError, W2SError, nearest
from w2s_bench.interfaces import ASKED
from w2s_bench.registry import Registration, Registry, stacking

OUTER, ENSEMBLE = "aux_confidence", "mean_ensemble"
"""Entries that a mitigation is stacked with: one that wraps the targets, and one that settles the votes."""
WATCHED = {"features": "pool.features", "ground_truth": "pool.gold", "transfer_truth": "pool.transfer_truth"}
"""Of what a pool offers, what a mitigation has to say that it needs, as of what a supervisor does."""


@dataclass
class Subject:
    """A mitigation with the fits that several checks look at."""

    entry: Registration
    options: dict[str, Any]
    registry: Registry

    @property
    def kinds(self) -> list[str]:
        """The kinds of task that it serves; all checks are made on the first, and some on the others."""
        return kinds_served(self.entry)

    @property
    def needs(self) -> set[str]:
        """What it says it needs."""
        return set(getattr(self.entry.cls, "needs", ()))

    @property
    def supervisors(self) -> int:
        """How many supervisors it is given: no more than it says it needs."""
        return 2 if "several_supervisors" in self.needs else 1

    @property
    def given(self) -> dict[str, Any]:
        """Its options; where it needs intermediate students, one is named."""
        named = {"intermediate": [INTERMEDIATE]} if "intermediate" in self.entry.declared else {}
        return {**(named if "intermediate_students" in self.needs else {}), **self.options}

    @property
    def member(self) -> tuple[str, Callable[[], Any]]:
        """Returns it as a member of a stack."""
        return self.entry.name, functools.partial(self.entry.build, self.given)

    @once
    def observed(self) -> tuple[Trial, Watch, list[str]]:
        """Returns the first fit, what was seen during it, and the names of state that it changed."""
        watch = Watch()
        before = holding.kept(self.entry.cls)
        member = (self.entry.name, watched(self.entry, self.given, watch))
        seen = trial([member], self.supervisors, kind=self.kinds[0])
        return seen, watch, holding.changed(before, holding.kept(self.entry.cls))

    @property
    def owns_loop(self) -> bool:
        """Whether it trains in a loop of its own."""
        return any(i.hook == "fit_student" for i in stacking.implementations(self.entry.cls))


def trains(subject: Subject) -> str:
    """A student trained under it predicts probabilities, or writes answers."""
    predictions = subject.observed[0].predictions
    _valid(predictions)
    kind = subject.kinds[0]
    return f"{len(predictions)} examples" if kind == "classification" else f"{len(predictions)} of a {kind} task"


def hooks(subject: Subject) -> str:
    """Every hook that it implements is asked."""
    watch = subject.observed[1]
    implemented = [i.hook for i in stacking.implementations(subject.entry.cls)]
    never = [hook for hook in implemented if not watch.asked[hook]]
    if never and subject.owns_loop:
        raise Noted(f"{', '.join(never)} never was", "ask it in `fit_student`, or leave it out")
    if never:
        raise Noted(f"{', '.join(never)} never was with the default options", "see that some option reaches it")
    return ", ".join(f"{hook} {watch.asked[hook]} times" for hook in implemented) or "none"


def repeats(subject: Subject) -> None:
    """The same cell twice gives the same predictions, bit for bit."""
    first = subject.observed[0].predictions
    _same(first, trial([subject.member], subject.supervisors, ambient=1, kind=subject.kinds[0]).predictions)


def global_streams(subject: Subject) -> None:
    """It draws from pool.rng and moves no global stream."""
    drew = subject.observed[1].drew
    for stream, hook in drew.items():
        raise Failed(f"{hook} drew from {stream}'s global generator", REMEDY[stream])


def state(subject: Subject) -> None:
    """Nothing is kept outside the object, from one round to the next."""
    names = subject.observed[2]
    if names:
        raise Failed(f"a fit changed {', '.join(names[:3])}", "keep it in self: each round gets a fresh object")


def needs(subject: Subject) -> str:
    """What it uses it declares in `needs`."""
    touched = subject.observed[0].touched
    for what in (*WATCHED, *ASKED):
        if what in touched and what not in subject.needs:
            source = WATCHED.get(what, f"a supervisor's `{what}`")
            raise Failed(f"it used {source}", f"declare needs = frozenset({{'{what}'}})")
    idle = sorted({*WATCHED, *ASKED} & subject.needs - touched)
    if idle:
        raise Noted(
            f"it declares {', '.join(idle)} and did not use it here", "leave out of `needs` what it does without"
        )
    return ", ".join(sorted(subject.needs)) or "nothing"


def honours(subject: Subject) -> str:
    """The hooks that it `honours` are asked at every batch of its loop."""
    honoured = set(getattr(subject.entry.cls, "honours", ()))
    for name in sorted(honoured - set(stacking.LOOP_HOOKS)):
        close = nearest(name, stacking.LOOP_HOOKS).removeprefix("; ") or f"there are {', '.join(stacking.LOOP_HOOKS)}"
        raise Failed(f"it honours '{name}', which is no hook of a loop", close)
    if not subject.owns_loop:
        if honoured:
            raise Noted("it has no loop of its own, so that nobody asks", "leave `honours` out")
        raise Skipped("it has no loop of its own")
    watch = Watch()
    trial([subject.member, ("counting", counting(watch))], subject.supervisors, kind=subject.kinds[0])
    batches = max(watch.asked["training_batch"], 1)
    for hook in stacking.LOOP_HOOKS:
        asked, due = watch.asked[hook], 1 if hook == "order_examples" else batches
        if hook in honoured and asked < due:
            raise Failed(
                f"{hook} was asked {asked} times in {batches} batches",
                "take batches from problem.batches() and losses from student.losses(), or leave it out of `honours`",
            )
    silent = [h for h in stacking.LOOP_HOOKS if watch.asked[h] and h not in honoured]
    if silent:
        raise Noted(
            f"it asks {', '.join(silent)} too and does not say so", "add it, or stacks that need it are refused"
        )
    return ", ".join(h for h in stacking.LOOP_HOOKS if h in honoured) or "none"


def under_a_wrapper(subject: Subject) -> str:
    """It trains with a wrapper of the targets around it."""
    return _stacked(subject, lambda name: [name, OUTER])


def on_an_ensemble(subject: Subject) -> str:
    """It trains on the votes that an ensemble combines."""
    return _stacked(subject, lambda name: [ENSEMBLE, name])


def abstentions(subject: Subject) -> None:
    """It trains where supervisors abstain (rows of NaN in the votes)."""
    _ = subject.observed  # where this fails, the rest is skipped
    _valid(trial([subject.member], subject.supervisors, "abstaining", kind=subject.kinds[0]).predictions)


def three_classes(subject: Subject) -> None:
    """It trains on a task of three classes."""
    _ = subject.observed  # where this fails, the rest is skipped
    if "classification" not in subject.kinds:
        raise Skipped("it does not serve classification")
    if subject.needs & set(ASKED):
        raise Skipped("the toy supervisors that it asks know classes below and above alone")
    try:
        _valid(trial([subject.member], subject.supervisors, "three").predictions, 3)
    except W2SError as error:
        raise Noted(str(error).rstrip("."), "say in the docstring what it is made for") from None


def preference(subject: Subject) -> str:
    """It trains on a preference task, and repeats itself."""
    return _elsewhere(subject, "preference")


def generation(subject: Subject) -> str:
    """It trains on a generation task, and repeats itself."""
    return _elsewhere(subject, "generation")


CHECKS = (
    trains, hooks, repeats, global_streams, state, needs, honours,
    under_a_wrapper, on_an_ensemble, abstentions, three_classes, preference, generation,
)  # fmt: skip


def _stacked(subject: Subject, arrange: Callable[[str], list[str]]) -> str:
    _ = subject.observed  # where this fails, the rest is skipped
    stack = arrange(subject.entry.name)
    entries = [subject.entry if n == subject.entry.name else subject.registry.get("mitigation", n) for n in stack]
    kind = subject.kinds[0]
    try:
        stacking.check_stack(entries, 2)
        stacking.check_kind("toy", kind, [e for e in entries if e is not subject.entry])
    except UsageError as refused:
        raise Skipped(str(refused)) from None
    members = [subject.member if e is subject.entry else (e.name, e.build) for e in entries]
    _valid(trial(members, 2, kind=kind).predictions)
    return f"mitigation=[{','.join(stack)}]"


def _elsewhere(subject: Subject, kind: str) -> str:
    _ = subject.observed  # where this fails, the rest is skipped
    if kind not in subject.kinds:
        raise Skipped(f"it does not serve {kind}")
    if kind == subject.kinds[0]:
        return "all of the above is on one"
    for variant in ("plain", "abstaining"):
        try:
            first, again = (
                trial([subject.member], subject.supervisors, variant, ambient, kind).predictions for ambient in (0, 1)
            )
        except Exception as error:
            raised = "" if isinstance(error, W2SError) else f"it raised {type(error).__name__}: "
            others = ", ".join(f"'{k}'" for k in subject.kinds if k != kind)
            remedy = f"mend it, or leave {kind} out: kinds = frozenset({{{others}}})"
            raise Failed(f"{raised}{error}".rstrip("."), remedy) from error
        _valid(first)
        _same(first, again)
    return "where supervisors abstain too"


def _valid(predictions: np.ndarray, classes: int = 2) -> None:
    if predictions.dtype.kind == "U":
        if predictions.shape != (SIZES.n_test,):
            raise Failed(f"{list(predictions.shape)} answers came, {SIZES.n_test} were due", "return what it was given")
        return
    shape = (SIZES.n_test, classes)
    if predictions.shape != shape:
        raise Failed(f"they came as {list(predictions.shape)} where {list(shape)} were due", "return what it was given")
    if exchange.improbable_rows(predictions).any():
        raise Failed("rows are not finite or do not sum to 1", f"see what it makes of {RECIPE.epochs:g} passes")


def _same(first: np.ndarray, again: np.ndarray) -> None:
    differ = sum(not np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    if differ:
        raise Failed(
            f"they differ in {differ} of {len(first)} examples",
            "draw from pool.rng alone, and keep nothing from one fit to the next",
        )
