"""The rungs of the ladder: their sizes, where their weights lie, and what identifies them. No torch here."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from w2s_bench.errors import UsageError
from w2s_bench.estimate.shape import Shape
from w2s_bench.interfaces import Backbone

STEPS, BATCH = 6000, 256
"""Optimiser steps and sequences a step, the same for every rung."""
WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Size:
    """The shape of a rung, and the body learning rate at which it is finetuned as a supervisor."""

    width: int
    layers: int
    heads: int
    body_lr: float


SIZES = {
    "xxs": Size(16, 1, 2, 3e-4),
    "xs": Size(24, 2, 2, 2e-4),
    "s": Size(32, 2, 2, 1e-4),
    "sm": Size(48, 2, 3, 1e-4),
    "m": Size(64, 2, 4, 5e-5),
    "l": Size(128, 3, 4, 5e-5),
}


def peak_lr(width: int) -> float:
    """Returns the peak learning rate of pretraining: 3e-3 at width 64, inverse to the width, at most 1e-2."""
    return min(0.01, 0.192 / width)


def rung_name(size: str, checkpoint: int, saliency: float, steps: int = STEPS) -> str:
    """Returns the name of a shipped rung's folder, such as `m-0-sal0.3`; with the steps, where they are fewer."""
    return f"{size}-{checkpoint}-sal{saliency:g}" + (f"-step{steps}" if steps != STEPS else "")


def shipped() -> list[str]:
    """Returns the names of the rungs that come with the package."""
    return sorted(folder.parent.name for folder in WEIGHTS.glob("*/model.safetensors"))


def rung_folder(size: str, checkpoint: int, saliency: float, path: str | None = None, steps: int = STEPS) -> Path:
    """Returns the folder of a shipped rung, or `path` where the user grew one; UsageError where there is none."""
    folder = Path(path).expanduser() if path else WEIGHTS / rung_name(size, checkpoint, saliency, steps)
    if (folder / "model.safetensors").is_file() and (folder / "config.json").is_file():
        return folder
    if path:
        raise UsageError(f"{path}: no rung here (model.safetensors, config.json); grow one: w2s pretrain --out {path}")
    raise UsageError(
        f"no rung {folder.name}; shipped are {', '.join(shipped())}; "
        f"another: w2s pretrain --size {size} --seed {checkpoint} --saliency {saliency:g}"
        f"{f' --steps {steps}' if steps != STEPS else ''} --out DIR, then path=DIR"
    )


def digest(folder: Path) -> str:
    """Returns 16 hex digits that identify a rung's weights and shape."""
    files = [folder / "config.json", folder / "model.safetensors"]
    return _digest(tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@lru_cache(maxsize=256)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    summed = hashlib.sha256()
    for name, _, _ in files:
        summed.update(hashlib.sha256(Path(name).read_bytes()).digest())
    return summed.hexdigest()[:16]


def read_card(folder: Path) -> dict:
    """Returns what is known about a rung's pretraining, {} where it has no card."""
    card = folder / "card.json"
    return json.loads(card.read_text()) if card.is_file() else {}


def shape_of(folder: Path, layers: int | None = None) -> Shape:
    """Returns the size of a rung, or of it with its first `layers` alone, read off the header of its weights."""
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text())
    layers = config["n_layer"] if layers is None else layers
    left_out = tuple(f"transformer.h.{k}." for k in range(layers, config["n_layer"]))
    with safe_open(folder / "model.safetensors", "np") as stored:
        names = [name for name in stored.keys() if not name.startswith(left_out)]  # noqa: SIM118
        sizes = [stored.get_slice(name).get_shape() for name in names]
    return Shape(
        weights=sum(math.prod(size) for size in sizes),
        layers=layers,
        hidden=config["n_embd"],
        vocabulary=config["vocab_size"],
        positions=config["n_positions"],
        name=f"ladder {folder.name}",
    )


def load_backbone(folder: Path) -> Backbone:
    """Returns a fresh copy of a rung, ready for a head."""
    from w2s_bench.plugins.ladder.model import load
    from w2s_bench.plugins.ladder.tokenizer import decode, encode

    module = load(folder)
    return Backbone(
        module=module,
        encode=encode,
        pad_id=0,
        width=module.shape.width,
        identity={"name": f"ladder-{folder.name}", "digest": digest(folder)},
        max_length=module.shape.positions,
        decode=decode,
        end_id=0,  # padding: nothing else follows a sentence in the pretraining text
    )
