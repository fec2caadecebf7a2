"""What a sweep needs of an engine, and what an engine says of a stage that has ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from w2s_bench.referee.confinement import Walls


@dataclass(frozen=True)
class Ended:
    """A stage that has left its worker."""

    key: str
    status: str
    """ok, failed, timeout, or lost: killed, maybe through no fault of its own."""
    reason: str = ""
    details: str = ""
    """Traceback and the end of the worker's output."""
    seconds: float = 0.0
    memory: int = 0
    """Peak bytes of the process, 0 where unknown."""
    alone: bool = False
    """lost: nothing else ran beside it."""
    confined: str | None = None
    """What its worker was confined by on a node of a cluster; None: as the sweep itself says."""
    host: dict[str, Any] | None = None
    """What the node is; None: the referee's machine."""


@dataclass(frozen=True)
class Submission:
    """A stage to be run."""

    key: str
    """Digest of the stage."""
    target: str
    """`module:function`, called with the job's folder."""
    folder: Path
    walls: Walls | None
    """None: none are wanted, or this machine has none."""
    seconds: float | None = None
    """What it may take, by what others like it took; None before any has ended."""
    sources: tuple[tuple[str, str], ...] = ()
    """The files of its plugins, each with its SHA-256, where another machine has to check them."""


class Engine(Protocol):
    """What the sweep needs of an engine."""

    name: ClassVar[str]
    walled: ClassVar[bool]
    """Whether what it starts is a process of its own, which walls can be put around."""
    remote: ClassVar[bool]
    """Whether stages run on other machines than the referee's."""
    outlives: ClassVar[bool]
    """Whether what was submitted goes on without the referee, and is to be collected by the next one."""

    @property
    def slots(self) -> int:
        """Returns how many stages may be submitted at a time."""

    @property
    def room(self) -> int:
        """Returns how many run at a time, as far as is known."""

    @property
    def resubmit(self) -> int | None:
        """Returns how often a lost stage is submitted again; None: until it was lost twice with nothing beside it."""

    def submit(self, submission: Submission) -> None:
        """Takes a stage to run it."""

    def adopt(self, key: str) -> Path | None:
        """Returns the folder of a stage that an earlier referee submitted and that goes on here, if there is one."""

    def running(self) -> list[str]:
        """Returns the keys of the stages that run now; the others that were submitted wait."""

    def wait(self, seconds: float) -> list[Ended]:
        """Returns what has ended, waiting at most so long for the first."""

    def close(self) -> None:
        """Ends everything that still runs, where it cannot outlive the referee."""
