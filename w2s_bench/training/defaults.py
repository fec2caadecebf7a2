"""Naive finetuning: what each mitigation hook does where no mitigation implements it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from w2s_bench import hookimpl
from w2s_bench.interfaces import Round
from w2s_bench.training.batches import Batch


class NaiveFinetuning:
    """The reference supervisor's labels, one round, a seeded shuffle, cross-entropy.

    The rest needs no code: `revise_labels` and `training_batch` change nothing, `weigh_examples` is 1 throughout, and
    `fit_student` is `loop.lightning_loop`.
    """

    shuffle: Callable[[], Tensor]
    """The seeded shuffle of the pass that is being asked for; set by `Stack.order_examples`."""

    @hookimpl
    def combine_votes(self, votes: Tensor) -> Tensor:
        """Returns the first supervisor's labels [N, C] of votes [S, N, C]."""
        return votes[0]

    @hookimpl
    def plan_rounds(self) -> list[Round]:
        """Returns one round of the strong student."""
        return [Round()]

    @hookimpl
    def order_examples(self) -> Tensor:
        """Returns positions in the pool, a seeded shuffle in length buckets."""
        return self.shuffle()

    @hookimpl
    def training_targets(self, batch: Batch) -> Tensor:
        """Returns the batch's labels [B, C]."""
        return batch.labels

    @hookimpl
    def training_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the cross-entropy [B] of logits [B, C] against soft targets [B, C]."""
        return -(targets * logits.log_softmax(-1)).sum(-1)
