"""Plugins: where they are found, what is refused and in which words, and that a broken one costs only itself."""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support import plugin_files
from support.plugin_files import GOOD, HEAD

from w2s_bench import hookspecs
from w2s_bench.errors import UsageError
from w2s_bench.registry import PLUGIN_KINDS, load, loading, options, stacking

file = plugin_files.file


def test_built_ins_are_whole():
    registry = load()
    assert registry.broken == []
    for kind in PLUGIN_KINDS:
        assert registry.names(kind)
        for entry in registry.entries(kind):
            assert entry.summary, f"{kind} {entry.name} has no first line"
            assert entry.distribution == "w2s_bench" or entry.distribution
            assert all(options.help_texts(kind, entry.cls).values()), f"{kind} {entry.name}: an option without help"
    assert "accuracy" in registry.metrics and "quick" in registry.suites


def test_file_plugin_registers_with_resolved_options(file):
    registry = load([file(GOOD)])
    assert registry.broken == []
    trick, strong = registry.get("mitigation", "trick"), registry.get("mitigation", "trick_strong")
    assert trick.options == {"power": 1.0, "mode": "soft", "names": [], "size": None}
    assert strong.options == {"power": 2.0, "mode": "hard", "names": [], "size": None}
    assert isinstance(strong.options["power"], float)
    assert (trick.summary, trick.distribution) == ("Does a trick.", "mine.py")
    assert strong.build().options.power == 2.0 and strong.build({"power": 3.0}).options.power == 3.0
    assert [t.type_name for t in trick.declared.values()] == ["float", "soft | hard", "list[str]", "int | null"]
    assert options.help_texts("mitigation", trick.cls)["power"] == "How strong."


def test_source_digest_follows_the_file(file):
    path = file(GOOD)
    first = load([path]).get("mitigation", "trick").source_sha256
    assert first == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    Path(path).write_text(Path(path).read_text() + "\n# changed")
    assert load([path]).get("mitigation", "trick").source_sha256 != first


