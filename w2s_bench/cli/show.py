"""The verb show."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import click

from w2s_bench import interfaces
from w2s_bench.cells import label
from w2s_bench.cli.list import rows_of
from w2s_bench.cli.main import Session, write_json
from w2s_bench.errors import UsageError
from w2s_bench.registry import PLUGIN_KINDS, Registration, Registry, stacking
from w2s_bench.registry.options import help_texts
from w2s_bench.registry.search import space_of
from w2s_bench.store.escape import bounded, plain_lines
from w2s_bench.store.files import StoreFiles
from w2s_bench.store.records import Record, read_record

OFFERS = ("label", "answer", "reward", "correct", "save")
"""What a supervisor may be able to do."""


def add_commands(cli: click.Group) -> None:
    """Adds show to the `w2s` group."""
    cli.add_command(show)


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs: a list, as several kinds may share a name.")
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """One plugin by NAME: what it does, its source, options with types and defaults, hooks, what it needs.

    A record by the path of its file, such as w2s-runs/records/DIGEST.json: what came out, and how to run it again.
    """
    if name.endswith(".json"):
        record = record_at(Path(name))
        write_json([record.raw]) if as_json else click.echo(plain_lines(text_of_record(record)))
        return
    registry = ctx.find_object(Session).registry  # type: ignore[union-attr]
    described = [describe(registry.get(k, name)) for k in PLUGIN_KINDS if name in registry.names(k)]
    all_names: list[str] = [n for k in PLUGIN_KINDS for n in registry.names(k)]
    for kind in ("metrics", "suites", "engines"):
        for row in rows_of(kind, registry, ctx):
            all_names.append(row["name"])
            if row["name"] == name:
                described.append({"kind": kind[:-1], **row, **_more(kind, name, registry)})
    if not described:
        sentence = registry.missing("name", name, all_names)
        raise UsageError(sentence.replace("`w2s list names`", "`w2s list`"))
    if as_json:
        write_json(described)
    else:
        click.echo(plain_lines("\n\n".join(text_of(bounded(f)) for f in described)))


def record_at(path: Path) -> Record:
    """Returns the record in a file of a store; UsageError where there is none."""
    problems = [f"{path}: there is no such file"]
    if path.is_file():
        problems.clear()
        read = read_record(StoreFiles(path.absolute().parents[1]), f"records/{path.name}", problems)
        if read:
            return read[0]
    raise UsageError(f"{problems[0]}; give a file out of the folder records of a store")


def text_of_record(record: Record) -> str:
    """Returns what people want to know of a record."""
    raw, provenance = record.raw, record.raw.get("provenance") or {}
    lines = [label(record.cell), raw["status"] + (f": {raw['reason']}" if raw.get("reason") else "")]
    if record.ok:
        sides = [f"{side} {record.test[side]['accuracy']:.4f}" for side in ("floor", "student", "ceiling")]
        lines.append(f"accuracy: {', '.join(sides)}; PGR {'none' if raw['pgr'] is None else format(raw['pgr'], '.3f')}")
    lines.append(f"protocol {record.protocol}")
    if record.drawn_with:
        lines.append(f"splits drawn with the secret {record.drawn_with}; who runs it again needs that one's file")
    lines += [f"{name}: {provenance[name]}" for name in ("confined", "finished", "command") if provenance.get(name)]
    return "\n".join(lines)


def describe(entry: Registration) -> dict[str, Any]:
    """Returns everything about an entry, as plain data."""
    cls = entry.cls
    helps = help_texts(entry.kind, cls)
    described: dict[str, Any] = {
        "kind": entry.kind,
        "name": entry.name,
        "summary": entry.summary,
        "description": inspect.cleandoc(cls.__doc__ or ""),
        "source": source if isinstance(source := getattr(cls, "source", None), str) else None,
        "distribution": entry.distribution,
        "version": entry.version,
        "source_sha256": entry.source_sha256,
        "options": [
            {"name": n, "type": o.type_name, "default": entry.options[n], "help": helps.get(n, "")}
            for n, o in entry.declared.items()
        ],
    }
    if entry.kind == "mitigation":
        described["hooks"] = [
            {"hook": i.hook, "wrapper": i.wrapper, "combines": stacking.COMBINES[i.hook]}
            for i in stacking.implementations(cls)
        ]
        described["search"] = space_of(entry)
        described["needs"] = sorted(getattr(cls, "needs", ()))
        described["honours"] = sorted(getattr(cls, "honours", ()))
        described["control"] = bool(getattr(cls, "control", False))
    if entry.kind == "task":
        kind = getattr(cls, "kind", None)
        described["task_kind"] = kind if isinstance(kind, str) else "depends on the options"
        described["sealed"] = bool(getattr(cls, "sealed", False))
    else:
        served = getattr(cls, "kinds", interfaces.KINDS_WITH_CLASSES)
        described["kinds_of_task"] = [k for k in interfaces.TASK_KINDS if k in served]
    if entry.kind == "supervisor":
        described["offers"] = [o for o in OFFERS if callable(getattr(cls, o, None))]
    return described


def _more(kind: str, name: str, registry: Registry) -> dict[str, Any]:
    if kind == "metrics":
        return {"description": inspect.cleandoc(registry.metrics[name].__doc__ or "")}
    if kind == "suites":
        from w2s_bench.compose.suites import read

        return {"sweeps": read(name, registry.suites[name]).sweeps}
    return {}


def text_of(plugin: dict[str, Any]) -> str:
    """Returns a description of `describe` as text for people."""
    origin = f"{plugin['distribution']} {plugin['version']}".strip()
    lines = [
        f"{plugin['name']}  ({plugin['kind']}, {origin})",
        plugin.get("description") or plugin["summary"],
    ]
    if plugin.get("source") and plugin["source"] not in lines[1]:
        lines.append(f"Source: {plugin['source']}")
    if plugin.get("hooks") is not None:
        hooks = ", ".join(f"{h['hook']}{' (wraps)' if h['wrapper'] else ''}" for h in plugin["hooks"])
        lines.append(f"Hooks: {hooks or 'none'}")
    for key in ("needs", "honours", "offers"):
        if plugin.get(key):
            lines.append(f"{key.capitalize()}: {', '.join(plugin[key])}")
    if plugin.get("control"):
        lines.append("A control, not a method.")
    if plugin.get("kinds_of_task"):
        lines.append(f"Kinds of task: {', '.join(plugin['kinds_of_task'])}")
    if "task_kind" in plugin:
        lines.append(f"Kind of task: {plugin['task_kind']}" + (", sealed" if plugin["sealed"] else ""))
    if plugin.get("options"):
        lines.append("Options:")
        for o in plugin["options"]:
            lines.append(f"  {o['name']}: {o['type']} = {json.dumps(o['default'])}")
            lines += [f"      {line}" for line in o["help"].splitlines()]
            if tried := plugin.get("search", {}).get(o["name"]):
                lines.append(f"      Tuned over {', '.join(json.dumps(v) for v in tried)}.")
    for sweep in plugin.get("sweeps", ()):
        lines.append("  w2s run -m " + " ".join(f"'{o}'" if set(o) & set("[]{}()*$ ") else o for o in sweep))
    return "\n".join(lines)
