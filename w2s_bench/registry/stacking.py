"""How mitigations meet on the hooks: read off their classes, before anything is trained."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from w2s_bench import hookspecs
from w2s_bench.errors import UsageError, nearest
from w2s_bench.interfaces import ASKED, KINDS_WITH_CLASSES, TRUTH


class Registered(Protocol):
    """What is asked of a registered entry here; `registry.Registration` has it."""

    @property
    def kind(self) -> str:
        """Kind of plugin."""

    @property
    def name(self) -> str:
        """Registered name."""

    @property
    def cls(self) -> type:
        """The plugin's class."""


MARK = "w2s_bench_impl"
EMPTY_STACK = "naive"
"""The mitigation whose stack is the empty one; it cannot be combined."""


def _specs() -> dict[str, Callable[..., Any]]:
    return {n: f for n, f in vars(hookspecs).items() if hasattr(f, "w2s_bench_spec")}


SPECS = _specs()
"""Every hook's specification, in the order of hookspecs.py."""
COMBINES = {
    name: combines[1]
    for name, spec in SPECS.items()
    if (combines := re.search(r"combines: (one|chain|product)", spec.__doc__ or ""))
}
"""`one`, `chain` or `product` for each mitigation hook; no other hook is in here."""
WITHOUT_WRAPPERS = frozenset({h for h, how in COMBINES.items() if how != "one"} | {"fit_student"})
"""Hooks that take no wrapper: chains and products have no inner answer, and a loop belongs to one owner."""


@dataclass(frozen=True)
class Implementation:
    """One method of a mitigation that is marked as a hook."""

    hook: str
    method: str
    wrapper: bool


@cache
def implementations(cls: type) -> tuple[Implementation, ...]:
    """Returns the marked methods of a mitigation, in the order in which the hooks are asked."""
    marked = []
    for name in dir(cls):
        marks = getattr(getattr(cls, name, None), MARK, None)
        if isinstance(marks, dict):
            marked.append(Implementation(marks.get("specname") or name, name, bool(marks.get("wrapper"))))
    order = {h: i for i, h in enumerate(COMBINES)}
    return tuple(sorted(marked, key=lambda i: order.get(i.hook, -1)))


def problem_of_hooks(cls: type) -> str | None:
    """Returns in one sentence why a mitigation's hooks are refused, or None."""
    seen: dict[str, str] = {}
    for name in dir(cls):
        if name.startswith("__"):
            continue
        method: Any = getattr(cls, name, None)
        marks = getattr(method, MARK, None)
        if not isinstance(marks, dict):
            if name in COMBINES and callable(method):
                return f"its method `{name}` is named like a hook but not marked; put @hookimpl above it"
            continue
        hook = marks.get("specname") or name
        if hook in seen:
            return f"its methods `{seen[hook]}` and `{name}` both implement the hook `{hook}`; keep one"
        seen[hook] = name
        parameters = list(inspect.signature(method).parameters.values())
        if not isinstance(inspect.getattr_static(cls, name), (staticmethod, classmethod)):
            parameters = parameters[1:]  # self
        problem = _problem_of_method(hook, name, method, marks, parameters)
        if problem:
            return problem
    if not seen:
        methods = [n for c in cls.__mro__[:-1] for n, f in vars(c).items() if inspect.isfunction(f) and n[0] != "_"]
        if methods:
            return (
                f"none of its methods ({', '.join(sorted(set(methods)))}) is marked as a hook; put @hookimpl above one"
            )
    return None


def _problem_of_method(
    hook: str, name: str, method: Any, marks: dict[str, Any], parameters: list[inspect.Parameter]
) -> str | None:

    where = f"its method `{name}`"
    for order in ("tryfirst", "trylast", "hookwrapper"):
        if marks.get(order):
            instead = "wrapper=True" if order == "hookwrapper" else "the order of the stack"
            return f"{where} is marked {order}=True, which bypasses the order of the stack; use {instead}"
    if hook not in COMBINES:
        if hook in SPECS:
            return f"{where} implements `{hook}`, which belongs to the plugin's module, not to a mitigation's class"
        return f"{where} is marked as a hook, but there is no mitigation hook `{hook}`{nearest(hook, COMBINES)}"
    wrapper = bool(marks.get("wrapper"))
    if inspect.isgeneratorfunction(method) and not wrapper:
        return f"{where} yields but is not a wrapper; mark it @hookimpl(wrapper=True), or return the value"
    if wrapper and not inspect.isgeneratorfunction(method):
        return f"{where} is marked wrapper=True but never yields; yield once to get the inner answer, then return yours"
    if wrapper and hook in WITHOUT_WRAPPERS:
        how = COMBINES[hook]
        why = "is one mitigation's own loop" if how == "one" else f"combines as a {how}"
        return f"{where} wraps `{hook}`, which {why} and takes no wrappers; drop wrapper=True and return the value"
    return problem_of_arguments(hook, where, parameters)


