"""Generation: candidate answers are the classes of an example, and a language model says how likely each is.

The columns of labels, votes and logits [., C] are the candidate answers of each example (`Inputs.candidates`) and, in
the last column, any other text. A language model gives every text a probability, so these C numbers are probabilities
that sum to 1, and hooks that read labels, targets and logits need not know that they are about texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, Inputs
from w2s_bench.training.classifier import tuned_body

UNLIKELY = -1e4
"""The logit of a column without a candidate: its probability is exactly 0."""

Columns = list[list[str | None]]


def with_candidates(inputs: Inputs, answers: Sequence[Sequence[str]]) -> tuple[Inputs, Tensor]:
    """Returns inputs with candidates out of answers [S, N], and votes [S, N, S + 2] for them.

    Column s is the answer of supervisor s, unless one before it gave the same; an empty text abstains. Column S is free
    for an answer that a mitigation brings up, the last is any other text.
    """
    columns: Columns = [[None] * len(inputs) for _ in range(len(answers) + 1)]
    votes = torch.full((len(answers), len(inputs), len(answers) + 2), torch.nan)
    for s, texts in enumerate(answers):
        for n, text in enumerate(texts):
            if text:
                at = next((k for k in range(s) if columns[k][n] == text), s)
                columns[at][n] = text
                votes[s, n] = nn.functional.one_hot(torch.tensor(at), len(answers) + 2).float()
    return replace(inputs, candidates=columns), votes


def labels_for(inputs: Inputs, answers: Sequence[str], at: Sequence[int]) -> Tensor:
    """Returns one-hot labels [n, C] for the answers to the examples at these positions; a row of NaN for an empty text.

    A text that is no candidate of its example yet takes the free column, in place of the one that was there before.
    """
    columns = candidates_of(inputs)
    labels = torch.full((len(answers), len(columns) + 1), torch.nan)
    for row, (n, text) in enumerate(zip(at, answers, strict=True)):
        if text:
            k = next((k for k, column in enumerate(columns) if column[n] == text), len(columns) - 1)
            columns[k][n] = text
            labels[row] = nn.functional.one_hot(torch.tensor(k), len(columns) + 1).float()
    return labels


def texts_of(inputs: Inputs, labels: Tensor) -> list[str]:
    """Returns each example's likeliest candidate under labels [N, C]; an empty text where that is none of them."""
    columns = [*candidates_of(inputs), [None] * len(inputs)]
    return [columns[k][n] or "" for n, k in enumerate(labels.argmax(-1).tolist())]


def candidates_of(inputs: Inputs) -> Columns:
    """Returns the candidates [C - 1][N]."""
    if inputs.candidates is None:
        raise W2SError("these examples come without candidate answers; ask the student for its `answer` to them")
    return inputs.candidates


