"""Labels that come from no model: people's out of a file, and the truth with errors put in."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_api import SMALL, TOY

import w2s_bench
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import FitContext, Inputs, Recipe, TaskInfo
from w2s_bench.plugins.supervisors.annotations import Annotations
from w2s_bench.plugins.supervisors.noise import Noise
from w2s_bench.registry.checks import problem_of_class

N = 2000


def examples(classes: int, seed: int = 0) -> tuple[Inputs, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = Inputs([f"e{i}" for i in range(N)], ["text"] * N, difficulty=rng.permutation(N).astype(float))
    return inputs, rng.permutation(np.arange(N) % classes)


def noise(classes: int = 2, inputs_seed: int = 0, **options):
    inputs, truth = examples(classes, inputs_seed)
    made = Noise(Noise.Options(**options))
    task = TaskInfo("made", "classification", classes, list("abcdefg"[:classes]))
    truths = dict(zip(inputs.ids, truth.tolist(), strict=True))
    made.fit(inputs, truth, FitContext(task, 3, Recipe(), truth=truths))
    return made, inputs, truth


@given(rate=st.floats(0, 0.9), by=st.sampled_from(["random", "difficulty"]), classes=st.sampled_from([2, 3, 7]))
@settings(max_examples=20, deadline=None)
def test_the_rate_is_the_share_of_wrong_labels(rate, by, classes):
    made, inputs, truth = noise(classes, rate=rate, by=by)
    labels = made.label(inputs)
    np.testing.assert_allclose(labels.sum(1), 1)
    if rate < 1 - 1 / classes - 0.01:  # beyond it, another class than the one that it names is the likeliest
        wrong = labels.argmax(1) != truth
        assert wrong.mean() == pytest.approx(rate, abs=4 * (0.25 / N) ** 0.5)


def test_where_errors_are():
    made, inputs, truth = noise(rate=0.2, by="class")
    wrong = made.label(inputs).argmax(1) != truth
    assert not wrong[truth == 1].any() and wrong[truth == 0].mean() == pytest.approx(0.4, abs=0.06)
    made, inputs, truth = noise(rate=0.2, by="difficulty")
    wrong = made.label(inputs).argmax(1) != truth
    assert wrong.sum() == 400 and inputs.difficulty[wrong].min() > inputs.difficulty[~wrong].max()


def test_asked_again_in_other_company_it_says_the_same():
    made, inputs, _ = noise(rate=0.3)
    some = [5, 1700, 3]
    np.testing.assert_array_equal(made.label(inputs)[some], made.label(inputs.take(some)))


def test_difficulty_is_refused_where_there_is_none():
    made = Noise(Noise.Options(by="difficulty"))
    bare = Inputs(["a"], ["x"])
    with pytest.raises(W2SError, match="but task made says nothing of difficulty"):
        made.fit(
            bare, np.array([0]), FitContext(TaskInfo("made", "classification", 2, ["a", "b"]), 0, Recipe(), truth={})
        )
    with pytest.raises(UsageError, match=r"expects a share from 0 to below 1, not 1\.0"):
        Noise.Options(rate=1.0)


def test_truth_is_for_controls_alone():
    methods = {"__doc__": "Sees.", "fit": lambda self: None, "label": lambda self: None, "needs": frozenset({"truth"})}
    assert "may need 'truth' where it is a control" in str(problem_of_class("supervisor", type("Sees", (), methods)))
    assert problem_of_class("supervisor", type("Sees", (), {**methods, "control": True})) is None


def test_noise_from_end_to_end(tmp_path):
    results = w2s_bench.run(
        *(o for o in SMALL if not o.startswith("supervisor=")),
        "supervisor=[noise]", "supervisor.noise.rate=0.0,0.25", "mitigation=[naive]",
        multirun=True, plugins=[TOY], store=tmp_path,
    )  # fmt: skip
    floors = [r["test"]["floor"]["accuracy"] for r in results.records]
    assert results.ok == 2 and floors[0] == 1.0 and floors[1] == pytest.approx(0.75, abs=0.1)


FILE = """text,label,annotator
good film,pos,anna
good film,pos,ben
good film,neg,carl
bad film,neg,anna
bad film,,ben
odd film,pos,ben
"""
TEXTS = Inputs(["1", "2", "3", "4"], ["bad film", "good film", "unseen film", "odd film"])
TASK = TaskInfo("films", "classification", 2, ["neg", "pos"])


def annotations(folder, content: str = FILE, **options) -> Annotations:
    path = folder / "votes.csv"
    path.write_text(content)
    made = Annotations(Annotations.Options(path=str(path), **options))
    made.fit(TEXTS, np.zeros(4, int), FitContext(TASK, 0, Recipe()))
    return made


def test_shares_of_votes_and_abstentions(tmp_path):
    expected = [[1, 0], [1 / 3, 2 / 3], [np.nan, np.nan], [0, 1]]
    np.testing.assert_allclose(annotations(tmp_path).label(TEXTS), expected)
    ben = annotations(tmp_path, annotator="ben").label(TEXTS)
    np.testing.assert_allclose(ben, [[np.nan, np.nan], [0, 1], [np.nan, np.nan], [0, 1]])


def test_the_file_is_the_fingerprint(tmp_path):
    one, other = annotations(tmp_path), annotations(tmp_path, FILE + "new film,pos,anna\n")
    assert one.options == other.options and asdict(one.options)["path"].endswith("votes.csv")
    assert one.fingerprint() == other.fingerprint()  # of what is there now
    before = other.fingerprint()
    annotations(tmp_path)
    assert one.fingerprint() != before


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (FILE, {"label": "lable"}, r"has no column 'lable'; did you mean 'label'\?"),
        (FILE, {"annotator": "dora"}, "has no annotator 'dora'; it has anna, ben, carl"),
        (FILE.replace("carl", "carl").replace("neg,carl", "bad,carl"), {}, "row 3: 'bad' is no class of task films"),
    ],
)
def test_mistakes_are_named(tmp_path, content, options, sentence):
    with pytest.raises(W2SError, match=sentence):
        annotations(tmp_path, content, **options)


def test_no_text_in_common_is_said(tmp_path):
    with pytest.raises(W2SError, match="annotates none of 1 texts, the first of them 'unseen film'"):
        annotations(tmp_path).label(TEXTS.take([2]))
    with pytest.raises(UsageError, match=r"needs supervisor\.annotations\.path=FILE"):
        Annotations(Annotations.Options()).fingerprint()
