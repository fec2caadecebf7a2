"""What keeps a module or a class from being a plugin, in one sentence each; the registry refuses it with that."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from w2s_bench import interfaces
from w2s_bench.errors import nearest
from w2s_bench.interfaces import TASK_KINDS
from w2s_bench.registry import stacking

METHODS = {"task": ("load", "fingerprint"), "supervisor": ("fit",), "student": ("backbone",), "mitigation": ()}
"""What a plugin of a kind must be able to do."""
GUIDES = {"classification": "label", "preference": "label", "generation": "answer"}
"""How a supervisor guides in a task of each kind."""


def problem_of_class(kind: str, cls: type) -> str | None:
    """Returns in one sentence why a class cannot be a plugin of its kind, or None."""
    served: Any = getattr(cls, "kinds", interfaces.KINDS_WITH_CLASSES)
    if isinstance(served, str) or not isinstance(served, Iterable) or not set(served) or set(served) - set(TASK_KINDS):
        return f"its `kinds` is {served!r}; write a set out of {', '.join(TASK_KINDS)}"
    task_kind = getattr(cls, "kind", None) if kind == "task" else None
    guides = [GUIDES[k] for k in TASK_KINDS if k in served] if kind == "supervisor" else []
    for method in (*METHODS[kind], *guides, *(["check"] if task_kind == "generation" else [])):
        if not callable(getattr(cls, method, None)):
            return f"a {kind} needs the method `{method}` (see w2s_bench.interfaces.{kind.capitalize()})"
    # a table's kind depends on its options
    if kind == "task" and task_kind not in TASK_KINDS and not isinstance(task_kind, property):
        return f"its `kind` is {task_kind!r}; a task's kind is one of {', '.join(TASK_KINDS)}"
    asks = set(getattr(cls, "needs", ())) if kind == "supervisor" else set()
    if asks and (asks != {"truth"} or not getattr(cls, "control", False)):
        return (
            f"it needs {', '.join(sorted(asks))}; a supervisor may need 'truth' where it is a control, and nothing else"
        )
    if kind == "mitigation":
        needs: Any = getattr(cls, "needs", frozenset())
        if isinstance(needs, str) or not isinstance(needs, Iterable):
            return f"its `needs` is {needs!r}; write a set such as {{'features'}}"
        for need in needs:
            if need not in interfaces.NEEDS:
                return f"it needs '{need}', which nobody offers; needs are {', '.join(sorted(interfaces.NEEDS))}"
        if "transfer_truth" in needs and not getattr(cls, "control", False):
            return "it needs 'transfer_truth', which is for controls alone; say `control = True`, or use a gold budget"
        return stacking.problem_of_hooks(cls)
    return None


def problem_of_plugin(plugin: ModuleType | Any) -> str | None:
    """Returns why a plugin's own marked functions are refused, or None."""
    for name in dir(plugin):
        function: Any = getattr(plugin, name, None)
        marks = getattr(function, stacking.MARK, None)
        if not isinstance(marks, dict):
            continue
        hook = marks.get("specname") or name
        if hook in stacking.COMBINES:
            return f"`{name}` is a mitigation hook outside a class; make it a method of the class that is registered"
        if hook not in stacking.SPECS:
            return f"`{name}` is marked as a hook, but there is no hook `{hook}`{nearest(hook, stacking.SPECS)}"
        parameters = list(inspect.signature(function).parameters.values())
        problem = stacking.problem_of_arguments(hook, f"`{name}`", parameters)
        if problem:
            return problem
    return None
