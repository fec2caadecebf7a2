"""The docs say what is: hooks have their headings, examples run, links lead somewhere."""

from __future__ import annotations

import inspect
import re
import sys
from urllib.parse import unquote

import numpy as np
import pytest
from support.bench import accuracy, student_of, supervisor
from support.doc_pages import DOCS, FENCE, ROOT, named, snippets

from w2s_bench import events, hookspecs
from w2s_bench.interfaces import FitContext, Recipe, Sizes, TaskInfo
from w2s_bench.registry import registry, stacking

HOOKS = (ROOT / "docs" / "hooks.md").read_text()


def headings(text: str) -> list[str]:
    """Returns a page's headings, without what looks like one inside code."""
    return re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)


def anchor(heading: str) -> str:
    """Returns the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


PYTHON = {f"{named(p)}-{i}": code for p in DOCS for i, code in enumerate(snippets(p.read_text(), "python"))}
EXAMPLES = snippets(HOOKS, "python")
PLUGINS = {name: code for code in EXAMPLES for name in re.findall(r'^    register\("(\w+)"', code, re.M)}


@pytest.fixture
def load(tmp_path):
    """Returns a function that loads a snippet as a user's plugin file; nothing of it may be broken."""

    def load(code: str):
        path = tmp_path / "snippet.py"
        path.write_text(code)
        loaded = registry.load([str(path)])
        assert not [b for b in loaded.broken if b.distribution == "snippet.py"]
        return loaded

    yield load
    for name in [n for n in sys.modules if n.startswith("w2s_file_snippet")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", stacking.SPECS)
def test_every_hook_has_its_heading(name):
    signature = f"`{name}({', '.join(inspect.signature(getattr(hookspecs, name)).parameters)})`"
    assert signature in headings(HOOKS), f"docs/hooks.md has no heading {signature}"


@pytest.mark.parametrize("name", stacking.SPECS)
def test_every_hook_is_typed(name):
    signature = inspect.signature(getattr(hookspecs, name))
    untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert not untyped and signature.return_annotation is not signature.empty


@pytest.mark.parametrize("name", stacking.COMBINES)
def test_every_mitigation_hook_says_how_it_combines(name):
    section = HOOKS.split(f"### `{name}(")[1].split("\n### ")[0]
    assert f"Combines: **{stacking.COMBINES[name]}**" in section


def test_no_heading_for_a_hook_that_is_gone():
    named = {m[1] for h in headings(HOOKS) if (m := re.fullmatch(r"`(\w+)\(.*\)`", h))}
    assert named == set(stacking.SPECS)


@pytest.mark.parametrize("name", PYTHON)
def test_python_compiles(name):
    compile(PYTHON[name], name, "exec")


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_hook_examples_load_as_plugins(code, load):
    loaded = load(code)
    assert any(f.distribution == "snippet.py" for f in loaded._plugins)


def test_observer_example(load, capsys, recwarn):
    loaded = load(next(code for code in EXAMPLES if "def run_started(" in code))
    for event in (
        events.RunStarted(cells=2, stages=5, cached=1),
        events.StageFinished("train", "facts", 0.14, cached=False),
        events.StageFinished("ceiling", "facts", 0.0, cached=True),
        events.RunFailed("facts", "failed", "why"),
        events.RunFinished(ok=1, failed=1, seconds=2.0),
    ):
        loaded.observe(event)
    assert capsys.readouterr().out.splitlines() == [
        "2 cells, 4 of 5 stages to do", "facts: 0.1 s", "facts failed: why", "1 cells done, 1 failed, in 2 s"
    ]  # fmt: skip
    assert not recwarn.list


def test_suite_example(load, tmp_path):
    from w2s_bench.compose import runs as compose
    from w2s_bench.compose import suites

    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.yaml").write_text(snippets(HOOKS, "yaml")[0])
    loaded = load(next(code for code in EXAMPLES if "def register_suites(" in code))
    suite = suites.find("mine", loaded)
    run = compose.run_of(suite.sweeps, [], True, loaded, store=str(tmp_path))
    assert suite.description and len(run.cells) == 10


def test_command_example(tmp_path):
    from click.testing import CliRunner

    from w2s_bench.cli.main import cli

    path = tmp_path / "hello.py"
    path.write_text(next(code for code in EXAMPLES if "def register_commands(" in code))
    answer = CliRunner().invoke(cli, ["hello", "--plugins", str(path)])
    assert answer.output == "hello\n"


MITIGATIONS = [name for name, code in PLUGINS.items() if "register_mitigations" in code]


@pytest.mark.parametrize("name", MITIGATIONS)
def test_mitigation_examples_train_a_student(name, load):
    entry = load(PLUGINS[name]).get("mitigation", name)
    asked = {i.hook: 0 for i in stacking.implementations(entry.cls)}
    for hook in asked:
        setattr(entry.cls, hook, _counting(getattr(entry.cls, hook), hook, asked))
    supervisors = [supervisor(words=40), supervisor(words=48)]
    recipe = Recipe(body_lr=1e-2, head_lr=1e-2, epochs=4)
    student = student_of([(name, entry.build)], supervisors, recipe=recipe)
    assert all(asked.values()), f"never asked: {asked}"
    assert accuracy(student) > 0.6


def _counting(method, hook, asked):
    import functools

    @functools.wraps(method)
    def counted(*args, **kwargs):
        asked[hook] += 1
        return method(*args, **kwargs)

    return counted


def test_task_supervisor_and_student_examples_work_together(load, tmp_path):
    import torch

    from w2s_bench.referee.prepare import check_splits
    from w2s_bench.training.finetune import finetune

    loaded = load("\n".join(PLUGINS[n] for n in ("totals", "first_digits", "digit_bag")))
    names, splits = loaded.get("task", "totals").build().load(0, Sizes(600, 600, 50, 1000))
    check_splits("totals", names, splits)
    task, recipe = TaskInfo("totals", "classification", 2, names), Recipe(body_lr=1e-2, head_lr=1e-2, epochs=6)
    test = splits["test"]

    weak = loaded.get("supervisor", "first_digits").build()
    weak.fit(splits["supervision"].inputs, splits["supervision"].truth, FitContext(task, 0, recipe))
    floor = (weak.label(test.inputs).argmax(1) == test.truth).mean()
    weak.save(tmp_path)
    again = loaded.get("supervisor", "first_digits").build()
    again.restore(tmp_path, FitContext(task, 0, recipe))
    assert np.array_equal(again.label(test.inputs), weak.label(test.inputs))

    strong = loaded.get("student", "digit_bag")
    assert strong.options["body_lr"] == 1e-2 and strong.options["tune"] == "full"
    labels = torch.nn.functional.one_hot(torch.from_numpy(splits["transfer"].truth), 2).float()
    ceiling = finetune(strong.build().backbone(0), splits["transfer"].inputs, labels, FitContext(task, 0, recipe))
    reached = (ceiling.predict(test.inputs).argmax(1).numpy() == test.truth).mean()
    assert 0.6 < floor < reached - 0.05 and reached > 0.85


def test_examples_that_answer_in_words_work_together(load, tmp_path):
    from w2s_bench.referee.prepare import check_splits
    from w2s_bench.training.finetune import finetune, hard_labels

    loaded = load(PLUGINS["count_on"])
    task = loaded.get("task", "count_on").build()
    names, splits = task.load(0, Sizes(100, 500, 20, 200))
    check_splits("count_on", names, splits, task.kind)
    info, test = TaskInfo("count_on", task.kind, 0, names), splits["test"]

    def right(answers):
        return np.mean(
            [task.check(str(a), str(t), x) for a, t, x in zip(answers, test.truth, test.inputs.text, strict=True)]
        )

    weak = loaded.get("supervisor", "never_nine").build()
    weak.fit(splits["supervision"].inputs, splits["supervision"].truth, FitContext(info, 0, Recipe()))
    weak.save(tmp_path)
    again = loaded.get("supervisor", "never_nine").build()
    again.restore(tmp_path, FitContext(info, 0, Recipe()))
    assert list(again.answer(test.inputs)) == list(weak.answer(test.inputs))
    strong = loaded.get("student", "reader")
    recipe = Recipe(**{k: strong.options[k] for k in ("body_lr", "head_lr", "max_length")}, epochs=20)
    learnt = hard_labels(info, splits["transfer"].inputs, splits["transfer"].truth)
    ceiling = finetune(strong.build().backbone(0), *learnt, FitContext(info, 0, recipe))
    assert 0.8 < right(weak.answer(test.inputs)) < 0.95 < right(ceiling.answer(test.inputs))


def test_metric_example(load):
    brier = load(PLUGINS["brier"]).metric("brier")
    assert brier(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 1])) == pytest.approx(0.25)


@pytest.mark.parametrize("path", DOCS, ids=named)
def test_links_lead_somewhere(path):
    text = FENCE.sub("", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        place, _, part = unquote(target).partition("#")
        found = (path.parent / place).resolve() if place else path
        assert found.exists(), f"{path.name}: {target} leads nowhere"
        if part and found.suffix == ".md":
            assert part in map(anchor, headings(found.read_text())), f"{path.name}: {target}: no such heading"


def test_files_shown_are_the_files():
    for path in DOCS:
        for name, code in re.findall(r"<!-- file: (\S+) -->\n+```\w+\n(.*?)^```$", path.read_text(), re.M | re.S):
            assert (ROOT / name).read_text() == code, f"{path.name} shows another {name} than the one in the repository"