def problem_of_arguments(hook: str, where: str, parameters: list[inspect.Parameter]) -> str | None:
    """Returns in one sentence why an implementation's arguments are refused, or None; `where` begins the sentence."""
    known = list(inspect.signature(SPECS[hook]).parameters)
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return f"{where} takes `{parameter}`; name the arguments that it needs out of ({', '.join(known)})"
        if parameter.name not in known:
            return f"{where} asks for `{parameter.name}`; the hook `{hook}` offers ({', '.join(known)})"
        if parameter.default is not parameter.empty:
            return f"{where} gives `{parameter.name}` a default, and so would never receive it; drop the default"
    return None


def check_stack(registrations: Sequence[Registered], n_supervisors: int) -> None:
    """Raises UsageError if a stack cannot work; the members are in config order."""
    names = [r.name for r in registrations]
    stack = f"mitigation=[{','.join(names)}]"
    if not names:
        raise UsageError(f"an empty stack is written mitigation=[{EMPTY_STACK}]")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{stack}: '{name}' is named twice; a stack names each mitigation once")
    if EMPTY_STACK in names and len(names) > 1:
        raise UsageError(f"{stack}: '{EMPTY_STACK}' is the empty stack and cannot be combined; leave it out")
    members = {r.name: implementations(r.cls) for r in registrations}
    for hook, how in COMBINES.items():
        claims = [n for n, hooks in members.items() if any(i.hook == hook and not i.wrapper for i in hooks)]
        if how == "one" and len(claims) > 1:
            raise UsageError(
                f"{stack}: '{claims[0]}' and '{claims[1]}' both claim the hook `{hook}`, which takes one answer; "
                "leave one of them out"
            )
    _check_loop(stack, registrations, members)
    for r in registrations:
        if "several_supervisors" in getattr(r.cls, "needs", ()) and n_supervisors < 2:
            raise UsageError(f"{stack}: '{r.name}' needs several supervisors; give them as supervisor=[a,b,c]")


def check_kind(task: str, kind: str, registrations: Sequence[Registered]) -> None:
    """Raises UsageError if an entry does not serve the task's kind."""
    for r in registrations:
        served = getattr(r.cls, "kinds", KINDS_WITH_CLASSES)
        if kind not in served:
            raise UsageError(
                f"task={task} is a {kind} task, and the {r.kind} '{r.name}' serves {' and '.join(sorted(served))} "
                f"tasks alone; `w2s show {r.name}` says what it does"
            )


LOOP_HOOKS = ("order_examples", "training_batch", "training_targets", "training_loss")
"""Hooks that the default loop asks: a loop of a mitigation's own must honour them before others may rely on them."""


def _check_loop(
    stack: str, registrations: Sequence[Registered], members: dict[str, tuple[Implementation, ...]]
) -> None:
    for owner in registrations:
        if not any(i.hook == "fit_student" for i in members[owner.name]):
            continue
        honours = set(getattr(owner.cls, "honours", ()))
        for other, hooks in members.items():
            lacking = [i.hook for i in hooks if i.hook in LOOP_HOOKS and i.hook not in honours]
            if other != owner.name and lacking:
                raise UsageError(
                    f"{stack}: '{owner.name}' trains in a loop of its own that does not ask `{lacking[0]}`, which "
                    f"'{other}' needs; leave one of them out"
                )


def check_asked(
    mitigations: Sequence[Registered], supervisors: Sequence[Registered], all_supervisors: Sequence[Registered]
) -> None:
    """Raises UsageError if a mitigation asks for what no supervisor of its cell offers."""
    for r in mitigations:
        for need in ASKED:
            if need not in getattr(r.cls, "needs", ()) or not all(_lacks(s, need) for s in supervisors):
                continue
            lacking = "; ".join(f"'{s.name}' has no `{_lacks(s, need)}`" for s in supervisors)
            fit = next((s.name for s in all_supervisors if not _lacks(s, need)), None)
            remedy = f"add one that does, such as '{fit}'" if fit else "no supervisor that is registered does"
            raise UsageError(
                f"mitigation '{r.name}' asks a supervisor to `{need}` during training: {lacking}; {remedy}"
            )


def check_gold(n_gold: int, mitigations: Sequence[Registered]) -> None:
    """Raises UsageError if a mitigation learns from ground truth and there is no budget of it."""
    for r in mitigations:
        if "ground_truth" in getattr(r.cls, "needs", ()) and not n_gold:
            raise UsageError(
                f"mitigation '{r.name}' learns from examples with ground truth, and the budget is 0; "
                "set one for all rows, such as task.n_gold=100"
            )


def needs_truth(cls: type) -> bool:
    """Returns whether a mitigation is given ground truth, and has its rows on the track of those that use it."""
    return bool(set(TRUTH) & set(getattr(cls, "needs", ())))


def _lacks(supervisor: Registered, need: str) -> str | None:
    methods = (need, "save", "restore")
    return next((m for m in methods if not callable(getattr(supervisor.cls, m, None))), None)
