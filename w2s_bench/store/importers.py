"""Records from result files of other tools: accuracies alone, marked as imported."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_bench import exchange
from w2s_bench.errors import UsageError
from w2s_bench.store.records import SCHEMA


@dataclass
class Import:
    """What came out of other tools' files."""

    records: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """One line for each thing that was left out, and why."""


def import_results(format: str, path: Path) -> Import:
    """Returns the records made from a folder of result files; raises UsageError where it has none."""
    if format not in FORMATS:
        raise UsageError(f"format {format!r} is none of {', '.join(FORMATS)}")
    if not Path(path).is_dir():
        raise UsageError(f"{path} is not a folder of {format} results")
    made = FORMATS[format](Path(path))
    if not made.records:
        why = f"; {made.notes[0]}" if made.notes else ""
        raise UsageError(f"{path} has no {format} result that can be imported ({LOOKS[format]} expected){why}")
    return made


def write_records(made: Import, store: Path) -> None:
    """Writes the records into a store."""
    for record in made.records:
        exchange.write_json(Path(store) / "records" / f"{record['digest']}.json", record)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _record(
    cell: dict[str, Any],
    accuracy: tuple[float, float, float],
    settings: dict[str, Any],
    imported: dict[str, Any],
    n: int | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Returns a record of floor, student and ceiling accuracy."""
    floor, student, ceiling = accuracy
    gap = ceiling - floor
    return {
        "schema": SCHEMA,
        "digest": _digest([cell, settings, imported]),
        "protocol": _digest(settings),
        "protocol_settings": settings,
        "suite": None,
        "cell": cell,
        "status": "ok",
        "reason": None,
        "control": False,
        "track": "weak-labels-only",
        "imported": imported,
        "test": {
            "n": n,
            "same_for_all_seeds": True,
            "floor": {"accuracy": floor},
            "student": {"accuracy": student},
            "ceiling": {"accuracy": ceiling},
            "joint": None,
        },
        "transfer": None,
        "pgr": (student - floor) / gap if gap > 0 else None,
        "cost": {"seconds": seconds, "device": None} if seconds is not None else None,
        "provenance": {"finished": None, "command": None},
        "predictions": None,
        "scores": None,
    }


def _read(path: Path, notes: list[str], needs: tuple[str, ...]) -> dict[str, Any] | None:
    """Returns a result file's object, None (and a note) where it is broken or lacks a number."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        notes.append(f"{path.parent.name}/{path.name}: not readable as JSON ({why}); left out")
        return None
    missing = [k for k in needs if not isinstance(value, dict) or not isinstance(value.get(k), int | float)]
    if missing:
        notes.append(f"{path.parent.name}/{path.name}: no number under {', '.join(missing)}; left out")
        return None
    return value


FLOORS, CEILINGS = "weak_artifacts", "train_ceiling"


def _aar(root: Path) -> Import:
    """Returns records from `<task>_<idea>/<setting>/seed_<n>.json`.

    That tool compares every student with fixed baselines, the means of floors and ceilings over seeds of their own. The
    records keep those baselines seed by seed, so that intervals carry their uncertainty too.
    """
    made = Import()
    tasks = sorted(p.name[: -len(FLOORS) - 1] for p in root.glob(f"*_{FLOORS}") if p.is_dir())
    for task in tasks:
        floors = _accuracies(root / f"{task}_{FLOORS}", "weak_acc", made.notes)
        ceilings = _accuracies(root / f"{task}_{CEILINGS}", "strong_acc", made.notes)
        if not floors or not ceilings:
            made.notes.append(f"{task}: no {FLOORS if not floors else CEILINGS} files; its results are left out")
            continue
        for folder in sorted(root.glob(f"{task}_*/*")):
            idea = folder.parent.name[len(task) + 1 :]
            if folder.is_dir() and idea not in (FLOORS, CEILINGS):
                made.records += _aar_runs(folder, task, idea, floors, ceilings, made.notes)
    return made


def _accuracies(folder: Path, key: str, notes: list[str]) -> list[float]:
    files = [_read(p, notes, (key,)) for p in sorted(folder.glob("*/seed_*.json"))]
    return [float(f[key]) for f in files if f is not None]


def _aar_runs(
    folder: Path, task: str, idea: str, floors: list[float], ceilings: list[float], notes: list[str]
) -> list[dict[str, Any]]:
    """Returns the records of one setting; none where its files do not differ by seed."""
    paths = sorted(folder.glob("seed_*.json"))
    runs = [(p, r) for p in paths if (r := _read(p, notes, ("transfer_acc", "seed"))) is not None]
    seeds = [int(r["seed"]) for _, r in runs]
    if len(set(seeds)) < len(seeds):
        named = ", ".join(p.stem.removeprefix("seed_") for p, _ in runs)
        rounded = all(round(float(r.get("pgr") or 0), 4) == r.get("pgr") for _, r in runs)
        notes.append(
            f"{task}_{idea}: {len(runs)} files named for seeds {named} record seeds {', '.join(map(str, seeds))}"
            f"{' and rounded PGRs' if rounded else ''}; runs that cannot be distinguished are not averaged, left out"
        )
        return []
    settings = {"imported": "aar", "baselines": "floor and ceiling over their own seeds"}
    floor, ceiling = sum(floors) / len(floors), sum(ceilings) / len(ceilings)
    out = []
    for path, run in runs:
        cell = {
            "task": {"name": task, "dataset": run.get("dataset_name")},
            "supervisors": [{"name": str(run.get("weak_model"))}],
            "student": {"name": str(run.get("strong_model"))},
            "mitigations": [] if idea == "vanilla_w2s" else [{"name": idea}],
            "seed": int(run["seed"]),
        }
        imported = {
            "format": "aar",
            "source": f"{folder.parent.name}/{folder.name}/{path.name}",
            "baselines": {"floor": floors, "ceiling": ceilings},
        }
        accuracy = (floor, float(run["transfer_acc"]), ceiling)
        out.append(_record(cell, accuracy, settings, imported, seconds=run.get("training_time")))
    return out


SHARED = ("ds_name", "n_docs", "n_test_docs", "max_ctx", "epochs", "batch_size", "optim", "lr_schedule")


def _openai_w2s(root: Path) -> Import:
    """Returns records from folders with `config.json` and `results_summary.json`, as openai/weak-to-strong writes them.

    A run with `weak_model` is a student; its floor is the ground-truth run of that model, its ceiling the ground-truth
    run of its own, each of the same seed.
    """
    made = Import()
    truth: dict[str, float] = {}
    students = []
    for path in sorted(root.rglob("config.json")):
        config = _read(path, made.notes, ("seed",))
        result = config and _read(path.with_name("results_summary.json"), made.notes, ("accuracy",))
        if not config or not result:
            continue
        if "weak_model" in config:
            students.append((path.parent, config, float(result["accuracy"])))
        else:
            truth[_run_of(config)] = float(result["accuracy"])
    for folder, config, accuracy in students:
        settings = {k: v for k, v in config.items() if not k.startswith("weak_") and k != "loss"}
        floor = truth.get(_run_of(config["weak_model"]))
        ceiling = truth.get(_run_of(settings))
        if floor is None or ceiling is None:
            which = "weak model" if floor is None else "student"
            made.notes.append(f"{folder.name}: no ground-truth run of its {which} with the same settings; left out")
            continue
        loss = str(config.get("loss"))
        cell = {
            "task": {"name": str(config.get("ds_name"))},
            "supervisors": [_model(config["weak_model"])],
            "student": _model(config),
            "mitigations": [] if loss == "xent" else [{"name": loss}],
            "seed": int(config["seed"]),
        }
        settings = {"imported": "openai-w2s", **{k: config.get(k) for k in SHARED if k != "ds_name"}}
        imported = {"format": "openai-w2s", "source": re.sub(r"[^\w=,.+-]", "_", folder.name)}
        made.records.append(_record(cell, (floor, accuracy, ceiling), settings, imported, config.get("n_test_docs")))
    return made


def _run_of(config: dict[str, Any]) -> str:
    """Returns what two ground-truth runs share exactly where they are the same; the loss means nothing there."""
    return json.dumps({k: v for k, v in config.items() if k != "loss"}, sort_keys=True)


def _model(config: dict[str, Any]) -> dict[str, Any]:
    return {"name": str(config.get("model_size")), "lr": config.get("lr"), "linear_probe": config.get("linear_probe")}


FORMATS: dict[str, Callable[[Path], Import]] = {"aar": _aar, "openai-w2s": _openai_w2s}
LOOKS = {"aar": "<task>_<idea>/<setting>/seed_<n>.json", "openai-w2s": "config.json beside results_summary.json"}
