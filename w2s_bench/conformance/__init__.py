"""Conformance: does a plugin keep to what the harness and the other plugins rely on?

from w2s_bench.conformance import check

report = check("sharper.py")
assert report.passed, report
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_bench.conformance import general
from w2s_bench.conformance.findings import Check, Checked, Finding, Report, ask
from w2s_bench.conformance.targets import Target, resolve
from w2s_bench.errors import UsageError, nearest
from w2s_bench.registry import Registration, Registry, load

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

    `options` stand in for an entry's own, such as the path of a file. `task` names the task that supervisors and
    students are tried on. `plugins` are loaded too, as by `--plugins`; a `registry` that is there already saves that.
    UsageError where the target, an option or the task is not there.
    """
    everything = registry or load(plugins)
    found = resolve(str(target), everything)
    if task is not None:
        everything.get("task", task)
    given = _given(dict(options or {}), found)
    plugins_found = [*_loading(found), *(_entry(e, everything, given, task) for e in found.entries)]
    plugins_found += [_metric(n, found) for n in found.metrics] + [_suite(n, found, everything) for n in found.suites]
    return Report(str(target), plugins_found)


def _loading(found: Target) -> list[Checked]:
    """Returns what is said of modules that cannot be used, or that bring nothing."""
    expected = "It loads, and the registry takes it"
    refused = [
        Checked("plugin", b.name, b.distribution, [Finding("loads", "fail", expected, " ".join(b.reason.split()))])
        for b in found.broken
    ]
    if refused or found.entries or found.metrics or found.suites:
        return refused
    silent = []
    for module in found.loaded:
        hooks = [c.name for c in found.registry.manager.get_hookcallers(module.plugin) or ()]
        watches = [h for h in hooks if not h.startswith("register_") or h == "register_commands"]
        finding = Finding("loads", "pass", expected, f"it implements {', '.join(watches)}")
        if not watches:
            remedy = "mark a function such as register_mitigations(register) with @hookimpl, and call register in it"
            finding = Finding("loads", "fail", "It registers something", "it registers nothing", remedy)
        silent.append(Checked("plugin", module.name, module.distribution, [finding]))
    return silent


def _given(options: dict[str, Any], found: Target) -> dict[str, Any]:
    known = sorted({name for e in found.entries for name in e.declared})
    for name in options:
        if name not in known:
            raise UsageError(f"no option '{name}'{nearest(name, known) or ';'} there are {', '.join(known) or 'none'}")
    return options


def _entry(entry: Registration, everything: Registry, given: dict[str, Any], task: str | None) -> Checked:
    options = {}
    for name, value in given.items():
        if name in entry.declared:
            try:
                options[name] = entry.declared[name].coerce(value)
            except ValueError as e:
                raise UsageError(f"{entry.kind} '{entry.name}': {name}: {e}") from e
    file = _file_of(entry)
    own: Any
    checks: Sequence[Check]
    if entry.kind == "task":
        from w2s_bench.conformance import tasks

        own, checks = tasks.Subject(entry, everything, options), tasks.CHECKS
    elif entry.kind == "supervisor":
        from w2s_bench.conformance import supervisors

        own, checks = supervisors.Subject(entry, everything, options, task), supervisors.CHECKS
    elif entry.kind == "student":
        from w2s_bench.conformance import students

        own, checks = students.Subject(entry, everything, options, task), students.CHECKS
    else:
        from w2s_bench.conformance import mitigations

        own, checks = mitigations.Subject(entry, options, everything), mitigations.CHECKS
    subject = general.Subject(entry, everything, options)
    shared = general.MITIGATION_CHECKS if entry.kind == "mitigation" else general.CHECKS
    findings = [*ask(shared, subject, file), *ask(checks, own, file)]
    return Checked(entry.kind, entry.name, f"{entry.distribution} {entry.version}".strip(), findings)


def _file_of(entry: Registration) -> Path | None:
    file = getattr(sys.modules.get(entry.module), "__file__", None)
    return Path(file) if file else None


def _metric(name: str, found: Target) -> Checked:
    from w2s_bench.conformance import others

    origin = " ".join(found.registry.origin("metric", name)).strip()
    return Checked("metric", name, origin, ask(others.METRIC_CHECKS, others.Metric(name, found.registry.metrics[name])))


def _suite(name: str, found: Target, everything: Registry) -> Checked:
    from w2s_bench.conformance import others

    origin = " ".join(found.registry.origin("suite", name)).strip()
    subject = others.Suite(name, found.registry.suites[name], everything)
    return Checked("suite", name, origin, ask(others.SUITE_CHECKS, subject))
