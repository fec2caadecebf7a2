"""The site of the docs builds, and its links lead somewhere on it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_links_lead_somewhere_on_the_site(site):
    pages = {p: p.read_text(encoding="utf-8") for p in site.rglob("*.html") if p.name != "404.html"}
    assert {site / "index.html", site / "docs/hooks.html", site / "leaderboard/sandbox/board.html"} <= pages.keys()
    parts = {page: set(re.findall(r' id="([^"]+)"', text)) for page, text in pages.items()}
    for page, text in pages.items():
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            if re.match("https?:|data:", target):
                continue
            place, _, part = unquote(target).partition("#")
            found = (page.parent / place).resolve() if place else page
            assert found.is_file(), f"{page.relative_to(site)}: {target} leads nowhere"
            if part:
                assert part in parts[found], f"{page.relative_to(site)}: {target}"


def test_sources_are_text_and_nothing_comes_from_elsewhere(site):
    assert (site / "w2s_bench/compose/runs.py.txt").read_bytes() == (ROOT / "w2s_bench/compose/runs.py").read_bytes()
    assert "gce.py" in (site / "plugins/mitigations.txt").read_text().splitlines()
    elsewhere = r"""(?:src=|url\(|@import )["']?(?:https?:)?//|<link[^>]+href="(?:https?:)?//"""
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert not re.search(elsewhere, path.read_text(encoding="utf-8")), path
