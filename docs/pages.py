"""What `mkdocs build` makes a site of: pages as they lie in the repository, and what they link to, sources as text."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/*.md", "examples/*/*.md", "leaderboard/**/*.md")
LINK = re.compile(r"\]\(([^)\s#:]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Returns the configuration with the anchors that GitHub gives to headings: the pages link to those."""
    config.mdx_configs["toc"] = {"slugify": lambda title, _: re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Returns the site's files: a link that leads somewhere in the repository leads there on the site."""
    pages = [p for pattern in PAGES for p in sorted(ROOT.glob(pattern))]
    linked = {(p.parent / link).resolve() for p in pages for link in LINK.findall(p.read_text(encoding="utf-8"))}
    shown = [*pages, *sorted(linked - set(pages)), ROOT / "docs" / "site.css"]
    own = [_file(p, config) for p in shown if p.exists()]
    return Files([f for f in files if f.src_dir != config.docs_dir] + own)


def _file(path: Path, config: MkDocsConfig) -> File:
    name = path.relative_to(ROOT).as_posix()
    kept = {".md": None, ".svg": name, ".css": name, ".html": f"{name.removesuffix('.html')}-page.html"}
    to = kept.get(path.suffix, f"{name}.txt")
    file = File(name, str(ROOT), config.site_dir, config.use_directory_urls, dest_uri=to)
    if path.is_dir():
        file.content_string = "".join(f"{p.name}\n" for p in sorted(path.iterdir()) if p.name[:2] != "__")
    return file
