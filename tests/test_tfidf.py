"""The supervisor `tfidf`: probabilities, pairs, several classes, saving without pickle, real text."""

from pathlib import Path

import numpy as np
import pytest

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import FitContext, Inputs, Recipe, Sizes, Supervisor, TaskInfo
from w2s_bench.plugins.supervisors.tfidf import TfidfSupervisor
from w2s_bench.plugins.tasks.table import Table

REAL = Path(__file__).parents[2] / "shared" / "data"
COLOURS = ["red", "green", "blue", "grey"]


def context(n_classes: int = 2, kind: str = "classification") -> FitContext:
    return FitContext(TaskInfo("toy", kind, n_classes, COLOURS[:n_classes]), 0, Recipe())


def examples(n: int, seed: int, n_classes: int = 2) -> tuple[Inputs, np.ndarray]:
    """Returns texts in which one word tells the class and others do not."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, n_classes, n)
    text = [" ".join(draw.permutation([COLOURS[t], *draw.choice(list("pqrstuv"), 3).repeat(2)])) for t in truth]
    return Inputs([str(i) for i in range(n)], [t.replace("p", "pebble") for t in text]), truth


def pairs(n: int, seed: int) -> tuple[Inputs, np.ndarray]:
    """Returns pairs of which the better one holds `good`."""
    draw = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    sides = [[f"{w} thing {draw.integers(9)}" for w in (("bad", "good") if t else ("good", "bad"))] for t in truth]
    return Inputs([str(i) for i in range(n)], [a for a, _ in sides], [b for _, b in sides]), truth


def fitted(options: TfidfSupervisor.Options, given: FitContext, inputs: Inputs, truth: np.ndarray) -> TfidfSupervisor:
    supervisor = TfidfSupervisor(options)
    supervisor.fit(inputs, truth, given)
    return supervisor


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("analyzer", ["word", "char_wb"])
def test_labels_are_probabilities_in_class_order(n_classes, analyzer):
    options = TfidfSupervisor.Options(analyzer=analyzer, ngrams=3 if analyzer == "char_wb" else 1)
    supervisor = fitted(options, context(n_classes), *examples(300, 0, n_classes))
    assert isinstance(supervisor, Supervisor)
    inputs, truth = examples(200, 1, n_classes)
    votes = supervisor.label(inputs)
    assert votes.shape == (200, n_classes) and (votes > 0).all()
    np.testing.assert_allclose(votes.sum(1), 1)
    assert (votes.argmax(1) == truth).mean() > 0.95
    np.testing.assert_array_equal(supervisor.reward(inputs, truth), votes[np.arange(200), truth])
    judged = supervisor.correct(inputs, 1 - truth if n_classes == 2 else truth)
    assert set(judged.tolist()) <= {-1, *range(n_classes)}


def test_probabilities_are_scikit_learns_own():
    from sklearn.linear_model import LogisticRegression

    for n_classes in (2, 3):
        inputs, truth = examples(300, 0, n_classes)
        supervisor = fitted(TfidfSupervisor.Options(), context(n_classes), inputs, truth)
        features = supervisor.words.transform(inputs.text)
        expected = LogisticRegression(C=1.0, max_iter=1000).fit(features, truth).predict_proba(features)
        np.testing.assert_allclose(supervisor.label(inputs), expected, rtol=1e-6)


def test_swapping_a_pair_swaps_the_probabilities():
    supervisor = fitted(TfidfSupervisor.Options(), context(2, "preference"), *pairs(200, 0))
    inputs, truth = pairs(100, 1)
    votes = supervisor.label(inputs)
    assert (votes.argmax(1) == truth).all()
    swapped = supervisor.label(Inputs(inputs.ids, inputs.other, inputs.text))
    np.testing.assert_allclose(swapped, votes[:, ::-1], rtol=1e-9)
    first, second = (supervisor.reward(inputs, np.full(100, answer)) for answer in (0, 1))
    np.testing.assert_allclose(votes[:, 1], 1 / (1 + np.exp(first - second)), rtol=1e-9)


def test_a_class_without_examples_gets_nothing():
    inputs, truth = examples(300, 0, 3)
    seen = np.flatnonzero(truth != 1)
    supervisor = fitted(TfidfSupervisor.Options(), context(3), inputs.take(seen), truth[seen])
    votes = supervisor.label(inputs)
    assert (votes[:, 1] == 0).all()
    assert (votes[seen].argmax(1) == truth[seen]).mean() > 0.95


@pytest.mark.parametrize("kind", ["classification", "preference"])
def test_saved_and_restored_it_says_the_same(tmp_path, kind):
    make = pairs if kind == "preference" else examples
    options = TfidfSupervisor.Options(ngrams=2, max_features=30)
    supervisor = fitted(options, context(2, kind), *make(300, 0))
    supervisor.save(tmp_path / "saved")
    assert sorted(f.name for f in (tmp_path / "saved").iterdir()) == ["vocabulary.json", "weights.npz"]
    again = TfidfSupervisor(options)
    again.restore(tmp_path / "saved", context(2, kind))
    inputs, _ = make(100, 1)
    np.testing.assert_array_equal(again.label(inputs), supervisor.label(inputs))


def test_it_is_the_same_every_time():
    one, two = (fitted(TfidfSupervisor.Options(), context(), *examples(300, 0)) for _ in range(2))
    inputs, _ = examples(50, 1)
    np.testing.assert_array_equal(one.label(inputs), two.label(inputs))


def test_what_cannot_be_learnt_is_explained():
    inputs, truth = examples(20, 0)
    with pytest.raises(W2SError, match="has one class alone"):
        fitted(TfidfSupervisor.Options(), context(), inputs, np.zeros_like(truth))
    silent = Inputs(inputs.ids, ["?"] * 20)
    with pytest.raises(W2SError, match="no words in the 20 texts"):
        fitted(TfidfSupervisor.Options(), context(), silent, truth)


@pytest.mark.parametrize(("name", "low", "high"), [("sst2", 0.74, 0.84), ("subj", 0.86, 0.95), ("hellaswag", 0.4, 0.6)])
def test_accuracy_on_real_text(name, low, high):
    path = REAL / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"real data not here: {path.name} is looked for in shared/data beside the checkout")
    group = "group" if name == "hellaswag" else ""
    _, splits = Table(Table.Options(path=str(path), split="split", group=group)).load(0, Sizes())
    supervisor = fitted(TfidfSupervisor.Options(), context(), splits["supervision"].inputs, splits["supervision"].truth)
    accuracy = (supervisor.label(splits["test"].inputs).argmax(1) == splits["test"].truth).mean()
    print(name, round(float(accuracy), 4))
    assert low < accuracy < high
