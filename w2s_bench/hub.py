"""The Hugging Face hub: the commit behind a name, so that a result names exactly what it rests on."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from w2s_bench.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
READ_BY_MODELS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.spm")
"""Beside the weights."""


def resolve_commit(name: str, kind: str, revision: str | None, option: str) -> str:
    """Returns the commit of a `model` or `dataset` that a revision (default `main`) names.

    Asks the hub, or where it cannot be reached the local cache. UsageError, naming `option`, where neither knows it.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants, hf_hub_download

    why = ""
    try:
        if not constants.HF_HUB_OFFLINE:  # asked first, because it says at once where there is no network
            HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=10)
        # Any small file does: the cache keeps the commit that comes with the answer, even to a file that is not there.
        hf_hub_download(name, "config.json" if kind == "model" else "README.md", repo_type=kind, revision=revision)
    except Exception as error:  # no such name or file, no access, no network, in as many types
        why = one_line(error)
    ref = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}" / "refs" / (revision or "main")
    if ref.is_file():
        return ref.read_text().strip()
    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set and the cache has none"
    at = f" at revision {revision!r}" if revision else ""
    download = f"hf download {name}{' --repo-type dataset' if kind == 'dataset' else ''}"
    raise UsageError(
        f"{option}={name}: no such path here, and no {kind} of that name{at} is found on the Hugging Face hub ({why}); "
        f"give a path, a name that the hub and your token know, or, where there is a network, first: {download}"
    )


def one_line(error: BaseException) -> str:
    """Returns the first line of an error that was written for a terminal."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")


# --- what workers may see of the hub's cache; they fetch nothing themselves


def is_offline() -> bool:
    """Returns whether nothing may be asked of the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def go_offline() -> None:
    """Has this process look into the cache alone, at once and without trying the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def fetch_model(name: str, revision: str | None, option: str) -> str | None:
    """Returns None once the cache has what `from_pretrained` reads of a model, or one line about why it may not."""
    from huggingface_hub import HfApi, snapshot_download

    if is_offline():
        return None
    try:
        commit = resolve_commit(name, "model", revision, option)
        files = HfApi().list_repo_files(name, revision=commit)
        weights = "safetensors" if any(f.endswith(".safetensors") for f in files) else "bin"
        snapshot_download(name, revision=commit, allow_patterns=[*READ_BY_MODELS, f"*.{weights}"])
    except Exception as error:  # no network, no access, a full disk, in as many types
        return one_line(error)
    return None


def model_folders() -> list[Path]:
    """Returns the cached models' folders."""
    from huggingface_hub import constants

    return sorted(Path(constants.HF_HUB_CACHE).glob("models--*"))


def dataset_folders() -> list[Path]:
    """Returns the folders with cached datasets, truth among them."""
    from huggingface_hub import constants

    return [_datasets(), *Path(constants.HF_HUB_CACHE).glob("datasets--*")]


def dataset_caches(name: str, is_local: bool) -> list[Path]:
    """Returns the folders that reading a dataset of this name, or a local one, writes to; they are made."""
    from huggingface_hub import constants

    of_name = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}"
    if not of_name.is_dir() and not is_local:
        return []
    caches = [_datasets()]
    if of_name.is_dir():
        caches += [of_name, Path(constants.HF_HUB_CACHE) / ".locks", Path(constants.HF_XET_CACHE)]
    for folder in caches:
        folder.mkdir(parents=True, exist_ok=True)
    return caches


def settings() -> list[Path]:
    """Returns the files with the user's settings for the hub, its token among them."""
    from huggingface_hub import constants

    return [Path(constants.HF_TOKEN_PATH), Path(constants.HF_STORED_TOKENS_PATH)]


def _datasets() -> Path:
    """Returns where `datasets` keeps what it has read; it is not imported for that."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets").expanduser()
