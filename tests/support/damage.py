"""Damages files as a full disk, a careless worker or a failing machine would."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

WAYS = ("empty", "truncated", "garbage", "other type", "NaN", "nested", "folder", "full folder", "link", "deleted")
WAYS += () if os.geteuid() == 0 else ("unreadable",)


def damage(path: Path, way: str) -> None:
    """Damages the file in one of the WAYS."""
    content = path.read_bytes()
    if way == "unreadable":
        path.chmod(0)
        return
    path.unlink()
    if way == "empty":
        path.touch()
    elif way == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif way == "garbage":
        path.write_bytes(b"\x00\xff{PK" + bytes(range(256)))
    elif way == "other type":
        path.write_text('["seconds", 1]')
    elif way == "NaN":
        path.write_text('{"seconds": NaN, "schema": 1, "cells": [], "status": "ok"}')
    elif way == "nested":
        path.write_text("[" * 100_000)
    elif way == "folder":
        path.mkdir()
    elif way == "full folder":
        shutil.copytree(Path(__file__).parent, path)
    elif way == "link":
        path.symlink_to("nowhere")