def test_source_digest_covers_what_a_plugin_imports_from_the_built_ins(file, tmp_path):
    code = (
        "import sys; from w2s_bench.registry import load; r = load(); print({(k, n): [f.name for f in r.get(k, n)"
        ".source.files] for k, n in [('student', 'ladder_m'), ('task', 'facts'), ('task', 'table'), "
        "('mitigation', 'gce')]}, [m for m in ('torch', 'sklearn') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    files, heavy = ast.literal_eval(f"[{printed.replace('} [', '}, [')}]")
    assert {"ladder.py", "rungs.py", "model.py", "tokenizer.py", "words.py"} <= set(files["student", "ladder_m"])
    assert {"sandbox.py", "world.py", "words.py"} <= set(files["task", "facts"])
    table = ["classes.py", "columns.py", "content.py", "conversations.py", "files.py", "questions.py", "reading.py"]
    table += ["rows.py", "table.py"]
    assert files["task", "table"] == table and files["mitigation", "gce"] == ["gce.py"]
    assert heavy == []
    (tmp_path / "elsewhere").mkdir()
    places = [file("import w2s_bench.plugins.students.hf\n" + GOOD, name) for name in ("mine.py", "elsewhere/mine.py")]
    here, there = (load([p]).get("mitigation", "trick").source for p in places)
    assert {f.name for f in here.files} == {
        "mine.py", "hf.py", "__init__.py", "loading.py", "identity.py", "sizes.py",
    }  # fmt: skip
    assert here.sha256 == there.sha256  # a place is no content


def test_two_files_of_one_name(file, tmp_path):
    (tmp_path / "other").mkdir()
    paths = [file(GOOD), file(GOOD.replace("trick", "stunt"), "other/mine.py")]
    registry = load([*paths, paths[0]])
    assert registry.broken == []
    assert {"trick", "stunt"} <= set(registry.names("mitigation"))
    assert registry.extra == paths


def test_environment_and_module(file, tmp_path, monkeypatch):
    file(GOOD, "found_module_for_test.py")
    monkeypatch.syspath_prepend(tmp_path)
    gone = tmp_path / "gone.py"
    monkeypatch.setenv("W2S_PLUGINS", f"found_module_for_test, {gone}")
    registry = load()
    assert registry.get("mitigation", "trick").distribution == "found_module_for_test"
    assert [(b.name, b.requested) for b in registry.broken] == [("gone.py", True)]
    assert registry.extra == ["found_module_for_test"]


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A folder on the path with an installed distribution whose entry point brings the mitigation `trick`."""
    folder = tmp_path / "site"
    info = folder / "its_name-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: its-name\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[w2s_bench]\nits = its_module_for_test\n")
    (folder / "its_module_for_test.py").write_text(HEAD + textwrap.dedent(GOOD))
    monkeypatch.syspath_prepend(folder)
    return folder


def test_an_empty_variable_loads_no_installed_distribution(installed, file, monkeypatch):
    monkeypatch.delenv("W2S_PLUGINS")
    assert load().get("mitigation", "trick").distribution == "its-name"
    monkeypatch.setenv("W2S_PLUGINS", "")
    assert "trick" not in load().names("mitigation")
    mine = file(GOOD.replace("trick", "stunt"))
    assert "stunt" in load([mine]).names("mitigation")  # what the call itself names is loaded all the same


def test_a_trace_tells_what_is_loaded_and_from_where(installed, file, monkeypatch, capsys):
    monkeypatch.delenv("W2S_PLUGINS")
    monkeypatch.setenv("W2S_TRACE_PLUGINS", "1")
    load([file("raise RuntimeError('boom')", "bad.py")])
    lines = capsys.readouterr().err.splitlines()
    assert all(" ms  " in line for line in lines) and any("plugins.metrics of w2s_bench" in line for line in lines)
    assert any("its_module_for_test of its-name" in line for line in lines)
    assert "bad.py of bad.py: broken: RuntimeError: boom" in lines[-1]
    monkeypatch.setenv("W2S_TRACE_PLUGINS", "0")
    load()
    assert not capsys.readouterr().err


@pytest.mark.parametrize("missing", ["nowhere/mine.py", "no_such_module_at_all"])
def test_a_plugin_that_was_asked_for_must_be_there(missing):
    with pytest.raises(UsageError, match="there is no such file"):
        load([missing])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('boom')", r"RuntimeError: boom \(bad.py, line \d+\)"),
        ("import not_installed_anywhere", "ModuleNotFoundError"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("@hookimpl\ndef register_mitigations(register): 1 / 0", r"register_mitigations: ZeroDivisionError.*line \d+"),
        ("@hookimpl\ndef register_mitigation(register): pass", "no hook `register_mitigation`; did you mean"),
        ("@hookimpl\ndef register_mitigations(registry): pass", r"asks for `registry`; the hook"),
        ("@hookimpl\ndef training_loss(batch): pass", "outside a class"),
    ],
)
def test_a_broken_plugin_beside_a_good_one(file, code, reason):
    registry = load([file(code, "bad.py"), file(GOOD)])
    assert "trick" in registry.names("mitigation") and "naive" in registry.names("mitigation")
    (broken,) = registry.broken
    assert (broken.name, broken.distribution, broken.requested) == ("bad.py", "bad.py", True)
    assert re.search(reason, broken.reason), broken.reason


def test_asking_for_what_a_broken_plugin_brings(file):
    bad = file("import not_installed_anywhere\n" + GOOD.replace("trick", "stunt"), "bad.py")
    with pytest.raises(UsageError, match=r"'stunt' is not available: plugin bad.py is broken: ModuleNotFoundError"):
        load([bad]).get("mitigation", "stunt")


def test_installed_distributions(file, tmp_path, monkeypatch):
    """A good and a broken distribution, found as pip leaves them."""
    for name, code in (
        ("goodist", GOOD),
        ("badist", "import not_installed_anywhere\n" + GOOD.replace("trick", "stunt")),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "deep.py").write_text(HEAD + code)
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[w2s_bench]\nany = {name}.deep\n")
    monkeypatch.delenv("W2S_PLUGINS")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    registry = load()
    entry = registry.get("mitigation", "trick")
    assert (entry.distribution, entry.version, registry.extra) == ("goodist", "1.2", [])
    (broken,) = registry.broken
    assert (broken.name, broken.distribution, broken.requested) == ("badist.deep", "badist", False)
    with pytest.raises(UsageError, match=r"plugin badist\.deep of badist is broken"):
        registry.get("mitigation", "stunt")
    before = entry.source_sha256
    (tmp_path / "goodist" / "helper.py").write_text("x = 1")  # all of the package counts
    assert load().get("mitigation", "trick").source_sha256 != before
    for module in [m for m in sys.modules if m.startswith(("goodist", "badist"))]:
        del sys.modules[module]


STACK = """
class One:
    @hookimpl
    def training_loss(self, batch): ...
class Bend:
    @hookimpl(wrapper=True)
    def training_loss(self): return (yield)
class Loop:
    honours = {"training_loss"}
    @hookimpl
    def fit_student(self, problem): ...
class Order:
    @hookimpl
    def order_examples(self, labels): ...
class Many:
    needs = {"several_supervisors"}
    @hookimpl
    def combine_votes(self, votes): ...
@hookimpl
def register_mitigations(register):
    for name, cls in dict(one=One, two=One, bend=Bend, loop=Loop, order=Order, many=Many).items():
        register(name, cls)
"""


@pytest.mark.parametrize(
    ("stack", "supervisors", "reason"),
    [
        ("one two", 1, "'one' and 'two' both claim the hook `training_loss`"),
        ("one one", 1, "'one' is named twice"),
        ("naive one", 1, "'naive' is the empty stack and cannot be combined"),
        ("loop order", 1, "'loop' trains in a loop of its own that does not ask `order_examples`, which 'order'"),
        ("many", 1, "'many' needs several supervisors"),
        ("", 1, "written mitigation=[naive]"),
        ("one bend", 1, None),
        ("bend", 1, None),
        ("loop one bend", 1, None),
        ("many order bend", 2, None),
        ("naive", 1, None),
    ],
)
def test_stacks(file, stack, supervisors, reason):
    registry = load([file(STACK)])
    members = [registry.get("mitigation", n) for n in stack.split()]
    if reason is None:
        stacking.check_stack(members, supervisors)
    else:
        with pytest.raises(UsageError) as refused:
            stacking.check_stack(members, supervisors)
        assert reason in str(refused.value)


def test_every_mitigation_hook_says_how_it_combines():
    source = Path(hookspecs.__file__).read_text()
    part = source[source.index("# --- mitigation") : source.index("# --- observation")]
    assert list(stacking.COMBINES) == [line.split("(")[0][4:] for line in part.splitlines() if line.startswith("def ")]


def test_loading_is_light():
    code = "import sys; from w2s_bench.registry import load; load(); print([m for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "lightning", "transformers", "datasets", "hydra", "sklearn"):
        assert f"'{heavy}'" not in loaded, f"loading the built-in plugins imports {heavy}"


def test_adding_a_plugin_is_adding_a_file():
    named = {
        f"w2s_bench.plugins.{p.parent.name}.{p.stem}"
        for p in Path(__file__).parents[1].joinpath("plugins").glob("mitigations/[!_]*.py")
    }
    assert named <= set(loading.built_ins())
