"""The verb list."""

from __future__ import annotations

from pathlib import Path

import click

from w2s_bench.cli.main import VERBS, Session, write_json, write_line
from w2s_bench.errors import UsageError, nearest
from w2s_bench.registry import PLUGIN_KINDS, PLURALS, Registration, Registry
from w2s_bench.registry.options import first_line
from w2s_bench.store.escape import plain

OTHERS = ("metrics", "suites", "engines", "verbs")
LISTED = (*PLURALS.values(), *OTHERS)


def add_commands(cli: click.Group) -> None:
    """Adds list to the `w2s` group."""
    cli.add_command(list_)


@click.command("list")
@click.argument("kind", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def list_(ctx: click.Context, kind: str | None, as_json: bool) -> None:
    """What there is, of one KIND or of all: tasks, supervisors, students, mitigations, metrics, suites, engines."""
    kinds: tuple[str, ...] = tuple(k for k in LISTED if k != "verbs")
    if kind is not None:
        plural = {**{p[:-1]: p for p in LISTED}, **{p: p for p in LISTED}}
        if kind not in plural:
            raise UsageError(f"no kind '{kind}'{nearest(kind, LISTED) or ';'} there are {', '.join(LISTED)}")
        kinds = (plural[kind],)
    registry = ctx.find_object(Session).registry  # type: ignore[union-attr]
    listed: dict[str, list[dict[str, str]]] = {k: rows_of(k, registry, ctx) for k in kinds}
    broken = [{"name": b.name, "distribution": b.distribution, "reason": b.reason} for b in registry.broken]
    if as_json:
        write_json({**listed, "broken": broken})
        return
    for k, rows in listed.items():
        _print(k, [(r["name"], _origin(r), r["summary"]) for r in rows])
    if broken:
        _print("broken", [(b["name"], b["distribution"], b["reason"]) for b in broken])


def rows_of(kind: str, registry: Registry, ctx: click.Context) -> list[dict[str, str]]:
    """Returns name, distribution, version and one line for each name of a kind (a plural)."""
    singular = {p: k for k, p in PLURALS.items()}.get(kind, kind[:-1])
    lines: dict[str, str] = {}
    if singular in PLUGIN_KINDS:
        lines = {e.name: f"{e.summary} {_preset(e)}".rstrip() for e in registry.entries(singular)}
    elif kind == "metrics":
        lines = {n: first_line(f) for n, f in sorted(registry.metrics.items())}
    elif kind == "suites":
        lines = {n: _description(n, registry) for n in sorted(registry.suites)}
    elif kind == "engines":
        lines = engines()
    else:
        registry.add_commands(ctx.find_root().command, VERBS)
        commands = getattr(ctx.find_root().command, "commands", {})
        lines = {n: c.get_short_help_str(200) for n, c in sorted(commands.items()) if n not in VERBS}
    rows = []
    for name, line in lines.items():
        distribution, version = registry.origin(singular, name)
        row = {"name": name, "distribution": distribution, "version": version, "summary": line}
        rows.append({key: plain(value, 200) for key, value in row.items()})
    return rows


def engines() -> dict[str, str]:
    """Returns the engines, each with the comment that heads its YAML file."""
    import w2s_bench.conf

    folder = Path(w2s_bench.conf.__file__ or "").parent / "engine"
    return {p.stem: p.read_text().partition("\n")[0].lstrip("# ") for p in sorted(folder.glob("*.yaml"))}


def _preset(entry: Registration) -> str:
    changed = [f"{n}={v}" for n, v in entry.options.items() if v != entry.declared[n].default]
    return f"[{' '.join(changed)}]" if changed else ""


def _description(name: str, registry: Registry) -> str:
    from w2s_bench.compose.suites import read

    try:
        return read(name, registry.suites[name]).description
    except UsageError as e:
        return f"broken: {e}"


def _origin(row: dict[str, str]) -> str:
    return f"{row['distribution']} {row['version']}".strip()


def _print(title: str, rows: list[tuple[str, str, str]]) -> None:
    click.secho(title, bold=True)
    widths = [max((len(r[i]) for r in rows), default=0) for i in (0, 1)]
    for name, origin, line in rows:
        write_line(f"  {name:<{widths[0]}}  {origin:<{widths[1]}}  {line}".rstrip())
    if not rows:
        click.echo("  none")
