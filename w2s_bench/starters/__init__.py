"""Plugins to start from: one file for each kind, its test, and what makes a distribution of them.

The files work as they are; `write` puts the user's name in the place of `new_plugin`.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

import w2s_bench
from w2s_bench.errors import UsageError, nearest
from w2s_bench.registry.registry import NAME

HERE = Path(__file__).parent
CHOICES = {
    "mitigation": "'mitigation=[new_plugin]'",
    "task": "task=new_plugin 'supervisor=[tfidf]' student=hf student.model=NAME_OR_PATH",
    "supervisor": "'supervisor=[new_plugin]'",
    "student": "student=new_plugin",
    "metric": "protocol.metric=new_plugin",
}
"""For each kind, what `w2s run` needs to use the plugin."""


def write(kind: str, name: str, folder: Path) -> list[Path]:
    """Returns the files of a new distribution, written to `folder`/`name`.

    UsageError where there is no such kind, where the name is not to be had, or where something is there already.
    """
    if kind not in CHOICES:
        if kind == "suite":
            raise UsageError("a suite is one YAML file: `description:` and `sweeps:`; then w2s suite FILE.yaml")
        raise UsageError(f"no kind '{kind}'{nearest(kind, CHOICES) or ';'} there are {', '.join(CHOICES)}")
    _check_name(name)
    place = folder / name
    if place.exists():
        raise UsageError(f"{place} is there already, and nothing is overwritten; choose another name or --dir")
    sources = {
        f"{name}.py": f"{kind}.py",
        f"test_{name}.py": f"test_{kind}.py",
        "pyproject.toml": "distribution.toml",
        "README.md": "README.md",
    }
    try:
        place.mkdir(parents=True)
        for file, source in sources.items():
            (place / file).write_text(_renamed((HERE / source).read_text(), kind, name))
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}; choose another --dir") from error
    return [place / file for file in sources]


def _renamed(text: str, kind: str, name: str) -> str:
    words = {
        "NEW_CHOICE": CHOICES[kind],
        "new_kind": kind,
        "NEW.VERSION": ".".join(w2s_bench.__version__.split(".")[:2]),
        "new-plugin": name.replace("_", "-"),
        "new_plugin": name,
        "NewPlugin": "".join(part.capitalize() for part in name.split("_")),
    }
    for placeholder, replacement in words.items():
        text = text.replace(placeholder, replacement)
    return text


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        close = re.sub(r"_+", "_", re.sub(r"[^a-z0-9]", "_", words)).strip("_0123456789")[:64] or "my_plugin"
        raise UsageError(f"NAME '{name}': a name is lower-case letters, digits and _, 64 at most; take '{close}'")
    if keyword.iskeyword(name) or importlib.util.find_spec(name) is not None:
        raise UsageError(f"NAME '{name}': Python has a module or word of this name already; take 'my_{name}'")
