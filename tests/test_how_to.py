"""The how-to page runs as it stands, from top to bottom, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.doc_pages import FENCE, ROOT
from support.hf_models import make

PAGE = (ROOT / "docs" / "how_to.md").read_text()
BLOCKS = [(language, code) for language, code in FENCE.findall(PAGE) if language in ("sh", "python")]


def test_the_page_has_its_five_parts():
    assert PAGE.count("\n## ") == 5 and len(BLOCKS) == 7


@pytest.mark.timeout(600)
def test_the_page_runs(tmp_path):
    make(tmp_path / "my-model", "bert")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "W2S_CACHE": str(tmp_path / "cache"),
        "W2S_STORE": str(tmp_path / "w2s-runs"),
        "HF_HUB_OFFLINE": "1",
    }
    printed = []
    for language, code in BLOCKS:
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    assert "easy_to_hard" in printed[0] and "confidence_filter" in printed[3] and "conforms" in printed[4]
    assert printed[5].splitlines()[0].startswith("naive 0 0.") and "equal" in printed[6]
    assert (tmp_path / "board.md").is_file() and (tmp_path / "board.html").is_file()
