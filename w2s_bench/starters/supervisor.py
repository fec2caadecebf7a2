"""A supervisor that counts words."""

import json

import numpy as np

from w2s_bench import hookimpl


class NewPlugin:
    """Naive Bayes: how often each word came with each class."""

    def fit(self, inputs, truth, context):
        """Counts on the supervision split, each word once more than it was seen."""
        self.number = {word: i for i, word in enumerate(sorted({w for text in inputs.text for w in text.split()}))}
        seen = np.ones((context.task.n_classes, len(self.number)))
        np.add.at(seen, np.asarray(truth), self.counts(inputs))
        self.log_share = np.log(seen / seen.sum(1, keepdims=True))

    def label(self, inputs):
        """Returns probabilities [N, C]; every class is as likely before the first word is read."""
        score = self.counts(inputs) @ self.log_share.T
        p = np.exp(score - score.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    def counts(self, inputs):
        return np.array([[text.split().count(word) for word in self.number] for text in inputs.text], dtype=float)

    def save(self, folder):
        (folder / "words.json").write_text(json.dumps([self.number, self.log_share.tolist()]))

    def restore(self, folder, context):
        self.number, log_share = json.loads((folder / "words.json").read_text())
        self.log_share = np.array(log_share)


@hookimpl
def register_supervisors(register):
    register("new_plugin", NewPlugin)
