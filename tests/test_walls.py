"""The walls between the rooms of the harness."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(
    p
    for top in ("w2s_bench", "plugins", "conf", "tests", "examples")
    for p in (ROOT / top).rglob("*.py")
    if not {".venv", "build", "__pycache__"} & set(p.parts)
)
HARNESS = [p for p in CODE if p.is_relative_to(ROOT / "w2s_bench")]
HEAVY = ("torch", "lightning", "transformers")
PARQUET = ("pyarrow.parquet", "pyarrow.dataset")
READERS = ("read_table", "read_pandas", "ParquetDataset", "dataset")


def module_of(path: Path) -> str:
    """Returns a harness file's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path, top_level: bool = False, for_types: bool = False) -> set[str]:
    """Returns dotted names that a file imports, x and x.y of `from x import y`.

    `top_level`: outside functions alone; `for_types`: those under TYPE_CHECKING too.
    """
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(), str(path))]
    while pending:
        node = pending.pop()
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module_of(path).split(".")[: -node.level if path.name != "__init__.py" else None]
            start = ".".join([*(package if node.level else []), *([node.module] if node.module else [])])
            found |= {start} | {f"{start}.{alias.name}" for alias in node.names}
        pending += ast.iter_child_nodes(node)
    return found


def of_package(names: set[str], *packages: str) -> set[str]:
    return {n for n in names for p in packages if n == p or n.startswith(f"{p}.")}


def room(name: str) -> list[Path]:
    files = [p for p in HARNESS if p.is_relative_to(ROOT / "w2s_bench" / name)]
    assert files, f"there is no room {name}"
    return files


