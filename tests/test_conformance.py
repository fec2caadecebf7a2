"""Every plugin that there is through the conformance checks; what a target may be; how the report reads."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support import architectures

from w2s_bench.cli.main import cli
from w2s_bench.conformance import check
from w2s_bench.conformance.findings import WIDTH
from w2s_bench.conformance.state import changed, kept
from w2s_bench.conformance.tasks import _runs
from w2s_bench.conformance.trial import trial
from w2s_bench.errors import UsageError
from w2s_bench.registry import PLUGIN_KINDS, load

ROOT = Path(__file__).resolve().parents[1]
SHARPER = ROOT / "examples" / "sharper.py"
REGISTRY = load()
NAMES = list(
    dict.fromkeys([*(n for k in PLUGIN_KINDS for n in REGISTRY.names(k)), *REGISTRY.metrics, *REGISTRY.suites])
)  # a name that several kinds share is checked for all of them


@pytest.fixture(scope="module")
def needed(tmp_path_factory):
    """Returns the options without which an entry has nothing to read."""
    folder = tmp_path_factory.mktemp("needed")
    draw = np.random.default_rng(0)
    rows = [{"text": " ".join(f"w{i}" for i in draw.integers(0, 60, 8)), "label": k % 2} for k in range(500)]
    order = draw.permutation(len(rows))
    (folder / "rows.jsonl").write_text("".join(json.dumps(rows[i]) + "\n" for i in order))
    architectures.make(folder / "tiny", "gpt2")
    return {
        "table": lambda: {"path": str(folder / "rows.jsonl")},
        "hf": lambda: {"model": str(folder / "tiny")},
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_plugin_conforms(name, needed):
    report = check(name, registry=REGISTRY, options=needed.get(name, dict)())
    assert report.passed, str(report)
    assert sum(f.status == "pass" for p in report.plugins for f in p.findings) >= 2 * len(report.plugins), report


def test_the_example_distribution_conforms():
    report = check(ROOT / "examples" / "w2s-example", registry=REGISTRY)
    assert [(p.kind, p.name) for p in report.plugins] == [("mitigation", "label_temperature")]
    assert report.passed and not [f for p in report.plugins for f in p.findings if f.status == "note"], report


def test_what_lacks_an_option_is_skipped_with_its_own_words():
    report = check("table", registry=REGISTRY)
    found = {f.check: f for f in report.plugins[0].findings}
    assert report.passed and found["four_splits"].sentence.startswith("skipped: task=table needs task.path=FILE")
    assert found["sizes"].came == "it rests on what is reported above"


# --- the verb


def w2s(*words: str):
    return CliRunner().invoke(cli, list(words), env={"COLUMNS": str(WIDTH)})


def test_the_verb_says_it_in_lines_that_fit():
    done = w2s("check", str(SHARPER))
    lines = done.output.splitlines()
    assert done.exit_code == 0 and max(map(len, lines)) <= WIDTH
    assert lines[0] == "mitigation sharper sharper.py"
    assert "  pass     repeats          The same cell twice gives the same predictions, bit for bit" in lines
    assert lines[-1].endswith("sharper.py conforms: 15 passed, 1 with a note, 3 skipped")


def test_the_verb_for_programs():
    done = w2s("check", "accuracy", "--json")
    found = json.loads(done.output)
    assert done.exit_code == 0 and (found["schema"], found["status"]) == (1, "pass")
    (plugin,) = found["plugins"]
    assert (plugin["kind"], plugin["name"], plugin["status"]) == ("metric", "accuracy", "pass")
    keys = {"check", "status", "expected", "came", "remedy", "sentence"}
    assert all(set(f) == keys for f in plugin["checks"])


def test_a_failure_exits_with_one(tmp_path):
    plugin = tmp_path / "flat.py"
    plugin.write_text(
        "from w2s_bench import hookimpl\n\n\ndef flat(probabilities, truth):\n    return 1.0\n\n\n"
        "@hookimpl\ndef register_metrics(register):\n    register('flat', flat)\n"
    )
    done = w2s("check", str(plugin))
    assert done.exit_code == 1 and "flat.py does not conform: 3 passed, 2 failed" in done.output
    assert "  FAIL  tells right from wrong  Perfect predictions are at one end" in done.output
    assert json.loads(w2s("check", str(plugin), "--json").output)["status"] == "fail"


BROKEN = [
    ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name' (it.py, line 1)"),
    ("x = 1\n", "mark a function such as register_mitigations(register) with @hookimpl"),
    (
        "from w2s_bench import hookimpl\n\nclass It:\n    '''It.'''\n    def revise_labels(self, labels): pass\n\n"
        "@hookimpl\ndef register_mitigations(register):\n    register('it', It)\n",
        "its method `revise_labels` is named like a hook but not marked; put @hookimpl above it",
    ),
]


@pytest.mark.parametrize(("code", "said"), BROKEN, ids=["import", "nothing", "refused"])
def test_what_does_not_load_fails_with_its_reason(tmp_path, code, said):
    (tmp_path / "it.py").write_text(code)
    report = check(tmp_path / "it.py", registry=REGISTRY)
    (failure,) = report.failures
    assert failure.check == "loads" and said in failure.sentence


def test_a_plugin_that_only_watches_passes(tmp_path):
    (tmp_path / "log.py").write_text(
        "from w2s_bench import hookimpl\n\n\n@hookimpl\ndef run_finished(event):\n    print(event)\n"
    )
    report = check(tmp_path / "log.py", registry=REGISTRY)
    assert report.passed and "it implements run_finished" in str(report)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["aux_confidense"], "did you mean 'aux_confidence'"),
        (["no/such.py"], "no/such.py: there is no such file and no such folder"),
        ([str(ROOT / "examples")], "no pyproject.toml here; name a .py file"),
        ([str(SHARPER), "power=2"], "no option 'power'; there are none"),
        (["table", "path"], "path: an option is written OPTION=VALUE"),
        (["table", "pth=x"], "no option 'pth'; did you mean 'path'?"),
        (["tfidf", "ngrams=many"], "supervisor 'tfidf': ngrams: expects a whole number"),
        (["tfidf", "--task", "fact"], "no task 'fact'; did you mean 'facts'?"),
    ],
)
def test_bad_usage_is_one_line(words, said):
    done = w2s("check", *words)
    assert done.exit_code == 2 and said in done.output and "\n" not in done.output.strip(), done.output


def test_a_module_is_a_target_too():
    report = check("w2s_bench.plugins.metrics", registry=REGISTRY)
    assert report.passed and {p.name for p in report.plugins} == set(REGISTRY.metrics)


def test_a_supervisor_is_tried_on_the_task_that_is_named():
    report = check("tfidf", registry=REGISTRY, task="facts")
    assert report.passed and "on the task facts" in [f.came for f in report.plugins[0].findings]


def test_a_file_that_is_installed_too_does_not_clash_with_itself(tmp_path):
    registry = load([str(SHARPER)])
    (found,) = [f for f in check(SHARPER, registry=registry).plugins[0].findings if f.check == "registers"]
    assert found.status == "pass"


def test_looking_for_a_check_loads_no_torch():
    code = "import sys, w2s_bench.conformance, w2s_bench.starters\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


def test_the_tutorial_shows_what_is_printed():
    shown = re.search(r"w2s check sharper.py\n```.*?```text\n(.*?)```", TUTORIAL, re.S)[1].splitlines()
    printed = check(SHARPER, registry=REGISTRY).text().splitlines()[:-1]
    assert shown[-1] == "sharper.py conforms: 15 passed, 1 with a note, 3 skipped"
    assert shown[:-1] == printed


def test_the_authors_own_test_runs():
    runpy.run_path(str(ROOT / "examples" / "test_sharper.py"))["test_conformance"]()


# --- what the checks rest on


def test_a_trial_repeats_and_leaves_the_global_streams_as_they_were():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, two = trial([], ambient=1), trial([], ambient=2)
    assert np.array_equal(one.predictions, two.predictions) and one.steps == 12
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])


def test_random_orders_are_not_suspected():
    draw = np.random.default_rng(0)
    for classes in (2, 3, 7):
        z = [_runs(draw.integers(0, classes, 160)) for _ in range(400)]
        assert abs(np.mean(z)) < 0.2 and 0.9 < np.std(z) < 1.1 and np.abs(z).max() < 5


def test_a_check_of_nothing_is_refused():
    with pytest.raises(UsageError, match="nor is there a file, a folder or a module"):
        check("nothing_of_this_name", registry=REGISTRY)


def test_state_in_the_defaults_of_any_function_is_seen(monkeypatch):
    module = types.ModuleType("w2s_file_keeps")
    code = "def one(x, kept=[]): pass\ndef two(x, kept=[]): pass\nclass It:\n    def three(self, kept={}): pass"
    exec(code, module.__dict__)
    module.It.__module__ = module.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for function, name in ((module.one, "keeps.one"), (module.two, "keeps.two"), (module.It.three, "It.three")):
        before = kept(module.It)
        assert changed(before, kept(module.It)) == []
        (value,) = function.__defaults__
        value.append(1) if isinstance(value, list) else value.update(a=1)
        assert changed(before, kept(module.It)) == [name]
