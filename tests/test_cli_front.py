"""The command line as users type it: run, suite, list, show, and what every verb has in common."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from w2s_bench.cli import main as front
from w2s_bench.cli.main import VERBS, cli, hoist
from w2s_bench.cli.show import describe, text_of
from w2s_bench.errors import W2SError
from w2s_bench.referee import sweep
from w2s_bench.registry import PLUGIN_KINDS, load

TOY = str(Path(__file__).parent / "support/toy.py")
SMALL = [
    "task=toy",
    "student=toy",
    "task.n_supervision=60",
    "task.n_transfer=64",
    "task.n_validation=20",
    "task.n_test=40",
]
VERB = """
import click
from w2s_bench import hookimpl
@hookimpl
def register_commands(cli):
    @cli.command()
    def greet():
        '''Say hello.'''
        click.echo("hello")
    @cli.command()
    def board():
        click.echo("not the board")
"""


@pytest.fixture
def w2s(tmp_path, monkeypatch):
    """Types a line in an empty folder, with everything that a run writes below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("W2S_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("W2S_STORE", raising=False)

    def w2s(*line: str, status: int = 0):
        result = CliRunner().invoke(cli, list(line))
        assert result.exit_code == status, result.output + str(result.exception)
        return result

    return w2s


@pytest.fixture
def runs(monkeypatch):
    """Every run that a line leads to, and what it is told became of it."""
    seen, outcome = [], [sweep.Outcome(1, 0, 0, False, Path("w2s-runs"), ())]
    monkeypatch.setattr(sweep, "run_cells", lambda run, registry: seen.append(run) or outcome[0])
    return seen, outcome


def test_help_shows_every_verb_without_importing_one(w2s):
    shown = w2s("--help").stdout
    assert re.findall(r"^  (\w+)  ", shown, re.M)[: len(VERBS)] == list(VERBS)
    assert w2s().stdout == shown


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "run"])
def test_every_verb_is_there_and_fits_a_screen(w2s, verb):
    shown = w2s(verb, "--help").stdout
    assert shown.startswith(f"Usage: w2s {verb}") and len(shown.splitlines()) < 40


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bord", "w2s: no verb 'bord'; did you mean 'board'? `w2s --help`"),
        ("run seed=x", "w2s: seed: expects a whole number, not 'x'"),
        ("run mitigation=[aux_confidnce]", "did you mean 'aux_confidence'? `w2s list mitigations` shows all"),
        ("run --cgf job", "w2s: no such option '--cgf'; did you mean '--cfg'?"),
        ("run --resolve", "--resolve goes with --cfg or --info"),
        ("run --retry all", "w2s: Invalid value for '--retry'"),
        ("run --config-dir nowhere", "w2s: --config-dir nowhere: there is no such folder"),
        ("run --cfg jobb", "invalid choice: 'jobb'"),
        ("run --cfg job task=fcts", "w2s: no task 'fcts'; did you mean 'facts'?"),
        ("run --cfg job task.n_trnsfer=3", "did you mean 'n_transfer'?"),
        ("run --plugins nofile.py", "w2s: --plugins nofile.py: there is no such file"),
        ("suite", "w2s: Missing argument 'NAME'."),
        ("suite qick", "w2s: no suite 'qick'; did you mean 'quick'? `w2s list suites` shows all"),
        ("suite none.yaml", "w2s: suite none.yaml: there is no such file"),
        ("suite quick mitigation.gcee.q=1", "no mitigation 'gcee'; did you mean 'gce'?"),
        ("list metrix", "w2s: no kind 'metrix'; did you mean 'metrics'?"),
        ("list --jsn", "No such option '--jsn'."),
        ("show gcee", "w2s: no name 'gcee'; did you mean 'gce'? `w2s list` shows all"),
    ],
)
def test_bad_usage_is_one_line_on_stderr(w2s, line, message):
    result = w2s(*line.split(), status=2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and result.stdout == ""


def test_debug_shows_the_traceback(w2s):
    assert "Traceback" in w2s("run", "seed=x", "--debug", status=2).stderr


def test_statuses(w2s, runs, monkeypatch):
    _, outcome = runs
    for (failed, interrupted), status in {(0, False): 0, (2, False): 1, (0, True): 130, (1, True): 130}.items():
        outcome[0] = sweep.Outcome(1, failed, 0, interrupted, Path("w2s-runs"), ())
        w2s("run", status=status)

    def broken(run, registry):
        raise W2SError("the disk\nis full")

    monkeypatch.setattr(sweep, "run_cells", broken)
    assert w2s("run", status=1).stderr == "w2s: the disk is full\n"

    def stopped(run, registry):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "run_cells", stopped)
    assert w2s("run", status=130).stderr.strip() == "w2s: interrupted"


