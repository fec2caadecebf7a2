"""`w2s new`: what it writes works as it is: it conforms, its tests pass, it installs and is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from w2s_bench import starters
from w2s_bench.cli.main import cli

CHOICES = list(starters.CHOICES)


def w2s(*words: str):
    return CliRunner().invoke(cli, list(words))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns the folder with a new plugin of each kind."""
    folder = tmp_path_factory.mktemp("new")
    for kind in CHOICES:
        done = w2s("new", kind, f"our_{kind}", "--dir", str(folder))
        assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("kind", CHOICES)
def test_it_is_small_and_all_its_own(made, kind):
    place = made / f"our_{kind}"
    files = [f"our_{kind}.py", f"test_our_{kind}.py", "pyproject.toml", "README.md"]
    assert sorted(p.name for p in place.iterdir()) == sorted(files)
    assert len((place / files[0]).read_text().splitlines()) < 40
    assert not [p.name for p in place.iterdir() if "new" in p.read_text().lower().replace("returns a new", "")]


@pytest.mark.parametrize("kind", CHOICES)
def test_it_conforms_as_it_is(made, kind):
    done = w2s("check", str(made / f"our_{kind}"), "--json")
    report = json.loads(done.output)
    assert done.exit_code == 0, report
    assert [(p["kind"], p["name"]) for p in report["plugins"]] == [(kind, f"our_{kind}")]
    assert "note" not in {c["status"] for p in report["plugins"] for c in p["checks"]}


def test_their_own_tests_pass(made):
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(made), folder=made)
    assert f"{2 * len(CHOICES)} passed" in done.stdout


def test_installed_they_are_found(made, tmp_path):
    places = [str(made / f"our_{kind}") for kind in CHOICES]
    run("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(tmp_path),
        *places, folder=made)  # fmt: skip
    found = json.loads(run("-m", "w2s_bench", "list", "--json", folder=made, path=tmp_path).stdout)
    assert not found["broken"]
    for kind in CHOICES:
        (row,) = [r for r in found[f"{kind}s"] if r["name"] == f"our_{kind}"]
        assert (row["distribution"], row["version"]) == (f"w2s-our-{kind}", "0.1.0")


def run(*words: str, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if path:  # what is installed there is what is to be found, so the suite's "no third party's plugin" is lifted
        environment["PYTHONPATH"] = str(path)
        del environment["W2S_PLUGINS"]
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mitigation", "My-Method"], "take 'my_method'"),
        (["mitigation", "BetterLabels2"], "take 'better_labels'"),
        (["mitigation", "2fast"], "take 'fast'"),
        (["mitigation", "naive"], "w2s_bench has a mitigation of this name"),
        (["metric", "accuracy"], "w2s_bench has a metric of this name"),
        (["task", "random"], "Python has a module or word of this name already; take 'my_random'"),
        (["task", "class"], "take 'my_class'"),
        (["mitigaton", "mine"], "no kind 'mitigaton'; did you mean 'mitigation'?"),
        (["suite", "mine"], "a suite is one YAML file"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(tmp_path, words, said):
    done = w2s("new", *words, "--dir", str(tmp_path))
    assert done.exit_code == 2 and said in done.output and "\n" not in done.output.strip(), done.output
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    assert w2s("new", "task", "ours", "--dir", str(tmp_path)).exit_code == 0
    (tmp_path / "ours" / "ours.py").write_text("mine now")
    done = w2s("new", "task", "ours", "--dir", str(tmp_path))
    assert done.exit_code == 2 and "is there already, and nothing is overwritten" in done.output
    assert (tmp_path / "ours" / "ours.py").read_text() == "mine now"
