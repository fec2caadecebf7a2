"""The commands in the docs can be typed as they stand: verbs, options, names and overrides, composed to cells."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from support.doc_pages import DOCS, FENCE, ROOT, named, snippets

from w2s_bench import starters
from w2s_bench.cli.main import Session, cli, hoist
from w2s_bench.compose import runs, suites
from w2s_bench.conformance.targets import resolve
from w2s_bench.registry import load

INSTALLED = ROOT / "examples" / "w2s-example" / "w2s_example.py"


def lines_of(path: Path, verb: str) -> list[str]:
    """Returns the lines of a page's shell blocks that begin with a word; a line that goes on is one."""
    lines = "\n".join(snippets(path.read_text(), "sh")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.split()[:1] == [verb]]


LINES = [(named(path), line) for path in DOCS for line in lines_of(path, "w2s")]
MENTIONED = {
    (named(path), line) for path in DOCS for line in re.findall(r"`w2s ([^`]+)`", FENCE.sub("", path.read_text()))
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that holds what the docs' commands name: plugin files as the pages show them, what `w2s new` makes."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "examples" / "sharper.py", folder)  # what README and the tutorial show
    starters.write("mitigation", "my_method", folder)
    (folder / "secret.bin").write_bytes(bytes(32))
    return folder


@pytest.fixture(scope="module")
def registry(folder):
    """All plugins that the pages have a reader write, make or install."""
    loaded = load([str(folder / "sharper.py"), str(folder / "my_method" / "my_method.py"), str(INSTALLED)])
    assert not loaded.broken
    return loaded


def test_every_page_with_commands_is_seen():
    assert len(LINES) > 10 and {"README.md", "docs/tutorial.md"} <= {page for page, _ in LINES}


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}-{line[:40]}" for page, line in LINES])
def test_commands_compose(page, line, folder, registry, monkeypatch):
    monkeypatch.chdir(folder)
    (verb, *words), _, plugins = hoist(shlex.split(line, comments=True)[1:])
    for file in plugins:
        assert (folder / file).is_file(), f"{page}: {line}: no page shows {file}"
    command = cli.get_command(click.Context(cli, obj=Session()), verb)
    assert command is not None, f"{page}: {line}: there is no verb {verb}"
    given = command.make_context(verb, list(words), obj=Session()).params  # refuses what is no option of the verb
    if verb == "run":
        assert runs.cells(given["overrides"], given["multirun"], registry).cells
    elif verb == "suite":
        assert suites.compose(suites.find(given["name"], registry), given["overrides"], registry).cells
    elif verb == "check":
        assert resolve(given["target"], registry).entries
    elif verb in ("list", "show"):
        command.main([*words], obj=Session(plugins=tuple(plugins)), standalone_mode=False)


@pytest.mark.parametrize(("page", "line"), sorted(MENTIONED))
def test_verbs_and_options_in_running_text_exist(page, line):
    verb, *words = line.split()
    if verb.startswith("-"):
        return
    command = cli.get_command(click.Context(cli, obj=Session()), verb)
    assert command is not None, f"{page}: `w2s {line}`: there is no such verb"
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [w for w in words if w.startswith("-") and w not in options | {"--plugins", "--debug"}]
    assert not unknown, f"{page}: `w2s {line}`: {verb} has no {unknown}"


def test_make_targets_in_the_docs_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    for path in DOCS:
        for line in lines_of(path, "make"):
            assert set(line.split()[1:]) <= targets, f"{named(path)}: {line}"