def test_run_hands_on_what_was_said(w2s, runs):
    seen, _ = runs
    w2s("run", "-m", "seed=0,1", "--store", "there", "--retry", "failed", "--plugins", TOY, *SMALL[:2])
    w2s("--plugins", TOY, "run", "supervisor=[toy_weak]")
    assert [c.seed for c in seen[0].cells] == [0, 1]
    assert (seen[0].store, seen[0].retry_failed, seen[0].plugins) == ("there", True, [TOY])
    assert seen[1].cells[0].supervisors[0].name == "toy_weak" and not seen[1].retry_failed


def test_common_options_may_stand_anywhere():
    line = ["run", "--plugins", "a.py", "seed=1", "--debug", "--plugins=b", "--", "--debug"]
    assert hoist(line) == (["run", "seed=1", "--", "--debug"], True, ["a.py", "b"])


def test_dry_run_prints_the_commands(w2s, runs):
    dry = w2s("suite", "quick", "seed=0", "--dry-run")
    shown = dry.stdout.splitlines()
    assert not runs[0] and len(shown) > 10
    assert all(line.startswith("w2s run task=facts") and line.endswith("seed=0") for line in shown)
    told = dry.stderr.splitlines()
    assert told[0] == f"{len(shown)} cells; nothing was run" and "total: " in dry.stderr
    assert told[-1] == "power: none; nothing is compared with naive on two seeds or more"


def test_dry_run_says_what_the_suite_can_find(w2s, runs):
    said = w2s("suite", "quick", "seed=0,1,2,3", "--dry-run").stderr.splitlines()[-1]
    assert said.startswith("power: with 4 seeds, 1 group (task, supervisors, student) and 17 comparisons with naive, ")
    assert "found 80 % of the time" in said and "noise" in said and not runs[0]


def test_suite_of_ones_own_runs_to_a_board_and_then_trains_nothing(w2s, tmp_path):
    """The whole path, for real, with a plugin file from outside."""
    overrides = [*SMALL, "supervisor=[toy_weak]", "mitigation=[naive],[aux_confidence]", "seed=0", "engine=inline"]
    (tmp_path / "mine.yaml").write_text(json.dumps({"description": "Mine.", "sweeps": [overrides]}))
    first = w2s("suite", "mine.yaml", "--plugins", TOY)
    assert "aux_confidence" in first.stdout and first.stdout.endswith("page: w2s-runs/board.html\n")
    assert "<html" in (tmp_path / "w2s-runs" / "board.html").read_text()
    records = {p: p.stat().st_mtime_ns for p in (tmp_path / "w2s-runs" / "records").iterdir()}
    assert len(records) == 2
    assert w2s("suite", "mine.yaml", "--plugins", TOY).stdout == first.stdout
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "w2s-runs" / "records").iterdir()} == records
    record = json.loads(next(iter(records)).read_text())
    assert record["suite"] == "mine" and record["status"] == "ok"
    assert record["provenance"]["command"].startswith("w2s run --plugins toy.py task=toy task.n_supervision=60")
    assert str(tmp_path) not in json.dumps(record)


def test_list(w2s):
    registry = load()
    shown = w2s("list").stdout
    assert re.findall(r"^(\w+)$", shown, re.M) == [
        "tasks", "supervisors", "students", "mitigations", "metrics", "suites", "engines",
    ]  # fmt: skip
    for kind in PLUGIN_KINDS:
        assert all(re.search(rf"^  {n} ", shown, re.M) for n in registry.names(kind))
    told = json.loads(w2s("list", "--json").stdout)
    assert told["broken"] == [] and {"name", "distribution", "version", "summary"} == set(told["tasks"][0])
    assert [r["name"] for r in told["mitigations"]] == registry.names("mitigation")
    assert {r["name"] for r in told["engines"]} >= {"inline", "local"}
    assert w2s("list", "suite").stdout == w2s("list", "suites").stdout
    assert "[size=s]" in w2s("list", "students").stdout  # what tells one entry of a plugin from another


def test_list_names_what_is_broken(w2s, tmp_path):
    (tmp_path / "bad.py").write_text("import not_installed_anywhere")
    result = w2s("list", "tasks", "--plugins", "bad.py", "--plugins", TOY)
    assert re.search(r"^broken\n  bad.py  bad.py  ModuleNotFoundError: No module named", result.stdout, re.M)
    assert re.search(r"^  toy +toy.py +Sums of word values", result.stdout, re.M)
    assert result.stderr.startswith("w2s: plugin bad.py is broken: ModuleNotFoundError")
    told = json.loads(w2s("list", "--json", "--plugins", "bad.py").stdout)
    assert told["broken"][0]["distribution"] == "bad.py"


