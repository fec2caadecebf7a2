"""What stands around the code: metadata, citation, workflow, templates."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml

import w2s_bench

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_written_once():
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert metadata.version("w2s_bench") == w2s_bench.__version__


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == w2s_bench.__version__ and citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]


def test_the_workflow_calls_the_one_script_on_every_python_that_is_declared():
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["checks"]
    pythons = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert set(job["strategy"]["matrix"]["python"]) == pythons == {"3.11", "3.12", "3.13"}
    assert set(job["strategy"]["matrix"]["os"]) == {"ubuntu-latest", "macos-latest"}
    assert job["steps"][-1]["run"] == "bash .ci/run" and (ROOT / ".ci/run").is_file()


def test_pre_commit_runs_what_lint_runs():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for hook in repository["hooks"]] == ["make lint"]
    assert re.search(r"^lint:", (ROOT / "Makefile").read_text(), re.M)


def test_templates_have_what_the_forge_reads():
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.md"):
        front = yaml.safe_load(path.read_text().split("---")[1])
        assert front.keys() == {"name", "about"}
