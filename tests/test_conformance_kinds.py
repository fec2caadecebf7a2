"""Kinds of task in the checks: every plugin is tried on every kind that it serves, and failures name the kind."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from w2s_bench.conformance import check
from w2s_bench.conformance.toy_kinds import toys_of
from w2s_bench.conformance.trial import trial
from w2s_bench.interfaces import TASK_KINDS, FitContext, Sizes, TaskInfo
from w2s_bench.registry import load

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = load()
EXAMPLE = re.search(r"answer in words:\n\n```python\n(.*?)```", (ROOT / "docs/hooks.md").read_text(), re.S)[1]
"""A task, a supervisor and a student of a generation task, in one file."""


def written(folder: Path, code: str, name: str = "it.py") -> Path:
    (folder / name).write_text(textwrap.dedent(code))
    return folder / name


def checked(folder: Path, code: str):
    """Returns the report on a file with this code."""
    return check(written(folder, code), registry=REGISTRY)


def of(report, name: str) -> dict:
    """Returns the findings on one entry, by check."""
    (plugin,) = [p for p in report.plugins if p.name == name]
    return {f.check: f for f in plugin.findings}


def test_a_file_with_a_task_of_its_own_needs_no_other(tmp_path):
    report = checked(tmp_path, EXAMPLE)
    assert report.passed and [p.kind for p in report.plugins] == ["task", "supervisor", "student"], report
    assert of(report, "never_nine")["labels"].came == "on the task count_on"
    assert of(report, "reader")["trains"].came == "tune=full on the task count_on"
    assert of(report, "reader")["decodes"].status == "pass"


def test_a_task_of_the_file_can_be_named(tmp_path):
    path = written(tmp_path, EXAMPLE)
    assert check(path, registry=REGISTRY, task="count_on").passed


@pytest.mark.parametrize(
    ("name", "kind"), [("reward_labels", "preference"), ("best_of_n", "generation"), ("naive", "classification")]
)
def test_a_mitigation_is_tried_on_its_own_kind(name, kind):
    findings = of(check(name, registry=REGISTRY), name)
    assert findings["trains"].status == findings["repeats"].status == "pass"
    on = {k: findings[k].status for k in ("preference", "generation")}
    if name == "naive":
        assert on == {"preference": "pass", "generation": "pass"} and "of a" not in findings["trains"].came
    else:
        assert findings["trains"].came == f"48 of a {kind} task" and findings["needs"].came == "reward"
        assert on == {k: "pass" if k == kind else "skipped" for k in on}
        assert findings["three_classes"].came == "it does not serve classification"


MITIGATION = """
from w2s_bench import hookimpl

class It:
    '''It.'''
    kinds = frozenset({kinds})
    @hookimpl
    def revise_labels(self, labels, pool):
        if pool.task.kind == "{kind}":
            {fault}
        return labels

@hookimpl
def register_mitigations(register):
    register("it", It)
"""


@pytest.mark.parametrize("fault", ["raise IndexError('no such column')", "return 2 * labels"])
@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_mitigation_that_fails_on_one_kind_alone_is_caught_there(tmp_path, kind, fault):
    findings = of(checked(tmp_path, MITIGATION.format(kinds=set(TASK_KINDS), kind=kind, fault=fault)), "it")
    failed = {name for name, f in findings.items() if f.status == "fail"}
    assert failed == {"trains" if kind == "classification" else kind}
    if kind != "classification":
        sentence = findings[kind].sentence
        assert f"It trains on a {kind} task" in sentence and f"leave {kind} out: kinds = frozenset(" in sentence


def test_a_mitigation_that_serves_one_kind_is_tried_on_no_other(tmp_path):
    code = MITIGATION.format(kinds={"classification"}, kind="preference", fault="raise IndexError")
    findings = of(checked(tmp_path, code), "it")
    assert findings["preference"].came == "it does not serve preference"
    assert findings["generation"].came == "it does not serve generation"


PAIRS = """
import numpy as np
from w2s_bench import hookimpl
from w2s_bench.conformance.toy import ToySupervisor

class It(ToySupervisor):
    '''It.'''
    def label(self, inputs):
        votes = super().label(inputs)
        return {fault} if inputs.other else votes

@hookimpl
def register_supervisors(register):
    register("it", It)
