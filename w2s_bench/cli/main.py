"""`w2s`: the verbs. Each is imported when it is called, so that `w2s --help` is there at once."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.store.escape import GuardedStream, bounded, guarded_output, of_error, plain

if TYPE_CHECKING:
    from w2s_bench.registry import Registry

VERBS = {
    "run": ("w2s_bench.cli.run", "Run one cell, or a sweep with -m."),
    "suite": ("w2s_bench.cli.run", "Run or resume a suite, then print its board."),
    "list": ("w2s_bench.cli.list", "What there is: tasks, supervisors, students, mitigations and more."),
    "show": ("w2s_bench.cli.show", "One plugin: what it does, its options, what it needs."),
    "check": ("w2s_bench.cli.check", "Conformance of a plugin: does it keep to what others rely on?"),
    "new": ("w2s_bench.cli.new", "A plugin to start from, installable, with its test."),
    "board": ("w2s_bench.cli.board", "The board, from records and score files alone."),
    "plot": ("w2s_bench.cli.board", "A picture: scaling, varied, stack, imitation, cost or reliability."),
    "verify": ("w2s_bench.cli.verify", "Checks a store: digests, scores, counts; reruns cells of it."),
    "merge": ("w2s_bench.cli.verify", "Puts the stores of several machines into one."),
    "import": ("w2s_bench.cli.board", "Records from other tools' result files."),
    "status": ("w2s_bench.cli.status", "What is done, running, failed and to do."),
    "cancel": ("w2s_bench.cli.status", "Ends the sweeps that run on a store; what is done stays."),
    "doctor": ("w2s_bench.cli.status", "Versions, devices, caches, plugins: what works and what to do."),
}
"""The verbs that every installation has: the module whose `add_commands` brings it, and its line in the help."""
EPILOG = """\b
Anywhere on the line:
  --plugins PATH_OR_MODULE  load this plugin too; can be repeated [W2S_PLUGINS]
  --debug                   show tracebacks

Plugins may bring verbs of their own: `w2s list verbs`. Exit status: 0 done, 1 something failed, 2 bad usage,
130 interrupted."""


@dataclass
class Session:
    """What all verbs of one call share; a verb finds it as `ctx.obj`."""

    plugins: tuple[str, ...] = ()
    debug: bool = False

    @functools.cached_property
    def registry(self) -> Registry:
        """Returns all plugins, loaded when first asked for; stderr names the broken ones that the user asked for."""
        from w2s_bench.registry import load
        from w2s_bench.registry.loading import is_traced

        traced = is_traced()  # then lines on stderr are what is asked for
        with contextlib.nullcontext() if traced else prints_apart("printed by plugins while they were loaded"):
            registry = load(self.plugins)
        for broken in registry.broken:
            if broken.requested:
                write_line(f"w2s: plugin {broken.name} is broken: {broken.reason}", True)
        return registry


class Verbs(click.Group):
    """The group: verbs loaded when needed, common options anywhere, one line for an error."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Exits with the contract's status."""
        for name in self.commands.keys() - VERBS.keys():
            del self.commands[name]  # of plugins that an earlier call in this process had
        words, debug, plugins = hoist(list(sys.argv[1:] if args is None else args))
        with guarded_output():
            self._answer(words, Session(tuple(plugins), debug), prog_name, extra)

    def _answer(self, words: list[str], session: Session, prog_name: str | None, extra: dict[str, Any]) -> NoReturn:
        extra |= {"standalone_mode": False, "obj": session}
        try:
            code = super().main(words, prog_name or "w2s", **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            assert isinstance(sys.stderr, GuardedStream)
            sys.stderr.unguarded.close()  # the reader of our pipe has gone: nothing more to say
            sys.exit(1)
        except (click.Abort, KeyboardInterrupt):
            click.echo("w2s: interrupted", err=True)
            sys.exit(130)
        except click.ClickException as e:
            _fail(session, e.format_message(), 2)
        except UsageError as e:
            _fail(session, str(e), 2)
        except W2SError as e:
            _fail(session, str(e), 1)
        except Exception as e:
            _fail(session, f"unexpected {of_error(e)}; --debug shows where it came from", 1)
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context | None) -> list[str]:
        """Returns the built-in verbs, then those that plugins brought so far."""
        return [*VERBS, *sorted(self.commands.keys() - VERBS.keys())]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Returns a verb, importing what brings it; plugins are loaded only for a verb that is not ours."""
        if name not in self.commands and name in VERBS:
            importlib.import_module(VERBS[name][0]).add_commands(self)
        if name not in self.commands and name not in VERBS:
            ctx.find_object(Session).registry.add_commands(self, VERBS)  # type: ignore[union-attr]
        return self.commands.get(name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Returns the verb that was named; UsageError names the nearest."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from w2s_bench.errors import nearest

            raise UsageError(f"no verb '{args[0]}'{nearest(args[0], self.list_commands(ctx)) or ';'} `w2s --help`")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


def hoist(words: list[str]) -> tuple[list[str], bool, list[str]]:
    """Returns the words without the options that are allowed anywhere; whether there was --debug; the plugins."""
    rest, plugins, debug = [], [], False
    line = iter(words)
    for word in line:
        if word == "--":
            rest += [word, *line]
        elif word == "--debug":
            debug = True
        elif word == "--plugins":
            plugins.append(next(line, ""))
        elif word.startswith("--plugins="):
            plugins.append(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, debug, plugins


def _fail(session: Session, message: str, status: int) -> NoReturn:
    if session.debug:
        for line in traceback.format_exc().splitlines():
            write_line(line, True)
    write_line(f"w2s: {' '.join(message.split())}", True)
    sys.exit(status)


def write_line(line: str, err: bool = False) -> None:
    """Prints one line for people, cut and without control codes."""
    click.echo(plain(line), err=err)


@contextlib.contextmanager
def prints_apart(what: str) -> Iterator[None]:
    """Keeps what plugins print out of the output of a verb, which programs may read; its last lines go to stderr."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
    finally:
        lines = printed.getvalue().strip().split("\n")
        if lines != [""]:
            left_out = f", the last 20 of {len(lines)} lines" if len(lines) > 20 else ""
            write_line(f"w2s: {what}{left_out}:", True)
            for line in lines[-20:]:
                write_line(f"  {plain(line, 500)}", True)


def write_json(value: Any) -> None:
    """Prints a value for programs."""
    click.echo(json.dumps(bounded(value), indent=1))


@click.group("w2s", cls=Verbs, epilog=EPILOG, no_args_is_help=False, invoke_without_command=True)
@click.version_option(package_name="w2s_bench", prog_name="w2s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Weak-to-strong generalization, measured under one protocol."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