class Answerer(nn.Module):
    """Log-probabilities [B, C] of candidate answers, by a pretrained language model with a new layer before its output.

    The layer is added to the states that it reads and starts at zero, so that the model begins as pretrained; it has
    the place of a classifier's head, and its learning rate.
    """

    pairs = False

    def __init__(self, backbone: Backbone, tune: str) -> None:
        super().__init__()
        if backbone.decode is None or backbone.end_id is None:
            raise W2SError(
                f"{backbone.identity.get('name', 'this student')} generates no text: its backbone has no `decode` and "
                "`end_id`; use one that does, such as student=ladder_m, for a generation task"
            )
        self.body: Any = backbone.module
        self.head = nn.Linear(backbone.width, backbone.width)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        tuned_body(self, tune)

    def features(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns pooled features [B, H] of prompts."""
        return self.body(inputs["input_ids"], inputs["attention_mask"])

    def lm_logits(self, input_ids: Tensor, rows: Tensor) -> Tensor:
        """Returns logits [R, V] of the token after each of the flat positions `rows` of texts [B, T]."""
        return self.word_logits(self.body.states(input_ids, rows))

    def word_logits(self, states: Tensor) -> Tensor:
        """Returns logits [R, V] of the token after the body's states [R, width], with the new layer's part in them."""
        return self.body.lm_logits(states + self.head(states.to(self.head.weight.dtype))).float()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns log-probabilities [B, C] of each candidate and, last, of any other text; see `pack` for `inputs`."""
        after = inputs["next_ids"].flatten()
        rows = (after >= 0).nonzero()[:, 0]
        log_p = self.lm_logits(inputs["input_ids"], rows).log_softmax(-1).gather(1, after[rows, None])[:, 0]
        whole = log_p.new_zeros(len(inputs["input_ids"])).index_add(0, rows // inputs["input_ids"].shape[1], log_p)
        column = inputs["column"]
        known = torch.where(column >= 0, whole[column.clamp(min=0)], UNLIKELY)
        total = known.logsumexp(-1, keepdim=True).clamp(max=-1e-6)
        return torch.cat([known, (-torch.expm1(total)).log()], -1)


def pack(prompts: list[np.ndarray], answers: list[list[list[int] | None]], backbone: Backbone, limit: int) -> dict:
    """Returns what `Answerer` reads of B prompts and their candidates [K][B], as token ids.

    `input_ids` and `attention_mask` [R, T]: one row for each prompt with one of its candidates, at most `limit` tokens.
    `next_ids` [R, T]: the token to come where it belongs to the answer or ends it, else -1. `column` [B, K]: the row of
    each candidate, -1 where there is none.
    """
    assert backbone.end_id is not None
    column = np.full((len(prompts), len(answers)), -1)
    texts: list[tuple[int, list[int]]] = []
    for b, prompt in enumerate(prompts):
        for k, candidates in enumerate(answers):
            ids = candidates[b]
            if ids is not None:
                column[b, k] = len(texts)
                texts.append((len(prompt), [*prompt.tolist(), *ids, backbone.end_id][: limit + 1]))
    shape = (max(len(texts), 1), max((len(ids) - 1 for _, ids in texts), default=1))
    input_ids, next_ids = np.full(shape, backbone.pad_id), np.full(shape, -1)
    mask = np.zeros(shape, dtype=np.int64)
    for r, (start, ids) in enumerate(texts):
        input_ids[r, : len(ids) - 1], mask[r, : len(ids) - 1] = ids[:-1], 1
        next_ids[r, start - 1 : len(ids) - 1] = ids[start:]
    arrays = {"input_ids": input_ids, "attention_mask": mask, "next_ids": next_ids, "column": column}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def generate(
    model: Answerer, prompts: list[np.ndarray], backbone: Backbone, limit: int, rng: torch.Generator | None
) -> list[list[int]]:
    """Returns the token ids that the model writes after each prompt, up to its end or `limit` tokens in all.

    The likeliest token at every step, or with `rng` one drawn from the model's probabilities. A body that can `advance`
    reads each token once.
    """
    if callable(getattr(model.body, "advance", None)):
        return _generate_by_steps(model, prompts, backbone, limit, rng)
    device = next(model.parameters()).device
    lengths = np.array([len(p) for p in prompts])
    ids = torch.full((len(prompts), limit), backbone.pad_id)
    for b, prompt in enumerate(prompts):
        ids[b, : len(prompt)] = torch.from_numpy(prompt)
    written: list[list[int]] = [[] for _ in prompts]
    unfinished = np.flatnonzero(lengths > 0)
    while len(unfinished):
        width = int(lengths[unfinished].max())
        rows = torch.from_numpy(np.arange(len(unfinished)) * width + lengths[unfinished] - 1)
        logits = model.lm_logits(ids[unfinished, :width].to(device), rows.to(device)).cpu()
        tokens = _chosen(logits, rng)
        for b, token in zip(unfinished.tolist(), tokens.tolist(), strict=True):
            if token == backbone.end_id:
                lengths[b] = limit + 1
                continue
            written[b].append(token)
            if lengths[b] < limit:
                ids[b, lengths[b]] = token
            lengths[b] += 1
        unfinished = unfinished[lengths[unfinished] <= limit]
    return written


def _generate_by_steps(
    model: Answerer, prompts: list[np.ndarray], backbone: Backbone, limit: int, rng: torch.Generator | None
) -> list[list[int]]:
    """Returns what `generate` does. Prompts of one length go together, so that none needs padding."""
    device = next(model.parameters()).device
    written: list[list[int]] = [[] for _ in prompts]
    by_length: dict[int, list[int]] = {}
    for b, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(b)
    for length, group in sorted(by_length.items()):
        tokens, memory = torch.from_numpy(np.stack([prompts[b] for b in group])), None
        ended = torch.zeros(len(group), dtype=torch.bool)
        for _ in range(limit - length + 1 if length else 0):
            states, memory = model.body.advance(tokens.to(device), memory)
            tokens = _chosen(model.word_logits(states).cpu(), rng)[:, None]
            ended |= tokens[:, 0] == backbone.end_id
            if bool(ended.all()):
                break
            for b, token, over in zip(group, tokens[:, 0].tolist(), ended.tolist(), strict=True):
                if not over:
                    written[b].append(token)
    return written


def _chosen(logits: Tensor, rng: torch.Generator | None) -> Tensor:
    """Returns the likeliest token [B] under logits [B, V], or with `rng` one drawn by their probabilities."""
    return logits.argmax(-1) if rng is None else torch.multinomial(logits.softmax(-1), 1, generator=rng)[:, 0]
