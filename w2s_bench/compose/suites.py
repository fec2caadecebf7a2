"""Suites: published grids of cells, as lists of sweeps in the language of `w2s run -m`.

description: One line for `w2s list suites`.
sweeps:
  - [task=facts, "mitigation=[naive],[aux_confidence]", "seed=0,1,2,3,4"]

A suite that varies one number declares it; its board then has a group for each value and pools none:
`varies: protocol.training.epochs`, a number of the protocol, which may differ in no other way, or
`varies: student.saliency`, an option of the student. One whose options are tuned first has `tune:`, see `tuning`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_bench.cells import Tuning, variable_settings, varied_setting
from w2s_bench.compose import tuning
from w2s_bench.errors import UsageError, nearest
from w2s_bench.registry.loading import suites_in

if TYPE_CHECKING:
    from w2s_bench.cells import Run
    from w2s_bench.registry import Registry


@dataclass(frozen=True)
class Suite:
    """The content of a suite's file."""

    name: str
    description: str
    sweeps: list[list[str]]
    varies: str | None = None
    """One of `cells.variable_settings()`, or `student.` with the name of an option."""
    tune: Tuning | None = None


KEYS = ("description", "sweeps", "varies", "tune")


def find(name: str, registry: Registry, config_dirs: Sequence[str | Path] = ()) -> Suite:
    """Returns a suite by name or by the path of its file; UsageError names the nearest."""
    known = {**registry.suites, **{n: p for d in config_dirs for n, p in suites_in(Path(d)).items()}}
    if name.endswith(".yaml"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"suite {name}: there is no such file")
        return read(path.stem, path)
    if name not in known:
        raise UsageError(registry.missing("suite", name, known))
    return read(name, known[name])


def read(name: str, path: Path) -> Suite:
    """Returns the suite in a file; UsageError names what is wrong with it."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise UsageError(f"suite '{name}': {path.name} cannot be read: {' '.join(str(e).split())}") from e
    if not isinstance(content, dict) or "sweeps" not in content:
        raise UsageError(f"suite '{name}': {path.name} needs `description:` and `sweeps:`")
    for key in content:
        if key not in KEYS:
            raise UsageError(f"suite '{name}': unknown key '{key}'{nearest(str(key), KEYS)}")
    varies = content.get("varies")
    if varies is not None and varied_setting(varies) is None:
        settings = variable_settings()
        known = nearest(str(varies), settings) or f"; there are {', '.join(settings)} and student.OPTION"
        raise UsageError(f"suite '{name}': `varies: {varies}` is no number of the protocol or the student{known}")
    sweeps: Any = content["sweeps"]
    if not isinstance(sweeps, list) or not sweeps or not all(isinstance(s, list) and s for s in sweeps):
        raise UsageError(f"suite '{name}': `sweeps` is a list of lists of overrides")
    for sweep in sweeps:
        for override in sweep:
            if not isinstance(override, str):
                raise UsageError(f"suite '{name}': {override!r} is not an override; write KEY=VALUE, in quotes")
    tune = tuning.parse(content["tune"], name) if "tune" in content else None
    return Suite(name, " ".join(str(content.get("description", "")).split()), sweeps, varies, tune)


def compose(
    suite: Suite,
    overrides: Sequence[str],
    registry: Registry,
    config_dirs: Sequence[str | Path] = (),
    *,
    store: str | None = None,
    retry_failed: bool = False,
) -> Run:
    """Returns the suite's run; overrides replace those of the same key in each of its sweeps."""
    from w2s_bench.compose.runs import run_of

    run = run_of(
        suite.sweeps, overrides, True, registry, config_dirs,
        store=store, retry_failed=retry_failed, suite=suite.name, varies=suite.varies,
    )  # fmt: skip
    owner, _, option = (suite.varies or "").partition(".")
    if owner == "student":
        numbers = {k for c in run.cells for k, v in c.student.options.items() if isinstance(v, int | float)}
        if option not in numbers:
            known = nearest(option, numbers) or f"; there are {', '.join(sorted(numbers))}"
            raise UsageError(f"suite '{suite.name}': `varies: {suite.varies}`, but no student has that number{known}")
    return replace(run, tuning=suite.tune)
