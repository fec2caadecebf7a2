"""The example plugins work: the one in a file, and the distribution, loaded from its folder and as installed."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from w2s_bench.registry import loading, registry, stacking

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FOLDER = EXAMPLES / "w2s-example"
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
LABELS = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])


def installed() -> bool:
    """Returns whether the distribution is installed here."""
    try:
        importlib.metadata.distribution(PROJECT["name"])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_install = pytest.mark.skipif(not installed(), reason="needs `pip install ./examples/w2s-example`")


def entry(path: Path, name: str) -> registry.Registration:
    """Returns what a file registers under a name; other plugins' entries of that name do not count."""
    loaded = registry.Registry()
    found = loading._file(str(path), strict=True)
    assert isinstance(found, loading.LoadedPlugin), found
    loaded.add(found)
    loaded.register_all()
    assert not loaded.broken
    return loaded.get("mitigation", name)


def w2s(*words: str, folder: Path) -> str:
    """Returns what a command printed."""
    environment = os.environ | {"W2S_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    for name in ("W2S_STORE", "W2S_PLUGINS"):
        environment.pop(name, None)
    ended = subprocess.run(
        [sys.executable, "-m", "w2s_bench", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


SMALL = ("task.n_supervision=64", "task.n_transfer=64", "task.n_validation=16", "task.n_test=64", "engine.workers=1")


def test_the_files_are_as_short_as_promised():
    assert len((EXAMPLES / "sharper.py").read_text().splitlines()) <= 20
    assert len((FOLDER / "w2s_example.py").read_text().splitlines()) <= 40


def test_metadata_names_the_module_as_an_entry_point():
    modules = tomllib.loads((FOLDER / "pyproject.toml").read_text())["tool"]["setuptools"]["py-modules"]
    assert list(PROJECT["entry-points"]) == [loading.GROUP]
    assert list(PROJECT["entry-points"][loading.GROUP].values()) == modules
    assert all((FOLDER / f"{m}.py").is_file() for m in modules)
    assert (FOLDER / PROJECT["readme"]).is_file()
    assert PROJECT["dependencies"] == ["w2s_bench>=" + ".".join(loading.our_version().split(".")[:2])]


def test_names_do_not_clash_with_built_ins():
    built_in = {r.name for r in registry.load().entries("mitigation") if r.distribution == loading.OURS}
    for path in (EXAMPLES / "sharper.py", FOLDER / "w2s_example.py"):
        assert not built_in & set(loading.names_in(path))


def test_examples_import_nothing_heavy():
    for path in (EXAMPLES / "sharper.py", FOLDER / "w2s_example.py"):
        imported = {n.module or "" for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)}
        assert imported <= {"dataclasses", "w2s_bench"}


@pytest.mark.parametrize("path, name", [("sharper.py", "sharper"), ("w2s-example/w2s_example.py", "label_temperature")])
def test_each_loads_through_the_registry(path, name):
    found = entry(EXAMPLES / path, name)
    assert found.summary and [i.hook for i in stacking.implementations(found.cls)] == ["revise_labels"]
    revised = found.build().revise_labels(LABELS)
    assert torch.allclose(revised.sum(-1), torch.ones(3))
    assert torch.equal(revised.argmax(-1)[::2], LABELS.argmax(-1)[::2])
    assert revised[0, 0] > LABELS[0, 0] and torch.allclose(revised[1], LABELS[1])


def test_temperature_does_what_its_option_says():
    found = entry(FOLDER / "w2s_example.py", "label_temperature")
    at = {t: found.build({"temperature": t}).revise_labels(LABELS[:1]) for t in (0.5, 1.0, 2.0)}
    assert torch.allclose(at[1.0], LABELS[:1])
    assert torch.allclose(at[0.5], torch.tensor([[0.81, 0.01]]) / 0.82)
    assert at[2.0][0, 0] < 0.9
    with pytest.raises(ValueError, match="temperature must be above 0"):
        found.build({"temperature": 0.0})


def test_a_file_runs_stacked_and_stands_on_the_board(tmp_path):
    (tmp_path / "sharper.py").write_text((EXAMPLES / "sharper.py").read_text())
    stacks = "mitigation=[naive],[sharper],[sharper,aux_confidence]"
    w2s("run", "--plugins", "sharper.py", "-m", stacks, "seed=0,1", *SMALL, folder=tmp_path)
    board = json.loads(w2s("board", "--format", "json", folder=tmp_path))
    assert {r["mitigation"] for r in board["rows"]} == {"naive", "sharper", "sharper+aux_confidence"}
    assert board["records"]["ok"] == 6


@needs_install
def test_installed_it_is_listed_with_its_origin(tmp_path):
    listed = json.loads(w2s("list", "mitigations", "--json", folder=tmp_path))
    text = json.dumps(next(m for m in re.findall(r"\{[^{}]*\}", json.dumps(listed)) if '"label_temperature"' in m))
    assert PROJECT["name"] in text and PROJECT["version"] in text


@needs_install
def test_installed_it_runs(tmp_path):
    option = "mitigation.label_temperature.temperature=0.25"
    w2s("run", "mitigation=[label_temperature]", option, *SMALL, folder=tmp_path)
    (record,) = [json.loads(p.read_text()) for p in (tmp_path / "w2s-runs" / "records").glob("*.json")]
    assert record["status"] == "ok"
    assert record["cell"]["mitigations"] == [{"name": "label_temperature", "temperature": 0.25}]
    plugin = next(p for p in record["provenance"]["plugins"] if p["name"] == "label_temperature")
    assert (plugin["distribution"], plugin["version"]) == (PROJECT["name"], PROJECT["version"])
