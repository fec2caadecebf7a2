"""What a check found: its verdict and the sentence that goes with it. Imports nothing heavy."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from w2s_bench.errors import W2SError
from w2s_bench.registry import loading
from w2s_bench.store.escape import plain

STATUSES = {"pass": "green", "note": "yellow", "skipped": "dim", "fail": "bold red"}
"""What a check ends in, and its colour. A note says what would be better; only a fail makes a plugin fail."""
WIDTH = 100
T = TypeVar("T")
Check = Callable[[Any], "str | None"]
"""What is asked of a subject. Its docstring's first line is what is expected; it returns what came, if anything."""


class Failed(Exception):
    """What was expected did not come."""

    def __init__(self, came: str, remedy: str) -> None:
        super().__init__(came)
        self.came, self.remedy = came, remedy


class Noted(Failed):
    """It works, and something would be better."""


class Skipped(Exception):
    """There is nothing to ask here; its text is the reason."""


@dataclass(frozen=True)
class Finding:
    """One check with its verdict."""

    check: str
    status: str
    """`pass`, `note`, `skipped` or `fail`."""
    expected: str
    came: str = ""
    """What came; the reason where the check was skipped."""
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """Returns what was expected, what came, what to do."""
        if self.status == "skipped":
            return f"skipped: {self.came}"
        if self.status == "pass":
            return f"{self.expected}{f' ({self.came})' if self.came else ''}"
        parts = (self.expected, self.came, self.remedy)
        return "; ".join(part for part in parts if part) + "."


@dataclass(frozen=True)
class Checked:
    """One entry of a plugin with all its findings."""

    kind: str
    name: str
    origin: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def status(self) -> str:
        """Returns `fail` where a check failed, else `pass`."""
        return "fail" if any(f.status == "fail" for f in self.findings) else "pass"


@dataclass(frozen=True, repr=False)
class Report:
    """All that was found of a target."""

    target: str
    plugins: list[Checked]

    @property
    def passed(self) -> bool:
        """Returns whether no check failed."""
        return all(p.status == "pass" for p in self.plugins)

    @property
    def failures(self) -> list[Finding]:
        """Returns the findings that make the target fail."""
        return [f for p in self.plugins for f in p.findings if f.status == "fail"]

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as plain data, for programs."""
        plugins = [
            {
                "kind": p.kind, "name": p.name, "origin": p.origin, "status": p.status,
                "checks": [{**asdict(f), "sentence": f.sentence} for f in p.findings],
            }
            for p in self.plugins
        ]  # fmt: skip
        return {"schema": 1, "target": self.target, "status": "pass" if self.passed else "fail", "plugins": plugins}

    def text(self, width: int = WIDTH, colour: bool = False) -> str:
        """Returns the report for a terminal of this many columns."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        out = io.StringIO()
        console = Console(file=out, width=min(width, WIDTH), force_terminal=colour, no_color=not colour)
        for plugin in self.plugins:
            console.print(Text(plain(f"{plugin.kind} {plugin.name}"), style="bold"), Text(plain(plugin.origin), "dim"))
            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column(no_wrap=True)
            table.add_column(no_wrap=True)
            table.add_column(overflow="fold")
            for f in plugin.findings:
                status = Text("  " + ("FAIL" if f.status == "fail" else f.status), style=STATUSES[f.status])
                sentence = plain(f.sentence.removeprefix("skipped: "))
                cell = Text(sentence, style="dim" if f.status == "skipped" else "")
                table.add_row(status, f.check.replace("_", " "), cell)
            console.print(table)
            console.print()
        console.print(Text(plain(self.summary), style="" if self.passed else "bold red"), soft_wrap=True)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    @property
    def summary(self) -> str:
        """Returns the counts in one line."""
        statuses = [f.status for p in self.plugins for f in p.findings]
        words = {"pass": "passed", "note": "with a note", "skipped": "skipped", "fail": "failed"}
        counts = ", ".join(f"{statuses.count(s)} {w}" for s, w in words.items() if statuses.count(s))
        verdict = "conforms" if self.passed else "does not conform"
        return f"{self.target} {verdict}: {counts}"

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Report: {self.summary}>"


class once(Generic[T]):
    """A value that a subject makes when first asked; where that fails it is reported once, then skipped."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __get__(self, subject: Any, owner: type) -> T:
        kept = subject.__dict__.setdefault("_once", {})
        if self.make not in kept:
            try:
                kept[self.make] = self.make(subject), None
            except Exception as error:
                kept[self.make] = None, Skipped("it rests on what is reported above" if isinstance(error, Skipped) else
                                                "it rests on what failed above")  # fmt: skip
                raise
        value, problem = kept[self.make]
        if problem is not None:
            raise problem
        return value


def ask(checks: Sequence[Check], subject: Any, file: Path | None = None) -> list[Finding]:
    """Returns a finding for each check; what the plugin raises is a failure that names the line in `file`."""
    return [_ask(check, subject, file) for check in checks]


def _ask(check: Check, subject: Any, file: Path | None) -> Finding:
    expected = (check.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    name = check.__name__
    try:
        return Finding(name, "pass", expected, check(subject) or "")
    except Skipped as reason:
        return Finding(name, "skipped", expected, str(reason))
    except Noted as note:
        return Finding(name, "note", expected, note.came, note.remedy)
    except Failed as failure:
        return Finding(name, "fail", expected, failure.came, failure.remedy)
    except W2SError as error:
        return Finding(name, "fail", expected, " ".join(str(error).split()).rstrip("."))
    except Exception as error:
        return Finding(name, "fail", expected, f"it raised {loading.first_line_of(error, file)}")