"""


@pytest.mark.parametrize(
    ("fault", "caught_by", "sentence"),
    [
        ("votes", None, ""),
        ("2 * votes", "probabilities_on_preference", "48 of 48 rows are not"),
        ("votes[:, 0]", "labels_on_preference", "float64 [48] came where floats [48, 2] were due"),
        ("1 / 0", "labels_on_preference", "it raised ZeroDivisionError: division by zero; name a preference task"),
    ],
)
def test_a_supervisor_of_classes_is_tried_on_pairs_too(tmp_path, fault, caught_by, sentence):
    findings = of(checked(tmp_path, PAIRS.format(fault=fault)), "it")
    failed = {name: f.sentence for name, f in findings.items() if f.status == "fail"}
    assert (sentence in failed[caught_by]) if caught_by else not failed
    assert all(name.endswith("_on_preference") for name in failed)
    assert findings["labels"].status == "pass" and "rewards_on_preference" in findings


BAD_ANSWERS = {
    "return np.array([self.next.get(text[-1], '') for text in inputs.text])": [
        ("return np.array([1.0] * len(inputs))", "labels", "float64 [48] came where 48 texts were due"),
        ("return np.array(['a'] * 5)", "labels", "<U1 [5] came where 48 texts were due"),
        ("return [text for text in self.nothing]", "labels", "AttributeError"),
    ],
    "return np.array([float(answer.count('9')) for answer in answers])": [
        ("return np.array([answer for answer in answers])", "rewards", "return 48 finite floats"),
    ],
    "decode=lambda rows: [' '.join(DIGITS[i] for i in row) for row in rows],": [
        ("", "decodes", "its backbone has no `decode` and `end_id`"),
        ("decode=lambda rows: ['so' for row in rows],", "decodes", "'so' came for '2 3'"),
        ("decode=lambda rows: [[1, 2] for row in rows],", "decodes", "[1, 2] came for"),
    ],
}


@pytest.mark.parametrize(
    ("line", "fault", "caught_by", "sentence"),
    [(line, *case) for line, cases in BAD_ANSWERS.items() for case in cases],
)
def test_what_answers_in_words_wrongly_is_caught(tmp_path, line, fault, caught_by, sentence):
    line = line.replace("'", '"') if line not in EXAMPLE else line
    assert line in EXAMPLE
    report = checked(tmp_path, EXAMPLE.replace(line, fault))
    name = "reader" if "decode" in line else "never_nine"
    finding = of(report, name)[caught_by]
    assert finding.status == "fail" and sentence in finding.sentence, finding


def test_a_kind_without_a_task_that_can_be_read_is_skipped(tmp_path):
    """Its own task is one of classes, in a language of its own; no pairs in that language are at hand."""
    code = """
    import numpy as np
    from w2s_bench import hookimpl
    from w2s_bench.interfaces import SPLITS, Inputs, Split

    class Parity:
        '''Is a number odd?'''
        kind = "classification"
        def fingerprint(self): return "parity-1"
        def load(self, seed, sizes):
            counts = [getattr(sizes, f"n_{name}") for name in SPLITS]
            drawn = np.random.default_rng(seed).permutation(2000)[: sum(counts)]
            splits = {}
            for name, numbers in zip(SPLITS, np.split(drawn, np.cumsum(counts)[:-1])):
                inputs = Inputs([str(n) for n in numbers], [f"n{n}" for n in numbers])
                splits[name] = Split(inputs, numbers % 2)
            return ["even", "odd"], splits

    class Rule:
        '''Knows.'''
        def fit(self, inputs, truth, context): pass
        def label(self, inputs):
            return np.eye(2)[[int(text[1:]) % 2 for text in inputs.text]]

    @hookimpl
    def register_tasks(register):
        register("parity", Parity)

    @hookimpl
    def register_supervisors(register):
        register("rule", Rule)
    """
    findings = of(checked(tmp_path, code), "rule")
    assert findings["labels"].came == "on the task parity"
    skipped = findings["labels_on_preference"]
    assert skipped.status == "skipped" and "--task NAME" in skipped.came


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_each_kind_has_toys(kind):
    toys, sizes = toys_of(kind), Sizes(300, 30, 20, 60)
    task = toys.task()
    names, splits = task.load(0, sizes)
    info = TaskInfo("toy", kind, len(names), names)
    supervisor = toys.supervisor(toys.supervisor.Options())
    supervisor.fit(splits["supervision"].inputs, splits["supervision"].truth, FitContext(info, 0, None))
    test = splits["test"]
    if kind == "generation":
        right = [task.check(a, t, "") for a, t in zip(supervisor.answer(test.inputs), test.truth, strict=True)]
    else:
        right = supervisor.label(test.inputs).argmax(1) == test.truth
    assert np.mean(right) > 0.75  # a supervisor that knows all words learns the task
    assert trial([], kind=kind).steps == 12
