"""What every entry must keep to, whatever its kind. The docstring of a check is what it expects."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_bench import interfaces
from w2s_bench.conformance.findings import Failed, Noted, Skipped
from w2s_bench.errors import UsageError
from w2s_bench.estimate.shape import Shape
from w2s_bench.registry import Registration, Registry
from w2s_bench.registry.options import help_texts
from w2s_bench.registry.search import space_of

HEAVY = ("torch", "lightning", "transformers")


@dataclass
class Subject:
    """An entry, and all that is registered beside it."""

    entry: Registration
    registry: Registry
    options: dict[str, Any] = field(default_factory=dict)


def registers(subject: Subject) -> str:
    """It has a name of its own."""
    entry = subject.entry
    if entry.name in subject.registry.names(entry.kind):
        other = subject.registry.get(entry.kind, entry.name)
        # the same module, given as a file and installed too, or an older version of it
        same = other.module.removeprefix("w2s_file_") == entry.module.removeprefix("w2s_file_")
        if not same and other.source_sha256 != entry.source_sha256:
            raise Failed(f"{other.distribution} has a {entry.kind} '{entry.name}' already", "choose another name")
    return entry.name


def docstring(subject: Subject) -> None:
    """A first line says what it is, for `w2s list`."""
    line = subject.entry.summary
    if not line:
        raise Failed("there is none", f'write """one line""" under class {subject.entry.cls.__name__}')


def documented(subject: Subject) -> None:
    """Its docstring tells source, defaults and cost."""
    cls = subject.entry.cls
    doc = inspect.cleandoc(cls.__doc__ or "").lower()
    control = bool(getattr(cls, "control", False))
    documented_parts = {
        "its source": control or getattr(cls, "source", None) or "source" in doc or "baseline" in doc,
        "its defaults": control or "default" in doc or not interfaces.options_of(cls),
        "its cost": control or "cost" in doc,
    }
    missing = [what for what, is_there in documented_parts.items() if not is_there]
    if missing:
        raise Noted(f"it is silent on {' and '.join(missing)}", "readers of a board look there (`w2s show`)")


def options(subject: Subject) -> str:
    """Options have types, valid defaults and help."""
    cls = interfaces.options_of(subject.entry.cls)
    if cls is None:
        return "none"
    helps = help_texts(subject.entry.kind, subject.entry.cls)
    names = [f.name for f in dataclasses.fields(cls)]
    silent = [name for name in names if not helps.get(name)]
    if silent:
        raise Failed(f"{', '.join(silent)} has no help", f'write """what it does""" under `{silent[0]}: ...`')
    try:
        subject.entry.build(subject.options)
    except UsageError as needs:
        raise Skipped(str(needs)) from None
    return ", ".join(names)


def search(subject: Subject) -> str:
    """What it declares to be tried are options and values of its own."""
    try:
        space = space_of(subject.entry)
    except UsageError as error:
        raise Failed(str(error), 'write search = {"option": [values]}, or leave it out') from None
    if not space:
        raise Skipped("it declares no `search`: suites that tune options leave it as it is")
    return ", ".join(space)


def light_import(subject: Subject) -> None:
    """Importing it loads no torch, for `w2s list` to stay quick."""
    heavy = _heavy(subject.entry.module)
    if heavy:
        raise Noted(f"it loads {', '.join(heavy)}", "import it inside the methods that use it")


def shape_of(subject: Any) -> Shape | None:
    """Returns the shape that an entry tells, its numbers checked; None where it tells none."""
    try:
        made = subject.entry.build(subject.options)
        shape = made.shape() if hasattr(made, "shape") else None
    except UsageError as needs:
        raise Skipped(str(needs)) from None
    if shape is None and not hasattr(made, "shape"):
        return None
    if not isinstance(shape, Shape):
        raise Failed(f"{type(shape).__name__} came", "return a w2s_bench.estimate.shape.Shape")
    numbers = {name: value for name, value in vars(shape).items() if name != "name"}
    for name, value in numbers.items():
        if not (name == "positions" and value is None) and (type(value) is not int or value < 1):
            raise Failed(f"{name} is {value!r:.40}", "give a whole number from 1")
    if not isinstance(shape.name, str):
        raise Failed(f"name is {shape.name!r:.40}", "give a text")
    return shape


CHECKS = (registers, docstring, options, light_import)
MITIGATION_CHECKS = (registers, docstring, documented, options, search, light_import)


@functools.cache
def _heavy(module: str) -> list[str]:
    """Returns which heavy packages a fresh interpreter has loaded after importing a module."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if module.startswith("w2s_file_") and file:
        load = f"import runpy; runpy.run_path({str(Path(file))!r}, run_name={module!r})"
    else:
        load = f"import {module}"
    report = f"import json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    path = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}"
    done = subprocess.run([sys.executable, "-c", f"{path}\n{load}\n{report}"], capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else []