def test_show_says_everything_about_a_plugin(w2s):
    shown = w2s("show", "aux_confidence").stdout
    for part in ("2312.09390", "Hooks: training_targets (wraps)", "alpha_max: float = 0.5", "Weight of the student's"):
        assert part in shown
    (told,) = json.loads(w2s("show", "aux_confidence", "--json").stdout)
    assert told["hooks"] == [{"hook": "training_targets", "wrapper": True, "combines": "one"}]
    assert told["options"][0] == {"name": "alpha_max", "type": "float", "default": 0.5} | {
        "help": told["options"][0]["help"]
    }
    assert [t["kind"] for t in json.loads(w2s("show", "toy", "--json", "--plugins", TOY).stdout)] == ["task", "student"]
    assert "replicate: int = 0" in w2s("show", "ladder_m").stdout
    assert "Needs: several_supervisors" in w2s("show", "mean_ensemble").stdout


@pytest.mark.parametrize("name", [*(load().names(k)[0] for k in PLUGIN_KINDS), "accuracy", "quick", "local"])
def test_show_works_for_every_kind(w2s, name):
    assert w2s("show", name).stdout.startswith(f"{name}  (")
    assert json.loads(w2s("show", name, "--json").stdout)[0]["name"] == name


def test_show_works_for_every_entry():
    registry = load()
    for entry in (e for k in PLUGIN_KINDS for e in registry.entries(k)):
        described = describe(entry)
        assert json.loads(json.dumps(described)) == described
        assert all(o["help"] and f"  {o['name']}: {o['type']} = " in text_of(described) for o in described["options"])


def test_verbs_of_plugins(w2s, tmp_path):
    (tmp_path / "verb.py").write_text(VERB)
    assert w2s("greet", "--plugins", "verb.py").stdout == "hello\n"
    listed = w2s("list", "verbs", "--plugins", "verb.py").stdout
    assert re.search(r"^  greet +verb.py +Say hello", listed, re.M)
    assert re.search(r"verb 'board' is there already", listed)
    assert "The board, from records" in w2s("board", "--help", "--plugins", "verb.py").stdout


def hydra(*line: str, **environment: str) -> str:
    """Returns what a process of its own prints: Hydra reads sys.argv and the environment."""
    result = subprocess.run(
        [sys.executable, "-m", "w2s_bench", *line], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_hydras_own_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hardware").mkdir()
    (tmp_path / "hardware" / "box.yaml").write_text("accelerator: gpu\nthreads: 3")
    shown = hydra(
        "run", "--cfg", "job", "hardware=box", "--config-dir", ".", "mitigation=[gce]", "mitigation.gce.q=0.5"
    )
    assert re.search(r"^hardware:\n  accelerator: gpu\n  threads: 3$", shown, re.M)
    assert re.search(r"^mitigation:\n  gce:\n    name: gce\n    q: 0.5$", shown, re.M)
    assert "mitigation/naive" in hydra("run", "--info", "defaults")
    shown = hydra("run", "--help")
    assert re.search(r"^mitigation: .*\baux_confidence\b", shown, re.M)
    assert "-m 'mitigation=[naive]" in shown and "--retry failed" in shown
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hardware"]  # no outputs/ folder


def test_completion():
    assert "complete -o nospace" in hydra("run", "-sc", "install=bash")
    assert "student=ladder_m" in hydra("-sc", "query=bash", COMP_LINE="w2s run student=la")
    assert hydra("-sc", "query=bash", COMP_LINE="w2s run student.rep").strip() == "student.replicate="
    assert hydra("-sc", "query=bash", COMP_LINE="w2s board ") == ""


@pytest.mark.parametrize("line", [["--help"], ["list"], ["show", "gce"], ["list", "verbs"], ["board"]])
def test_light_verbs_import_nothing_heavy(line, tmp_path):
    (tmp_path / "w2s-runs" / "records").mkdir(parents=True)
    code = f"""
import sys, w2s_bench
from w2s_bench.cli.main import cli
try: cli.main({line!r})
except SystemExit as e: assert not e.code, e.code
print("LOADED", *sorted(sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    loaded = set(result.stdout.rpartition("LOADED")[2].split())
    heavy = {"torch", "lightning", "transformers", "datasets", "sklearn"}
    if line == ["--help"]:
        heavy |= {"numpy", "hydra", "w2s_bench.registry", "w2s_bench.board"}
    elif line != ["board"]:
        heavy |= {"hydra", "scipy"}
    assert not heavy & loaded


def test_every_verb_has_an_importable_home():
    for verb, (module, _) in VERBS.items():
        assert module.startswith("w2s_bench."), verb
    assert front.cli.list_commands(None)[: len(VERBS)] == list(VERBS)
