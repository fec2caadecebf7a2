"""Run settings: ranges, refused Trainer arguments, where records and cached stages go."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from w2s_bench.errors import UsageError, nearest
from w2s_bench.estimate.machine import CARDS

PROTOCOL = "it is part of the protocol: set "
REFUSED_TRAINER = {
    "max_steps": PROTOCOL + "protocol.training.epochs",
    "max_epochs": PROTOCOL + "protocol.training.epochs",
    "min_steps": PROTOCOL + "protocol.training.epochs",
    "min_epochs": PROTOCOL + "protocol.training.epochs",
    "max_time": "the last step counts for all: set protocol.training.epochs",
    "precision": PROTOCOL + "protocol.training.precision",
    "accumulate_grad_batches": PROTOCOL + "protocol.training.accumulate",
    "gradient_clip_val": PROTOCOL + "protocol.training.clip_norm",
    "gradient_clip_algorithm": "gradients are clipped by norm: set protocol.training.clip_norm",
    "limit_train_batches": "it changes what is trained on: set task.n_transfer",
    "limit_val_batches": "it changes what is selected on: set task.n_validation",
    "limit_test_batches": "it changes what is scored: set task.n_test",
    "limit_predict_batches": "it changes what is scored: set task.n_test",
    "overfit_batches": "it changes what is trained on: set task.n_transfer",
    "fast_dev_run": "it changes what is trained on: set task.n_transfer=64 task.n_test=64",
    "val_check_interval": "nothing is validated during training: the last step counts for all",
    "check_val_every_n_epoch": "nothing is validated during training: the last step counts for all",
    "num_sanity_val_steps": "nothing is validated during training: the last step counts for all",
    "reload_dataloaders_every_n_epochs": "a mitigation orders the examples: implement order_examples",
    "use_distributed_sampler": "a mitigation orders the examples: implement order_examples",
    "callbacks": "what changes training is a mitigation, what watches it an observer plugin: implement its hooks",
    "plugins": "they can change the arithmetic: set protocol.training.precision",
    "sync_batchnorm": "it changes the model: wrap it in a student plugin",
    "deterministic": "runs repeat bit for bit already; leave it out",
    "logger": "records are the log: watch a run with an observer plugin (hook stage_finished)",
    "enable_checkpointing": "the harness keeps what it needs; leave it out",
    "default_root_dir": "the store is where results go: set --store",
    "inference_mode": "the harness decides it; leave it out",
    "barebones": "the harness decides it; leave it out",
}
"""Arguments of Lightning's Trainer that touch the protocol, with where to go instead."""

Check = tuple[Callable[[Any], bool], str]
POSITIVE: Check = (lambda v: v > 0, "expects more than 0")
AT_LEAST_0: Check = (lambda v: v >= 0, "expects 0 or more")
FINITE: Check = (lambda v: 0 < v < math.inf, "expects a number of seconds, more than 0")
UNSET_OR_AT_LEAST_0: Check = (lambda v: v is None or v >= 0, "expects 0 or more, or null")
UNSET_OR_MORE: Check = (lambda v: v is None or v > 0, "expects more than 0, or null")
SHARE: Check = (lambda v: 0 <= v <= 1, "expects a share between 0 and 1")


def one_of(*words: str) -> Check:
    """Returns the check that a text is one of these."""
    return (lambda v: v in words, f"expects one of {', '.join(words)}")


RANGES: dict[str, dict[str, Check]] = {
    "recipe": {
        "epochs": POSITIVE,
        "batch_size": POSITIVE,
        "schedule": one_of("cosine", "linear"),
        "warmup": SHARE,
        "weight_decay": AT_LEAST_0,
        "clip_norm": AT_LEAST_0,
        "precision": one_of("32-true", "bf16-mixed"),
        "accumulate": POSITIVE,
    },
    "task": dict.fromkeys(("n_supervision", "n_transfer", "n_validation", "n_test"), POSITIVE)
    | dict.fromkeys(("n_gold", "n_unlabelled"), AT_LEAST_0),
    "student": {
        "tune": one_of("full", "probe", "lora"),
        "body_lr": AT_LEAST_0,
        "head_lr": AT_LEAST_0,
        "max_length": POSITIVE,
        "replicate": AT_LEAST_0,
    },
    "engine": {
        "workers": AT_LEAST_0,
        "timeout_s": POSITIVE,
        "save_every_s": FINITE,
        "confine": one_of("auto", "required", "off"),
        "resubmit": AT_LEAST_0,
        "bundle_s": POSITIVE,
        "time_limit_min": POSITIVE,
        "cpus": UNSET_OR_MORE,
        "gpus": UNSET_OR_AT_LEAST_0,
        "memory_gb": UNSET_OR_MORE,
    },
    "hardware": {
        "threads": POSITIVE,
        "card": (lambda v: v is None or v in CARDS, f"no such card is known, one of {', '.join(CARDS)} is expected"),
    },
}
"""Allowed values of the harness's options."""


def unknown_option(key: str, option: str, declared: Iterable[str]) -> str:
    """Returns the sentence for an option that an entry does not have."""
    known = sorted(declared)
    return f"{key}: no such option{nearest(option, known) or ';'} " + (
        f"there are {', '.join(known)}" if known else "there are none"
    )


def check_range(group: str, key: str, option: str, value: Any) -> None:
    """Raises UsageError if one of the harness's options is out of its range."""
    is_allowed, expected = RANGES.get(group, {}).get(option, (lambda v: True, ""))
    try:
        allowed = is_allowed(value)
    except TypeError:
        allowed = False
    if not allowed:
        raise UsageError(f"{key}: {expected}, not {value!r}")


def check_trainer(key: str, known: dict[str, Any]) -> None:
    """Raises UsageError if a Trainer argument is unknown or touches the protocol."""
    name = key.removeprefix("trainer.").partition(".")[0]
    if name in REFUSED_TRAINER:
        raise UsageError(f"{key}: refused, {REFUSED_TRAINER[name]}")
    if name not in known:
        raise UsageError(f"{key}: no such argument{nearest(name, known) or ';'} there are {', '.join(known)}")


def store_folder(folder: str | None = None) -> str:
    """Returns the folder of records: this one, else W2S_STORE, else ./w2s-runs."""
    return str(Path(folder or os.environ.get("W2S_STORE") or "w2s-runs").expanduser())


def cache_folder(folder: str | None = None) -> str:
    """Returns the folder of shared stages: this one, else W2S_CACHE, else the platform's user cache folder."""
    if folder or os.environ.get("W2S_CACHE"):
        return str(Path(folder or os.environ["W2S_CACHE"]).expanduser())
    import platformdirs

    return platformdirs.user_cache_dir("w2s_bench", appauthor=False)
