"""Names of rows: entries by name, with the options in which entries of one name differ within a board."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from w2s_bench.store.records import Record

NAIVE = "naive"
OF_THE_PAIR = "intermediate"
"""The mitigation option that names students between supervisor and student: it goes with the pair of models, and tells
rows apart only where one pair has several."""


@dataclass(frozen=True, order=True)
class Group:
    """What mitigations are compared within: a task, its supervisors and a student, each by label."""

    task: str
    supervisors: tuple[str, ...]
    student: str
    task_name: str
    """The task's own name: tasks of one name share random draws, whatever their options."""
    varied: tuple[tuple[str, float], ...] = ()
    """What the suite varies, with its values here; groups share random draws over them too."""

    @property
    def place(self) -> str:
        """Returns `facts, ladder_xs_0 > ladder_m`, and the varied setting's value where there is one."""
        return ", ".join(
            [f"{self.task}, {'+'.join(self.supervisors)} > {self.student}", *varied_words(dict(self.varied))]
        )


def varied_words(varied: Mapping[str, float] | None) -> list[str]:
    """Returns `training.epochs 0.25` for each setting that varies."""
    return [f"{name} {value:g}" for name, value in (varied or {}).items()]


@dataclass(frozen=True)
class Labels:
    """Which options tell the entries of this board apart, by kind and name."""

    telling: dict[tuple[str, str], tuple[str, ...]]
    varied: tuple[str, ...] = ()
    """What the suite varies; it is in a group's name by itself."""

    def entry(self, kind: str, entry: dict[str, Any]) -> str:
        """Returns `gce`, or `gce(q=0.4)` where the board has several."""
        options = tuple(k for k in self.telling.get((kind, entry["name"]), ()) if f"{kind}.{k}" not in self.varied)
        if entry["name"] == NAIVE:  # with all options off it is the empty stack, which has no entry
            options = tuple(k for k, v in sorted(entry.items()) if v and k != "name")
        shown = [f"{k}={_plain(entry.get(k))}" for k in options]
        return entry["name"] + (f"({', '.join(shown)})" if shown else "")

    def group(self, record: Record) -> Group:
        """Returns where this record belongs."""
        cell = record.cell
        supervisors = tuple(self.entry("supervisor", s) for s in cell["supervisors"])
        task, student = self.entry("task", cell["task"]), self.entry("student", cell["student"])
        return Group(task, supervisors, student, cell["task"]["name"], tuple(record.varied_values(self.varied).items()))

    def stack(self, record: Record) -> str:
        """Returns the stack's name; the last named is outermost. Options that were tuned are not in it."""
        tuned = record.tuned
        parts = (
            f"{m['name']}(tuned)" if m["name"] in tuned else self.entry("mitigation", m) for m in record.mitigations
        )
        return "+".join(parts) or NAIVE


def labels_of(records: Iterable[Record], varied: tuple[str, ...] = ()) -> Labels:
    """Returns the labels for a board of these records, which vary in `varied`."""
    seen: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    between: dict[tuple[str, str], set[str]] = defaultdict(set)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    unique: dict[str, tuple[str, dict[str, Any]]] = {}
    for record in records:
        cell = record.cell
        place = json.dumps([cell["task"], cell["supervisors"], cell["student"]], sort_keys=True)
        for kind, entries in (
            ("task", [cell["task"]]),
            ("supervisor", cell["supervisors"]),
            ("student", [cell["student"]]),
            ("mitigation", [m for m in record.mitigations if m["name"] not in record.tuned]),
        ):
            for entry in entries:
                if kind == "mitigation" and OF_THE_PAIR in entry:
                    between[place, entry["name"]].add(json.dumps(entry[OF_THE_PAIR]))
                unique.setdefault(f"{kind} {json.dumps(entry, sort_keys=True)}", (kind, entry))
    for kind, entry in unique.values():
        counts[kind, entry["name"]] += 1
        for key, value in entry.items():
            if key != "name":
                seen[kind, entry["name"]][key].add(json.dumps(value, sort_keys=True))
    several = {name for (_, name), values in between.items() if len(values) > 1}
    telling = {}
    called: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for kind, entry in unique.values():
        called[kind, entry["name"]].append(entry)
    for which, options in seen.items():
        variants = called[which]
        present = {k: sum(k in entry for entry in variants) for k in options}
        differing = [k for k, v in options.items() if len(v) > 1 or present[k] < counts[which]]
        if which[0] == "mitigation" and which[1] not in several:
            differing = [k for k in differing if k != OF_THE_PAIR]
        telling[which] = _fewest(sorted(differing), variants) if which[0] == "task" else tuple(sorted(differing))
    return Labels(telling, varied)


def _fewest(options: list[str], variants: list[dict[str, Any]]) -> tuple[str, ...]:
    """Returns the options without those that go with others: a file's columns, where its path tells it already.

    Options that are empty in some variants are left out first.
    """

    def apart(chosen: list[str]) -> int:
        return len({json.dumps([entry.get(k) for k in chosen], sort_keys=True) for entry in variants})

    kept = options
    for option in sorted(options, key=lambda k: (all(entry.get(k) for entry in variants), k)):
        without = [k for k in kept if k != option]
        if without and apart(without) == apart(kept):
            kept = without
    return tuple(kept)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
