"""A bag of embeddings whose words stand in the text as numbers: bodies of any padding, with dropout, for pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from support.bench import RECIPE, TASK
from w2s_bench.interfaces import Backbone, Inputs, TaskInfo
from w2s_bench.training.batches import Batch
from w2s_bench.training.loop import StageContext, train_student
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Pool
from w2s_bench.training.stack import Stack
from w2s_bench.training.step import TrainableStudent


class Words(torch.nn.Module):
    """A bag of embeddings in which later words count less, so that padding on the wrong side shows."""

    def __init__(self, width=8, dropout=0.0):
        super().__init__()
        self.words = torch.nn.Embedding(101, width)
        self.hidden = torch.nn.Linear(width, width)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, input_ids, attention_mask):
        place = attention_mask.cumsum(-1) * attention_mask
        x = self.words(input_ids) * (attention_mask / place.clamp(min=1))[..., None]
        return torch.tanh(self.hidden(self.dropout(x.sum(1))))


def encode(texts):
    return [[int(w) for w in t.split()] for t in texts]


def words_backbone(seed=0, dropout=0.0, **changes):
    torch.manual_seed(seed)
    made = Backbone(Words(dropout=dropout), encode, pad_id=100, width=8, identity={"name": "words"})
    return replace(made, **changes)


def texts(n, seed=0, longest=12):
    rng = np.random.default_rng(seed)
    return [" ".join(map(str, rng.integers(0, 100, rng.integers(1, longest)))) for _ in range(n)]


def words_student(recipe=RECIPE, task=TASK, dropout=0.0, cache=(), seed=0, **changes):
    backbone = words_backbone(seed, dropout, **changes)
    return TrainableStudent(Stack([], {}), backbone, task, recipe, 0, Meter(), cache)


def inputs_of(n, seed=0, pairs=False):
    return Inputs([str(i) for i in range(n)], texts(n, seed), texts(n, seed + 1) if pairs else None)


PAIRS = TaskInfo("pairs", "preference", 2, ["first", "second"])


def batch_of(student, inputs, labels, weights):
    index = np.arange(len(inputs))
    fed = student.batch_inputs(inputs, index)
    return Batch(torch.from_numpy(index), fed, labels, weights, labels[None])


def fit(load, recipe, inputs, task=TASK, labels=None, stack=(), cache=(), seed=0):
    """Returns the student trained on labels that follow the parity of the first word."""
    if labels is None:
        labels = torch.eye(2)[torch.tensor([int(t.split()[0]) % 2 for t in inputs.text])]
    stage = StageContext(task, seed, Meter(), {"strong": (load, recipe)}, cache)
    rngs = {n: torch.Generator() for n, _ in stack}
    votes = labels[None]
    pool = Pool(task, inputs, votes, inputs, votes, [], rngs, None, lambda texts: torch.zeros(len(texts), 4))
    return train_student(stage, Stack(list(stack), rngs), pool)
