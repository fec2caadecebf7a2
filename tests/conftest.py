"""What every test finds as it was, whatever ran before it in the same process."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def own_import_path(monkeypatch):
    """`w2s check FOLDER` puts the folder on the path, where a later test would find what was installed from it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