def loaded_by(code: str) -> set[str]:
    """Returns the modules in a fresh interpreter after some code."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(ast.literal_eval(done.stdout.strip().splitlines()[-1]))


def test_the_scanner_sees_imports():
    loop = imports_of(ROOT / "w2s_bench/training/loop.py")
    assert {"torch", "lightning", "w2s_bench.training.stack", "w2s_bench.training.stack.Stack"} <= loop
    naive = ROOT / "plugins/mitigations/naive.py"
    assert "torch" in imports_of(naive) and "torch" not in imports_of(naive, top_level=True)


def offenders(paths: list[Path], fault) -> dict[str, object]:
    """Returns what `fault(path)` finds, by file, where it finds anything."""
    assert paths
    return {str(p.relative_to(ROOT)): found for p in paths if (found := fault(p))}


def test_plugins_import_each_other_by_full_names():
    """Source digests follow these, and no others."""
    plugins = [p for p in CODE if p.is_relative_to(ROOT / "plugins")]

    def relative(path: Path) -> list[int]:
        nodes = ast.walk(ast.parse(path.read_text()))
        return [n.lineno for n in nodes if isinstance(n, ast.ImportFrom) and n.level]

    assert offenders(plugins, relative) == {}


def test_board_imports_neither_torch_nor_training_nor_referee():
    walled = (*HEAVY, "w2s_bench.training", "w2s_bench.referee")
    assert not offenders(room("board"), lambda p: of_package(imports_of(p), *walled))


def test_board_loads_neither_torch_nor_training_nor_referee():
    modules = [module_of(p) for p in room("board")]
    loaded = loaded_by("\n".join(f"import {m}" for m in modules))
    assert set(modules) <= loaded
    assert not of_package(loaded, *HEAVY, "w2s_bench.training", "w2s_bench.referee")


def test_checking_a_store_loads_neither_torch_nor_pandas():
    """They would take most of its time."""
    verify = "from pathlib import Path\nfrom w2s_bench.store.verify import verify_store\n"
    loaded = loaded_by(verify + "assert verify_store(Path('leaderboard/quick')).ok")
    assert "pyarrow.parquet" in loaded and not of_package(loaded, *HEAVY, "pandas", "pyarrow.compute")


def test_one_file_reads_and_writes_parquet():
    """Elsewhere somebody would call `pyarrow.parquet.read_table`, whose threads may abort an interpreter that ends."""
    with_parquet = offenders([p for p in CODE if "tests" not in p.parts], lambda p: of_package(imports_of(p), *PARQUET))
    assert set(with_parquet) == {"w2s_bench/exchange.py", "plugins/tables/files.py"}  # the latter for tables of others

    def calls(path: Path) -> list[str]:
        nodes = (n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        return [ast.unparse(f) for f in nodes if isinstance(f, ast.Attribute) and f.attr in READERS]

    assert not offenders([ROOT / p for p in with_parquet], calls)


def test_stores_are_read_without_board_and_referee():
    assert not offenders(room("store"), lambda p: of_package(imports_of(p), "w2s_bench.board", "w2s_bench.referee"))


def test_board_never_imports_studies():
    assert not offenders(room("board"), lambda p: of_package(imports_of(p), "w2s_bench.studies"))


def modules_imported_by(path: Path, known: set[str], for_types: bool = False) -> set[str]:
    """Returns the modules of the harness that a file imports, inside functions too, each as its longest known name."""
    names = imports_of(path, for_types=for_types)
    longest = {n for n in names if n in known} | {n.rpartition(".")[0] for n in names if n not in known}
    of_submodules = {n.rpartition(".")[0] for n in names if n in known}  # `from x import y` of a module y names x too
    return (longest & known) - of_submodules - {module_of(path)}


def circle_in(imports: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_and_no_room_imports_itself_by_way_of_others():
    known = {module_of(p) for p in HARNESS}
    modules = {module_of(p): modules_imported_by(p, known) for p in HARNESS}
    assert circle_in({module_of(p): modules_imported_by(p, known, for_types=True) for p in HARNESS}) == []
    rooms: dict[str, set[str]] = {}
    for name, imported in modules.items():
        room_of = {n: ".".join(n.split(".")[:2]) for n in {name, *imported}}
        rooms.setdefault(room_of[name], set()).update(set(room_of.values()) - {room_of[name]})
    assert circle_in(rooms) == []
    assert {"w2s_bench.store", "w2s_bench.referee", "w2s_bench.board"} <= set(rooms)


def test_circles_are_seen():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) and not circle_in({"a": {"b"}, "b": {"c"}})


def test_training_never_imports_referee():
    assert not offenders(room("training"), lambda p: of_package(imports_of(p), "w2s_bench.referee"))


def test_training_never_loads_referee():
    loaded = loaded_by("import w2s_bench.training.worker")
    assert "torch" in loaded and not of_package(loaded, "w2s_bench.referee")


def plugins_named_in(path: Path) -> set[str]:
    """Returns plugin modules that a file imports or has in a string."""
    nodes = ast.walk(ast.parse(path.read_text()))
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    dotted = {t for t in texts if t.startswith(("w2s_bench.plugins.", "plugins."))}
    return dotted | of_package(imports_of(path), "w2s_bench.plugins", "plugins")


def test_the_harness_names_no_plugin_but_in_the_loader():
    assert set(offenders(HARNESS, plugins_named_in)) == {"w2s_bench/registry/loading.py"}


def test_the_loader_names_plugins_in_its_tuple_alone():
    loading = ROOT / "w2s_bench/registry/loading.py"
    assert not of_package(imports_of(loading), "w2s_bench.plugins", "plugins")
    from w2s_bench.registry.loading import DEFAULT_PLUGINS

    tree = ast.parse(loading.read_text())
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    named = {t for t in texts if t.startswith("w2s_bench.plugins") and t != "w2s_bench.plugins."}
    assert named == set(DEFAULT_PLUGINS)


@pytest.mark.parametrize(
    "code",
    [
        "import w2s_bench",
        "import w2s_bench.hookspecs, w2s_bench.interfaces, w2s_bench.cells",
        "from w2s_bench.registry import load\nassert not load().broken, load().broken",
    ],
)
def test_importing_and_listing_load_no_torch(code):
    assert not of_package(loaded_by(code), *HEAVY)


def test_no_file_is_longer_than_300_lines():
    assert not offenders(CODE, lambda p: max(0, len(p.read_text().splitlines()) - 300))


def test_the_root_has_few_files():
    assert len([p for p in (ROOT / "w2s_bench").iterdir() if p.is_file()]) <= 14


def calls_of(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text())
    return [(ast.unparse(n.func), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]


def pickles_of(path: Path) -> list[str]:
    """Returns what in a file reads or writes pickle."""
    found = sorted(of_package(imports_of(path), "pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"))
    for name, call in calls_of(path):
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        if name in ("torch.load", "torch.save", "np.save", "numpy.save", "read_pickle") or name.endswith(".to_pickle"):
            found += [] if name.endswith("np.save") and keywords.get("allow_pickle") == "False" else [name]
        if name in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
            found.append(f"{name} without allow_pickle=False")
        if keywords.get("allow_pickle") == "True":
            found.append(f"{name}(allow_pickle=True)")
    return found


def test_nothing_stored_is_pickled():
    assert not offenders([p for p in CODE if "tests" not in p.parts], pickles_of)


def test_the_pickle_scanner_sees_pickles(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import pickle, numpy as np, torch\nnp.load('x')\nnp.load('x', allow_pickle=True)\ntorch.load('x')\n"
    )
    assert len(pickles_of(bad)) == 5


def test_what_the_hook_specs_say_of_a_loop_is_there():
    from w2s_bench import hookspecs
    from w2s_bench.training import loop, step

    for specified, real in ((hookspecs.Problem, loop.Problem), (hookspecs.TrainableStudent, step.TrainableStudent)):
        names = {*specified.__annotations__, *(n for n in vars(specified) if not n.startswith("_"))}
        offered = {*getattr(real, "__dataclass_fields__", ()), *dir(real)}
        assert len(names) >= 3 and names <= offered, names - offered
