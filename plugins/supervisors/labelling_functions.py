"""Rules as a supervisor: patterns that each name a class, and abstain where they do not match."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from w2s_bench import hookimpl
from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import FitContext, Inputs


@hookimpl
def register_supervisors(register) -> None:
    """Registers the supervisor."""
    register("labelling_functions", LabellingFunctions)


class LabellingFunctions:
    """Regular expressions that vote for a class, each as far as it was right on the supervision split.

    Source: Ratner et al. 2017, arXiv 1711.10160 (labelling functions). Formula: a text's label is proportional to
    prod_m P(rule m matches | c) over the rules that match it, with add-one counts; where none matches, it abstains.
    """

    source = "Ratner et al. 2017, arXiv 1711.10160"
    kinds = frozenset({"classification"})

    @dataclass
    class Options:
        rules: list[str] = field(
            default_factory=lambda: [r"\b(not|no|never)\b|n't\b", r"\b(good|great|best|love)\b", r"\?", r"\d"]
        )
        """Regular expressions, without regard to case; the class that each speaks for is learnt."""

        def __post_init__(self) -> None:
            for rule in self.rules:
                try:
                    re.compile(rule)
                except re.error as error:
                    raise UsageError(f"rules: {rule!r} is no regular expression: {error}") from error
            if not self.rules:
                raise UsageError("rules: give one regular expression or more")

    def __init__(self, options: Options) -> None:
        self.options = options

    def fit(self, inputs: Inputs, truth: np.ndarray, context: FitContext) -> None:
        """Counts how often each rule matches texts of each class."""
        matches, truth = self._matches(inputs), np.asarray(truth)
        if not matches.any():
            raise W2SError(
                f"supervisor labelling_functions: no rule matches any of the {len(inputs)} texts of the supervision "
                "split; give others as supervisor.labelling_functions.rules=[...]"
            )
        one_hot = np.eye(context.task.n_classes)[truth]
        self.log_likelihood = np.log((matches.T @ one_hot + 1) / (one_hot.sum(0) + 2))  # [M, C]

    def label(self, inputs: Inputs) -> np.ndarray:
        """Returns probabilities [N, C]; a row of NaN where no rule matches."""
        from scipy.special import softmax

        matches = self._matches(inputs)
        labels = softmax(matches @ self.log_likelihood, axis=1)
        labels[~matches.any(1)] = np.nan
        return labels

    def save(self, folder: Path) -> None:
        """Writes likelihoods.json."""
        (folder / "likelihoods.json").write_text(json.dumps(self.log_likelihood.tolist()))

    def restore(self, folder: Path, context: FitContext) -> None:
        """Reads what `save` wrote."""
        self.log_likelihood = np.array(json.loads((folder / "likelihoods.json").read_text()))

    def _matches(self, inputs: Inputs) -> np.ndarray:
        """Returns which rules match which texts [N, M]."""
        rules = [re.compile(rule, re.IGNORECASE) for rule in self.options.rules]
        return np.array([[rule.search(text) is not None for rule in rules] for text in inputs.text], dtype=bool)
