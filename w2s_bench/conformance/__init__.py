"""Conformance: does a plugin keep to what the harness and the other plugins rely on?

from w2s_bench.conformance import check

report = check("sharper.py")
assert report.passed, report
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2s_bench.conformance import general
from w2s_bench.conformance.findings import Checked, Finding, Report, ask
from w2s_bench.conformance.targets import Target, resolve
from w2s_bench.errors import UsageError, nearest
from w2s_bench.registry import Registration, Registry, load
from w2s_bench.registry.stacking import check_kind

__all__ = ["Checked", "Finding", "Report", "check"]


def check(
    target: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    task: str | None = None,
    plugins: Sequence[str] = (),
    registry: Registry | None = None,
) -> Report:
    """Returns a report on a plugin: a registered name, a .py file, a folder with a distribution, or a module.

    `options` replace an entry's defaults, such as the path of a file. `task` names the task that supervisors and
    students are tried on. `plugins` are loaded too, as by `--plugins`; a `registry` that is there already saves that.
    UsageError where the target, an option or the task is not there.
    """
    everything = registry or load(plugins)
    resolved = resolve(str(target), everything)
    if task is not None and task not in resolved.registry.names("task"):
        everything.get("task", task)
    values = _known(dict(options or {}), resolved)
    checked = [*_loading(resolved), *(_entry(e, everything, resolved, values, task) for e in resolved.entries)]
    checked += [_metric(n, resolved) for n in resolved.metrics]
    checked += [_suite(n, resolved, everything) for n in resolved.suites]
    return Report(str(target), checked)


def _loading(target: Target) -> list[Checked]:
    """Returns findings on modules that cannot be used, or that bring nothing."""
    expected = "It loads, and the registry takes it"
    refused = [
        Checked("plugin", b.name, b.distribution, [Finding("loads", "fail", expected, " ".join(b.reason.split()))])
        for b in target.broken
    ]
    if refused or target.entries or target.metrics or target.suites:
        return refused
    silent = []
    for module in target.loaded:
        hooks = [c.name for c in target.registry.manager.get_hookcallers(module.plugin) or ()]
        watches = [h for h in hooks if not h.startswith("register_") or h == "register_commands"]
        finding = Finding("loads", "pass", expected, f"it implements {', '.join(watches)}")
        if not watches:
            remedy = "mark a function such as register_mitigations(register) with @hookimpl, and call register in it"
            finding = Finding("loads", "fail", "It registers something", "it registers nothing", remedy)
        silent.append(Checked("plugin", module.name, module.distribution, [finding]))
    return silent


def _known(options: dict[str, Any], target: Target) -> dict[str, Any]:
    """Returns the options, or raises UsageError where no entry has one of them."""
    known = sorted({name for e in target.entries for name in e.declared})
    for name in options:
        if name not in known:
            raise UsageError(f"no option '{name}'{nearest(name, known) or ';'} there are {', '.join(known) or 'none'}")
    return options


def _entry(
    entry: Registration, everything: Registry, target: Target, values: dict[str, Any], task: str | None
) -> Checked:
    options = {}
    for name, value in values.items():
        if name in entry.declared:
            try:
                options[name] = entry.declared[name].coerce(value)
            except ValueError as e:
                raise UsageError(f"{entry.kind} '{entry.name}': {name}: {e}") from e
    file = _file_of(entry)
    shared = general.MITIGATION_CHECKS if entry.kind == "mitigation" else general.CHECKS
    findings = ask(shared, general.Subject(entry, everything, options), file)
    if entry.kind == "task":
        from w2s_bench.conformance import tasks

        findings += ask(tasks.CHECKS, tasks.Subject(entry, everything, options), file)
    elif entry.kind == "mitigation":
        from w2s_bench.conformance import mitigations

        findings += ask(mitigations.CHECKS, mitigations.Subject(entry, options, everything), file)
    else:
        findings += _on_each_kind(entry, everything, target, options, task, file)
    return Checked(entry.kind, entry.name, f"{entry.distribution} {entry.version}".strip(), findings)


def _on_each_kind(
    entry: Registration,
    everything: Registry,
    target: Target,
    options: dict[str, Any],
    task: str | None,
    file: Path | None,
) -> list[Finding]:
    """Returns findings on a supervisor or student for each kind of task that it serves, or on the named task."""
    from w2s_bench.conformance import students, supervisors
    from w2s_bench.conformance.places import kinds_served

    tasks = {t.name: t for t in (*everything.entries("task"), *target.registry.entries("task"))}
    kinds = kinds_served(entry)
    if task is not None:
        kinds = [tasks[task].build().kind]
        check_kind(task, kinds[0], [entry])
    room: Any = supervisors if entry.kind == "supervisor" else students
    findings: list[Finding] = []
    for kind in kinds:
        first = kind == kinds[0]
        subject = room.Subject(entry, everything, options, kind, first, task, tasks)
        made = ask(room.CHECKS if first else room.OF_A_KIND, subject, file)
        findings += made if first else [replace(f, check=f"{f.check}_on_{kind}") for f in made]
        if first and not _builds(entry, options):  # what it lacks is said once
            break
    return findings


def _builds(entry: Registration, options: dict[str, Any]) -> bool:
    try:
        entry.build(options)
    except UsageError:
        return False
    return True


def _file_of(entry: Registration) -> Path | None:
    file = getattr(sys.modules.get(entry.module), "__file__", None)
    return Path(file) if file else None


def _metric(name: str, target: Target) -> Checked:
    from w2s_bench.conformance import others

    origin = " ".join(target.registry.origin("metric", name)).strip()
    return Checked(
        "metric", name, origin, ask(others.METRIC_CHECKS, others.Metric(name, target.registry.metrics[name]))
    )


def _suite(name: str, target: Target, everything: Registry) -> Checked:
    from w2s_bench.conformance import others

    origin = " ".join(target.registry.origin("suite", name)).strip()
    subject = others.Suite(name, target.registry.suites[name], everything)
    return Checked("suite", name, origin, ask(others.SUITE_CHECKS, subject))
