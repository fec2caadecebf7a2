"""Boosted bags of words: weak models in a row, each on what those before it got wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.interfaces import FitContext, Inputs
from w2s_bench.plugins.supervisors.tfidf import TfidfSupervisor


@hookimpl
def register_supervisors(register) -> None:
    """Registers the supervisor."""
    register("boosted", Boosted)


class Boosted:
    """An ensemble of `tfidf` models by AdaBoost, which labels by their weighted vote.

    Source: Agrawal et al. 2024, arXiv 2410.04571 (EnsemW2S), after Freund & Schapire 1997 and, for several classes, Zhu
    et al. 2009 (SAMME). Formula: model k learns from a sample drawn by the weights; e_k is its weighted error on the
    supervision split, alpha_k = log((1 - e_k) / e_k) + log(C - 1); weights of its errors grow by exp(alpha_k). It ends
    where a model is no better than chance. Labels are softmax(sum_k alpha_k [k says c] / sum_k alpha_k x C).
    """

    source = "Agrawal et al. 2024, arXiv 2410.04571"

    @dataclass
    class Options(TfidfSupervisor.Options):
        rounds: int = 5
        """Weak models at most."""
        ngrams: int = 1
        """Longest n-gram of the weak models."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Fits the models one after another on the supervision split."""
        truth, classes = np.asarray(truth), context.task.n_classes
        rng, weights = np.random.default_rng(context.seed), np.full(len(truth), 1 / len(truth))
        self.n_classes = classes
        self.models: list[TfidfSupervisor] = []
        alphas: list[float] = []
        for k in range(self.options.rounds):
            drawn = rng.choice(len(truth), len(truth), p=weights) if k else np.arange(len(truth))
            model = TfidfSupervisor(self.options)
            if len(np.unique(truth[drawn])) < 2:
                break
            model.fit(inputs.take(drawn), truth[drawn], context)
            wrong = model.label(inputs).argmax(1) != truth
            error = float(np.clip((weights * wrong).sum(), 1e-6, None))
            if k and error >= 1 - 1 / classes:
                break
            self.models.append(model)
            alphas.append(max(np.log((1 - error) / error) + np.log(classes - 1), 1e-6))
            weights = weights * np.exp(alphas[-1] * wrong)
            weights /= weights.sum()
        self.alphas = np.array(alphas)

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns probabilities [N, C]."""
        from scipy.special import softmax

        votes = np.zeros((len(inputs), self.n_classes))
        for alpha, model in zip(self.alphas, self.models, strict=True):
            votes[np.arange(len(inputs)), model.label(inputs).argmax(1)] += alpha
        return softmax(votes / self.alphas.sum() * self.n_classes, axis=1)

    def save(self, folder: Path) -> None:
        """Writes each model to a folder of its own, and alphas.npz."""
        from w2s_bench import exchange

        for k, model in enumerate(self.models):
            model.save(folder / str(k))
        exchange.write_arrays(folder / "alphas.npz", alphas=self.alphas)

    def restore(self, folder: Path, context: FitContext) -> None:
        """Reads what `save` wrote."""
        from w2s_bench import exchange

        self.n_classes = context.task.n_classes
        self.alphas = exchange.read_arrays(folder / "alphas.npz")["alphas"]
        self.models = [TfidfSupervisor(self.options) for _ in self.alphas]
        for k, model in enumerate(self.models):
            model.restore(folder / str(k), context)
