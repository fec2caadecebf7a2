"""Values of overrides: what Hydra reads, texts as they are typed, and what is written for a rerun."""

from __future__ import annotations

import json
import os
import shlex
import string
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from w2s_bench.compose import overrides, values
from w2s_bench.compose.commands import Commands
from w2s_bench.compose.composer import open_composer
from w2s_bench.errors import UsageError
from w2s_bench.registry import load
from w2s_bench.registry.options import Option
from w2s_bench.store.paths import strip_local_paths

TOY = str(Path(__file__).parent / "support" / "toy.py")
PLUGIN = '''
from dataclasses import dataclass, field
from w2s_bench import hookimpl

class Reader:
    """Reads nothing."""
    @dataclass
    class Options:
        path: str = ""
        """A text."""
        maybe: str | None = None
        """A text or nothing."""
        paths: list[str] = field(default_factory=list)
        """Texts."""
        by_name: dict[str, str] = field(default_factory=dict)
        """Texts by name."""
        rates: dict[str, list[float]] = field(default_factory=dict)
        """Numbers by name."""
    def __init__(self, options): pass

@hookimpl
def register_mitigations(register):
    register("reader", Reader)
'''
ONE = ["task=toy", "supervisor=[toy_weak]", "student=toy", "mitigation=[reader]"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Returns what composes the cells of overrides, and the registry; Hydra starts once."""
    plugin = tmp_path_factory.mktemp("plugin") / "reader.py"
    plugin.write_text(PLUGIN)
    registry = load([TOY, str(plugin)])
    with open_composer(registry, []) as composer:
        yield lambda *overrides, multirun=False: composer.sweep([*ONE, *overrides], multirun).cells, registry


def options(cells) -> list[dict]:
    return [cell.mitigations[0].options for cell in cells]


# what Hydra reads, it means
PIECES = st.sampled_from(
    [*"abc019,,[]{}:='\"\\ ./-+@$?%_", "null", "true", "1e5", "${x}", r"\,", r"\\", r"\'", "ö", "\n", "(", ")"]
)


def keys_as_texts(value):
    if isinstance(value, dict):
        return {str(k): keys_as_texts(v) for k, v in value.items() if k is not None}
    return [keys_as_texts(v) for v in value] if isinstance(value, list) else value


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_what_hydra_reads_is_read_as_hydra_does(text):
    try:
        (override,) = OverridesParser.create().parse_overrides([f"k={text}"])
    except HydraException:
        assume(False)
    assume("null:" not in text and not values.is_call(text))  # a key that is no text
    swept = override.is_sweep_override()
    theirs = [Override._convert_value(v) for v in override.sweep_iterator()] if swept else [override.value()]
    ours = [values.read(e).parsed for e in values.split(text)] if text.strip() else [""]
    assert repr(ours) == repr(keys_as_texts(theirs))


# what is typed is what is meant
LETTERS = string.ascii_letters + string.digits + "äßñ日Ж-_./~#&!;<>^%@+|?*`=: "
INSIDE = st.sampled_from(["", "(1)", "[1,2]", "{a,b}", "(x, y)", "it's", 'a"b', "$HOME", "a=b", "(", "]"])
NAMES = (
    st.tuples(st.text(LETTERS, min_size=1), INSIDE, st.text(LETTERS, max_size=5))
    .map(lambda parts: "ö".join(parts))
    .filter(lambda name: name == name.strip())
)


@settings(max_examples=200, deadline=None)
@given(name=NAMES, other=NAMES)
@example(name="daten/größe.csv", other="~/x.csv")
@example(name="1e5", other="007")
@example(name="true", other="1_000")
@example(name="data[1].csv", other="[a].csv")
def test_a_text_is_what_was_typed_wherever_it_stands(sweep, name, other):
    cells, _ = sweep
    key = "mitigation.reader"
    assert options(cells(f"{key}.path={name}"))[0]["path"] == name
    assert options(cells(f"{key}.maybe={name}"))[0]["maybe"] == name
    assert options(cells(f"{key}.path={values.write(name)}"))[0]["path"] == name
    two = cells(f"{key}.path={name},{other}", multirun=True) if "(" not in (name + other).replace("(1)", "") else []
    assert [o["path"] for o in options(two)] in ([], [name, other])
    if not set("[]{}()") & set(name + other):
        assert options(cells(f"{key}.paths=[{name},{other}]"))[0]["paths"] == [name, other]
        assert options(cells(f"{key}.by_name={{a:{name}, b: {other}}}"))[0]["by_name"] == {"a": name, "b": other}
        assert options(cells(f"{key}.by_name.a={name}"))[0]["by_name"] == {"a": name}
    quoted = "'" + name.replace("'", r"\'") + "'"
    assert options(cells(f"{key}.paths=[{quoted},x]"))[0]["paths"] == [name, "x"]


def test_numbers_stay_numbers(sweep):
    cells, _ = sweep
    assert options(cells("mitigation.reader.rates={a:[1e2,.5]}"))[0]["rates"] == {"a": [100.0, 0.5]}
    assert options(cells("mitigation.reader.maybe=null"))[0]["maybe"] is None
    assert [c.seed for c in cells("seed=range(3)", multirun=True)] == [0, 1, 2]
    assert options(cells("mitigation.reader.path=choice(größe.csv,b)", multirun=True))[0]["path"] == "größe.csv"
    texts = (str, str | None, list[str], dict[str, list[str]])
    assert all(Option("o", kind, None).takes_text for kind in texts)
    assert not any(
        Option("o", kind, None).takes_text for kind in (int, float | None, list[int], dict[str, float], list)
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path=data(1)", "Unknown function 'data'"),
        ("path=a,,b", "a value is missing"),
        ("paths=[a,größe", "the first bracket of [a,größe is not closed"),
        ("by_name={größe}", "größe has no `:`, as in {key:value}"),
        ("path=größe.csv,b.csv", "quote a value with a comma"),
        ("path=[choice(a,b)]", "choice(a,b) has several values, so it cannot be part of a value"),
        ("größe=1", "no such option"),
    ],
)
def test_what_has_no_one_meaning_is_refused_with_what_to_do(sweep, text, reason):
    with pytest.raises(UsageError) as refused:
        sweep[0](f"mitigation.reader.{text}")
    assert (reason in str(refused.value) and "quote" in str(refused.value)) or "option" in reason


# what is written for a rerun is read again
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
@example(r"\${a}\\")
@example("a${oc.env:HOME}")
@example(["a\\", "b"])
@example({"k": "\\"})
@example(": ")
@example({"größe:1": ["null", "1e5", "it's, 'so'"]})
def test_written_values_are_read_again(value):
    (axis,) = overrides.parse([overrides.as_override("k", value)], False, lambda group: [])
    (got,) = axis.values
    assert got.parsed == value and repr(got.parsed) == repr(value)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=12)
OPTIONS = st.fixed_dictionaries(
    {
        "path": TEXTS,
        "maybe": st.none() | TEXTS,
        "paths": st.lists(TEXTS, max_size=3),
        "by_name": st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3),
        "rates": st.dictionaries(TEXTS.filter(bool), st.lists(st.floats(-1e9, 1e9), max_size=2), max_size=2),
    }
)


@settings(max_examples=150, deadline=None)
@given(OPTIONS)
@example({"path": "", "maybe": None, "paths": [], "by_name": {"NULL": ""}, "rates": {"null": []}})
def test_the_command_of_a_cell_gives_the_cell_again(sweep, wanted):
    """Value, written override, the shell's line, the parsed override, the option."""
    cells, registry = sweep
    (cell,) = cells(*(overrides.as_override(f"mitigation.reader.{k}", v) for k, v in wanted.items()))
    assert cell.mitigations[0].options == wanted
    (again,) = cells(*shlex.split(Commands(registry).line(cell))[6:])
    assert again.mitigations[0].options == strip_local_paths(wanted)
    assert again == cell or strip_local_paths(wanted) != wanted


# whole lines
def w2s(folder: Path, *line: str, status: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("W2S_")}
    environment |= {"W2S_CACHE": str(folder / "cache ü"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "w2s_bench", *line], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_place_on_the_line_takes_a_path_as_typed(tmp_path):
    """Plugin, store, config folder, table, names of entries, the sweep, the suite, and Hydra's own --cfg."""
    plugin = tmp_path / "plug ü" / "größe, neu.py"
    plugin.parent.mkdir()
    plugin.write_text(Path(TOY).read_text())
    table = tmp_path / "daten" / "a=b [1,2] it's größe.csv"
    table.parent.mkdir()
    words = [f"{' '.join(f'w{(i * k) % 60}' for k in range(1, 9))},{'yes' if i % 2 else 'no'}" for i in range(1, 300)]
    table.write_text("\n".join(["text,label", *words]))
    for name, text in {
        "task/größe.yaml": "defaults: [toy]\nn_test: 44",
        "supervisor/schwäche.yaml": "# @package supervisor.schwäche\nname: toy_weak\nwords: 11",
        "suite/klein.yaml": "description: Small.\nsweeps: [[task=größe, 'supervisor=[schwäche]', student=toy]]",
    }.items():
        (tmp_path / "conf ü" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf ü" / name).write_text(text)
    small = ["task.n_supervision=60", "task.n_transfer=64", "task.n_validation=20", "task.n_test=40", "engine=inline"]
    shared = ["--plugins", f"plug ü/{plugin.name}", "--config-dir", "conf ü", "student=toy"]
    path = f"task.path=daten/{table.name}"
    said = w2s(tmp_path, "run", *shared, "--store", "sto ü", "task=table", path, "supervisor=[schwäche]", *small)
    assert "1 of 1 cells are done; `w2s board --store 'sto ü'` shows them" in said
    (record,) = (tmp_path / "sto ü" / "records").glob("*.json")
    told = json.loads(record.read_text())
    assert told["cell"]["task"]["path"] == table.name
    line = shlex.split(told["provenance"]["command"])
    assert f"task.path={values.write(table.name)}" in line and plugin.name in line
    said = w2s(tmp_path, "suite", "klein", *shared, "supervisor.schwäche.words=12", "seed=0", "--dry-run")
    assert "supervisor.toy_weak.words=12" in said and "task.n_test=44" in said
    said = w2s(tmp_path, "run", *shared, "--cfg", "job", "--package", "task", "task=table", path)
    assert yaml.safe_load(said)["path"] == f"daten/{table.name}"
    said = w2s(tmp_path, "check", "table", f"path=daten/{table.name}")
    assert "table conforms: 12 passed" in said and "skipped" not in said
    said = w2s(tmp_path, "run", *shared, "task=grösse", status=2)
    assert "did you mean 'größe'?" in said and len(said.strip().splitlines()) == 1
