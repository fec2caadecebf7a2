"""Schema of a record."""

from __future__ import annotations

from typing import Any

SIDE = {"accuracy": float, "auroc": float, "log_loss": float, "ece": float}
FILE = {"path": str, "sha256": str, "run_sha256": str}
STAGES = {k: {"seconds": float, "steps": float} for k in ("prepare", "supervise", "ceiling", "train")}
RECORD: dict[str, Any] = {
    "protocol_settings": {"metric": str, "secret": str},
    "suite": str,
    "reason": str,
    "track": str,
    "imported": {"baselines": {"floor": [float], "ceiling": [float]}},
    "test": {"floor": SIDE, "student": SIDE, "ceiling": SIDE, "agreement": {}, "supervisors": {}, "joint": {}},
    "transfer": {},
    "validation": {"n": float, "agreement": float, "log_loss": float},
    "tuning": {"rule": str, "seeds": [float], "trials": [{"options": {}, "agreement": float, "log_loss": float}]},
    "pgr": float,
    "cost": {
        "device": str,
        "seconds": float,
        "steps": float,
        "flops": float,
        "supervisor_calls": float,
        "resumed": float,
        "stages": STAGES,
    },
    "provenance": {
        "finished": str,
        "command": str,
        "git": {},
        "host": {},
        "plugins": [{"name": str}],
        "confined": str,
    },
    "predictions": FILE,
    "scores": FILE,
}
"""By key: `str`, `float` (any number), an object with more keys, or a list; each may also be absent or null."""


def schema_error(value: Any, shape: Any, name: str = "") -> str | None:
    """Returns in words what part of a JSON value is not of its shape, None where all fits."""
    if value is None:
        return None
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{name} is {type(value).__name__}, expected an object"
        for key, part in shape.items():
            inner = value.get(key)
            if inner is None or type(inner) is part:  # nearly always, and this is done for every record
                continue
            if error := schema_error(inner, part, f"{name}.{key}".lstrip(".")):
                return error
        return None
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} is {type(value).__name__}, expected a list"
        each = (schema_error(v, shape[0], f"{name}[{i}]") for i, v in enumerate(value))
        return next((error for error in each if error), None)
    fits = isinstance(value, str) if shape is str else isinstance(value, int | float) and not isinstance(value, bool)
    return None if fits else f"{name} is {type(value).__name__}, expected {'text' if shape is str else 'a number'}"
