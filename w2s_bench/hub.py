"""The Hugging Face hub: the commit behind a name, so that a result names exactly what it rests on."""

from __future__ import annotations

import re
from pathlib import Path

from w2s_bench.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")


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
