"""What every test finds as it was, whatever ran before it in the same process."""

from __future__ import annotations

import os
import sys

import pytest

os.environ["W2S_PLUGINS"] = ""  # what is installed beside the project is not what is tested


@pytest.fixture(autouse=True)
def own_import_path(monkeypatch):
    """`w2s check FOLDER` puts the folder on the path, where a later test would find what was installed from it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
