"""What observers see: one frozen dataclass for each observation hook."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunStarted:
    """A plan before its first stage."""

    cells: int
    """Cells asked for."""
    stages: int
    """Stages that they share."""
    cached: int
    """Stages among them that are already there."""


@dataclass(frozen=True)
class StageFinished:
    """A stage whose artefact is there."""

    kind: str
    """prepare, supervise, ceiling or train."""
    label: str
    """For people."""
    seconds: float
    cached: bool


@dataclass(frozen=True)
class RunFailed:
    """A cell without a result."""

    cell: str
    status: str
    """failed or timeout."""
    reason: str


@dataclass(frozen=True)
class RunFinished:
    """The counts after the last cell."""

    ok: int
    failed: int
    seconds: float
