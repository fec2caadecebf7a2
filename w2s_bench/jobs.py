"""A job: the folder that a worker process gets, and the one that it leaves behind.

    job.json                the `Job` below
    in/<split>.parquet      inputs without truth (`exchange.write_inputs`)
    in/truth.npy            [N] ints: supervise gets the supervision split's, ceiling the transfer split's, train none
    in/gold.parquet, .npy   train, for mitigations that declare `ground_truth` alone: the gold budget
    in/unlabelled.parquet   train, where the task has unlabelled texts
    in/truths.npz           supervise, for a control that declares `truth` alone: of every split
    in/transfer_truth.npy   train, for a control that declares `transfer_truth` alone
    in/votes.npz            train: `transfer` and `validation`, [S, N, C] floats
    in/supervisors/<k>/     train: what supervisor k saved of itself, where it saved anything
    saved/                  what an earlier process saved of its fits before it was killed (`training.resume`)
    out/votes.npz           supervise: `transfer`, `validation`, `test`, [N, C]; a row of NaN abstains
    out/supervisor/         supervise: whatever the supervisor saved
    out/predictions.parquet ceiling, train: splits `test` and `transfer`, train `validation` too
    out/cost.json           `Cost`
    out/identity.json       names and revisions of the backbones
    out/error.json          in place of the rest: {"message": one sentence that names the culprit, "traceback": str}
    cache/                  what the worker adds to the workers' cache
    tmp/                    the worker's working directory, and where its temporary files go
    log.txt                 all that it printed
    Generation tasks     truth and votes are arrays of texts, an empty one abstains; predictions are texts

A worker can write to `out`, `cache` and `tmp`.

The folder's name, the seeds and everything else in it derive from nothing that derives from hidden truth.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from w2s_bench import exchange
from w2s_bench.cells import Entry
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Recipe, TaskInfo


@dataclass(frozen=True)
class Job:
    """One stage, as a worker sees it."""

    stage: str
    """supervise, ceiling or train."""
    task: TaskInfo
    entry: Entry
    """The supervisor to fit, or the student."""
    seed: int
    recipe: Recipe
    """Of supervision or of training; the student's learning rates, tuning and length are already in it."""
    mitigations: tuple[Entry, ...] = ()
    supervisors: tuple[Entry, ...] = ()
    """train: in the order of the votes."""
    intermediate: dict[str, Entry] = field(default_factory=dict)
    supervision: Recipe = field(default_factory=Recipe)
    """train: the supervisors' recipe, so that a saved one can be restored."""
    hardware: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    """Paths and modules of the plugins that are named here, where the user named them."""
    installed: tuple[str, ...] = ()
    """The same of installed distributions. No other plugin is loaded: its code has no business here."""
    cache: tuple[str, ...] = ()
    """Folders of the workers' cache (frozen features) that may be read, keyed by label-free content."""
    students: dict[str, str] = field(default_factory=dict)
    """By name (`strong` or an intermediate's): digests of the students that every seed loads alike."""
    save_every_s: float = 300.0
    """How often the state of a fit is saved, so that a kill costs no more."""

    def write(self, folder: Path) -> None:
        """Writes job.json."""
        exchange.write_json(folder / "job.json", asdict(self))

    @staticmethod
    def read(folder: Path) -> Job:
        """Returns the job in a folder."""
        raw = exchange.read_json(folder / "job.json")
        return Job(
            task=TaskInfo(**raw.pop("task")),
            entry=Entry(**raw.pop("entry")),
            recipe=Recipe(**raw.pop("recipe")),
            supervision=Recipe(**raw.pop("supervision")),
            intermediate={k: Entry(**e) for k, e in raw.pop("intermediate").items()},
            mitigations=tuple(Entry(**e) for e in raw.pop("mitigations")),
            supervisors=tuple(Entry(**e) for e in raw.pop("supervisors")),
            plugins=tuple(raw.pop("plugins")),
            installed=tuple(raw.pop("installed")),
            cache=tuple(raw.pop("cache")),
            **raw,
        )


@dataclass
class Cost:
    """What a stage took."""

    seconds: float = 0.0
    device: str = "cpu"
    peak_memory_bytes: int = 0
    steps: int = 0
    examples: int = 0
    tokens: int = 0
    flops: float = 0.0
    """Estimate: 6 x weights x tokens trained on, 2 x weights x tokens read."""
    supervisor_calls: int = 0
    """Examples that a mitigation asked a supervisor about during training."""
    resumed: int = 0
    """How often it went on from what a killed process had saved; the counts are of all processes together."""

    def write(self, folder: Path) -> None:
        """Writes cost.json."""
        exchange.write_json(folder / "cost.json", asdict(self))

    @staticmethod
    def parse(content: bytes) -> Cost:
        """Returns the content of cost.json; ValueError where that is no cost."""
        cost = exchange.parse_json(content)
        kinds = {name: (str,) if name == "device" else (int, float) for name in asdict(Cost())}
        if not isinstance(cost, dict) or set(cost) != set(kinds):
            raise ValueError(f"expected an object with {', '.join(kinds)}")
        for name, kind in kinds.items():
            if type(cost[name]) not in kind or (kind != (str,) and cost[name] < 0):
                raise ValueError(f"{name} is {cost[name]!r:.60}, expected {'text' if kind == (str,) else 'a number'}")
        return Cost(**cost)


def parse_identity(content: bytes) -> dict[str, Any]:
    """Returns the content of identity.json: each network's identity by the name of its student or supervisor."""
    identity = exchange.parse_json(content)
    if not isinstance(identity, dict):
        raise ValueError(f"is a {type(identity).__name__}, expected an object")
    return identity


def run_in(folder: str, work: Callable[[Path], None]) -> None:
    """Does a folder's work in this process; where it fails, leaves `out/error.json` there and exits with status 1."""
    path = Path(folder)
    try:
        work(path)
    except Exception as error:
        message = str(error) if isinstance(error, W2SError) else f"{type(error).__name__}: {error}"
        exchange.write_json(path / "out" / "error.json", {"message": message, "traceback": traceback.format_exc()})
        sys.exit(1)
