"""A stack of mitigations on its own plugin manager; each value that a mitigation returns is checked."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pluggy
import torch
from torch import Tensor

from w2s_bench import hookspecs
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Round
from w2s_bench.training.batches import Batch
from w2s_bench.training.defaults import NaiveFinetuning
from w2s_bench.training.guards import CHECKS, MitigationFailed, blame

MARK = "w2s_bench_impl"


class Stack:
    """The mitigations of one fit, outermost last. `members` are (name, factory) in config order."""

    def __init__(self, members: Sequence[tuple[str, Callable[[], Any]]], rngs: dict[str, torch.Generator]) -> None:
        self.members = tuple(members)
        self.rngs = rngs
        """One generator for each mitigation, shared by all stacks of a cell, so that draws never repeat."""
        self.objects = {name: factory() for name, factory in self.members}
        self.manager = pluggy.PluginManager("w2s_bench")
        self.manager.add_hookspecs(hookspecs)
        self.defaults = NaiveFinetuning()
        self.manager.register(self.defaults, "default")
        self.guarded = {name: self._guard(name, plugin) for name, plugin in self.objects.items()}
        for name, plugin in self.guarded.items():
            self.manager.register(plugin, name)
        self.hook = self.manager.hook

    def fresh(self) -> Stack:
        """Returns the same stack with new mitigation objects: no state crosses students or rounds."""
        return Stack(self.members, self.rngs)

    def twin(self) -> Stack:
        """Returns the same stack with copies of the mitigation objects as they now are."""
        return Stack([(name, functools.partial(copy.deepcopy, o)) for name, o in self.objects.items()], self.rngs)

    def owner(self, hook: str) -> str | None:
        """Returns the outermost mitigation that implements a hook; None where the default applies."""
        names = [i.plugin_name for i in getattr(self.hook, hook).get_hookimpls()]
        return next((name for name in reversed(names) if name != "default"), None)

    # --- asked once a cell or once a round

    def combine_votes(self, votes: Tensor, pool: Any) -> Tensor:
        """Returns labels [N, C]; a row of NaN has no label."""
        return self.hook.combine_votes(votes=votes, pool=pool)

    def plan_rounds(self, students: Sequence[str], pool: Any) -> list[Round]:
        """Returns the rounds."""
        return self.hook.plan_rounds(students=tuple(students), pool=pool)

    def revise_labels(self, labels: Tensor, pool: Any, round_plan: Round) -> Tensor:
        """Returns labels [N, C] that went through the chain."""
        for _, call in self._implementations("revise_labels"):
            revised = call(labels=labels, pool=pool, round_plan=round_plan)
            labels = labels if revised is None else revised
        return labels

    def weigh_examples(self, labels: Tensor, pool: Any, round_plan: Round) -> Tensor:
        """Returns the product of all weights [N]."""
        weights = torch.ones(len(labels))
        for _, call in self._implementations("weigh_examples"):
            weights = weights * call(labels=labels, pool=pool, round_plan=round_plan)
        return weights

    def order_examples(self, shuffle: Callable[[], Tensor], **arguments: Any) -> Tensor:
        """Returns positions for one pass; `shuffle` makes the default order."""
        self.defaults.shuffle = shuffle
        return self.hook.order_examples(**arguments)

    def fit_student(self, problem: Any) -> Any:
        """Returns the student that a mitigation's own loop fitted, None where none has a loop of its own."""
        return self.hook.fit_student(problem=problem)

    # --- asked at every step

    def training_batch(self, batch: Batch, progress: float) -> Batch:
        """Returns the batch that went through the chain."""
        for _, call in self._implementations("training_batch"):
            changed = call(batch=batch, progress=progress)
            batch = batch if changed is None else changed
        return batch

    def training_targets(self, batch: Batch, logits: Tensor, progress: float) -> Tensor:
        """Returns target probabilities [B, C]."""
        return self.hook.training_targets(batch=batch, logits=logits, progress=progress)

    def training_loss(self, batch: Batch, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """Returns losses [B]."""
        return self.hook.training_loss(batch=batch, logits=logits, targets=targets, progress=progress)

    # --- plumbing

    def _implementations(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """Returns (mitigation, call) in config order; pluggy itself has neither chain nor product."""
        if not hasattr(self, "_calls"):
            self._calls: dict[str, list[tuple[str, Callable[..., Any]]]] = {}
        if hook not in self._calls:
            caller, others = getattr(self.hook, hook), self.manager.get_plugins()
            implementing = {i.plugin_name for i in caller.get_hookimpls()}
            self._calls[hook] = [
                (name, _single(self.manager.subset_hook_caller(hook, others - {self.guarded[name]})))
                for name, _ in self.members
                if name in implementing
            ]
        return self._calls[hook]

    def _guard(self, name: str, plugin: Any) -> Any:
        """Returns a proxy whose hooks call the plugin's, check what they return and name the plugin in errors."""
        stand_in = _Guarded()
        for attribute in dir(type(plugin)):
            method = getattr(plugin, attribute)
            options = getattr(method, MARK, None)
            if isinstance(options, dict):
                hook = options.get("specname") or attribute
                setattr(stand_in, hook, self._guarded(name, hook, method, options))
        return stand_in

    def _guarded(self, name: str, hook: str, method: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
        parameters = list(inspect.signature(method).parameters)
        offered = list(inspect.signature(getattr(hookspecs, hook)).parameters)
        check = CHECKS.get(hook)

        def select(arguments: tuple[Any, ...]) -> list[Any]:
            """Returns the arguments that the method names, with this mitigation's own generator in them."""
            values = dict(zip(offered, arguments, strict=True))
            for holder in ("pool", "problem"):
                if holder in parameters:
                    values[holder] = values[holder].seen_by(name)
            if "batch" in parameters:
                values["batch"] = replace(values["batch"], rng=self.rngs[name])
            return [values[n] for n in parameters]

        def checked(arguments: tuple[Any, ...], result: Any) -> Any:
            if result is None and hook not in ("revise_labels", "training_batch"):
                remedy = "return what `yield` gave it, or a change of it" if options["wrapper"] else "return a value"
                raise MitigationFailed(f"mitigation {name}: {hook} returned None; it must {remedy}")
            return check(name, hook, dict(zip(offered, arguments, strict=True)), result) if check else result

        def claim(*arguments: Any) -> Any:
            try:
                result = method(*select(arguments))
            except W2SError:
                raise
            except Exception as error:
                raise blame(name, hook, error) from error
            return checked(arguments, result)

        def wrapper(*arguments: Any) -> Any:
            # driven by hand: pluggy's own errors about yields would be attributed to the wrapper around this one
            yielded, from_within = False, None
            try:
                generator = method(*select(arguments))
                next(generator)
                yielded = True
                try:
                    inner = yield
                except Exception as error:
                    from_within = error
                    generator.throw(error)
                else:
                    generator.send(inner)
                raise MitigationFailed(f"mitigation {name}: {hook} yields a second time; a wrapper yields once")
            except StopIteration as end:
                if not yielded:
                    raise MitigationFailed(
                        f"mitigation {name}: {hook} returned before its `yield`; a wrapper yields once, always"
                    ) from None
                result = end.value
            except W2SError:
                raise
            except Exception as error:
                if error is from_within:
                    raise
                raise blame(name, hook, error) from error
            return checked(arguments, result)

        guarded = wrapper if options["wrapper"] else claim
        setattr(guarded, MARK, {**options, "specname": None})
        guarded.__wrapped__ = getattr(hookspecs, hook)  # type: ignore[attr-defined]  # pluggy reads the arguments there
        return guarded


class _Guarded:
    """A proxy with the guarded hooks of one mitigation."""


def _single(caller: pluggy.HookCaller) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        results = caller(**arguments)
        return results[0] if results else None

    return call
