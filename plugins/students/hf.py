"""Any Hugging Face sequence model as a student, causal or bidirectional, by name or local path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_bench import hookimpl, hub
from w2s_bench.errors import UsageError
from w2s_bench.estimate.shape import Shape
from w2s_bench.interfaces import TASK_KINDS, Backbone
from w2s_bench.plugins.pretrained import loading, sizes
from w2s_bench.plugins.pretrained.identity import folder_digest


@hookimpl
def register_students(register) -> None:
    """Registers the student."""
    register("hf", HfStudent)


class Pretrained:
    """A pretrained model that options name; what the student and the supervisor share."""

    role: str
    """What the model serves as, for messages."""
    options: Any

    def fingerprint(self) -> str:
        """Returns the digest of a local folder, or the name and commit of a model of the hub."""
        identity = self._identity()
        return f"{identity['name']}@{identity.get('revision') or identity['digest']}"

    def shape(self) -> Shape:
        """Returns the size of the network, out of its configuration alone."""
        if not self.options.model:
            raise UsageError(f"{self.role}=hf needs {self.role}.model=NAME_OR_PATH")
        return sizes.shape_of(self.options, f"{self.role}.model")

    def load(self) -> Backbone:
        """Returns a fresh copy of the network, with the tokeniser that came with it."""
        option = f"{self.role}.model"
        model, revision, identity = self.options.model, None, self._identity()
        if "revision" in identity:
            revision = identity["revision"]
        else:
            model = str(Path(model).expanduser())
        return loading.load_backbone(model, revision, self.options, identity, option)

    def _identity(self) -> dict[str, str]:
        model, option = self.options.model, f"{self.role}.model"
        if not model:
            raise UsageError(f"{self.role}=hf needs {option}=NAME_OR_PATH")
        path = Path(model).expanduser()
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise UsageError(f"{option}={model}: no model in this folder (config.json is missing)")
            return {"name": path.resolve().name, "digest": folder_digest(path)}
        if path.exists() or not hub.NAME.fullmatch(model):
            raise UsageError(f"{option}={model}: no such folder; give a folder with config.json, or a name of the hub")
        return {"name": model, "revision": hub.resolve_commit(model, "model", self.options.revision, option)}


class HfStudent(Pretrained):
    """A Hugging Face model with a new head: `tune=full` all weights, `probe` the head alone, `lora` adapters."""

    role = "student"
    pretrained = True
    kinds = frozenset(TASK_KINDS)

    @dataclass
    class Options(loading.Options):
        body_lr: float = 5e-5
        """Peak learning rate of the pretrained weights."""
        head_lr: float = 1e-3
        """Peak learning rate of the new head."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def backbone(self, seed: int) -> Backbone:
        """Returns a fresh copy of the network; `seed` plays no part, for no weight is drawn."""
        return self.load()
