"""A bag of words as a supervisor: TF-IDF features and logistic regression, fitted in seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.errors import W2SError
from w2s_bench.interfaces import FitContext, Inputs

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer


@hookimpl
def register_supervisors(register) -> None:
    """Registers the supervisor."""
    register("tfidf", TfidfSupervisor)


class TfidfSupervisor:
    """Logistic regression on TF-IDF of word or letter n-grams; pairs are judged by the difference of their features."""

    source = "Salton & Buckley 1988, Term-weighting approaches in automatic text retrieval"

    @dataclass
    class Options:
        ngrams: int = 2
        """Longest n-gram."""
        analyzer: Literal["word", "char_wb"] = "word"
        """`word` n-grams, or `char_wb`: letters within a word."""
        c: float = 1.0
        """Inverse strength of the L2 penalty."""
        max_features: int = 50000
        """N-grams kept, the most frequent."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Counts n-grams and fits the regression on the supervision split."""
        from sklearn.linear_model import LogisticRegression

        self.task = context.task
        texts = [*inputs.text, *(inputs.other or ())]
        self.words = self._vectorizer()
        try:
            self.words.fit(texts)
        except ValueError as error:  # an empty vocabulary
            raise W2SError(f"supervisor tfidf: no words in the {len(texts)} texts of the supervision split") from error
        # A pair's two sides are alike: without an intercept, to swap them is to swap the probabilities.
        model = LogisticRegression(C=self.options.c, max_iter=1000, fit_intercept=not self._pairs)
        truth = np.asarray(truth)
        if len(np.unique(truth)) < 2:
            raise W2SError("supervisor tfidf: the supervision split has one class alone; give task.n_supervision more")
        model.fit(self._features(inputs), truth)
        self.coefficients = np.asarray(model.coef_, dtype=np.float64)  # [1 (two classes) or classes seen, words]
        self.intercept = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), len(self.coefficients)).copy()
        self.classes = np.asarray(model.classes_, dtype=np.int64)

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns probabilities [N, C]; 0 for a class that the supervision split lacks."""
        from scipy.special import softmax

        scores = np.asarray(self._features(inputs) @ self.coefficients.T) + self.intercept
        if scores.shape[1] == 1:
            scores = np.hstack([np.zeros_like(scores), scores])
        probabilities = np.zeros((len(inputs), self.task.n_classes))
        probabilities[:, self.classes] = softmax(scores, axis=1)
        return probabilities

    def reward(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] the probability of each answer, a class number; of a pair, the answer's score (a log-odds)."""
        answers = np.asarray(answers)
        if self._pairs:
            texts = [(inputs.other or [])[i] if answer else inputs.text[i] for i, answer in enumerate(answers)]
            return np.asarray(self.words.transform(texts) @ self.coefficients[0])
        return self.label(inputs)[np.arange(len(inputs)), answers]

    def correct(self, inputs: Inputs, answers: np.ndarray) -> np.ndarray:
        """Returns [N] class numbers: the answer to accept it, another where sure of that, -1 to abstain."""
        from w2s_bench.training.critic import correct_by_label

        return correct_by_label(self.label(inputs), answers)

    def save(self, folder: Path) -> None:
        """Writes vocabulary.json and weights.npz."""
        from w2s_bench import exchange

        folder.mkdir(parents=True, exist_ok=True)
        vocabulary = sorted(self.words.vocabulary_, key=self.words.vocabulary_.__getitem__)
        exchange.write_json(folder / "vocabulary.json", vocabulary)
        exchange.write_arrays(
            folder / "weights.npz",
            idf=self.words.idf_,
            coefficients=self.coefficients,
            intercept=self.intercept,
            classes=self.classes,
        )

    def restore(self, folder: Path, context: FitContext) -> None:
        """Reads what `save` wrote."""
        from w2s_bench import exchange

        self.task = context.task
        weights = exchange.read_arrays(folder / "weights.npz")
        self.words = self._vectorizer(vocabulary=json.loads((folder / "vocabulary.json").read_text()))
        self.words.idf_ = weights["idf"]
        self.coefficients, self.intercept = weights["coefficients"], weights["intercept"]
        self.classes = weights["classes"]

    @property
    def _pairs(self) -> bool:
        return self.task.kind == "preference"

    def _features(self, inputs: Inputs) -> Any:
        """Returns sparse features [N, words]; of a pair, the second candidate's less the first's."""
        features = self.words.transform(inputs.text)
        return self.words.transform(inputs.other) - features if self._pairs else features

    def _vectorizer(self, vocabulary: list[str] | None = None) -> TfidfVectorizer:
        from sklearn.feature_extraction.text import TfidfVectorizer

        o = self.options
        return TfidfVectorizer(
            analyzer=o.analyzer,
            ngram_range=(1, o.ngrams),
            max_features=None if vocabulary else o.max_features,
            sublinear_tf=True,
            vocabulary=vocabulary,
        )
