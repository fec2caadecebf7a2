"""Language-model training on the texts themselves, which needs no labels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from w2s_bench.errors import W2SError
from w2s_bench.interfaces import Backbone, Inputs


def text_losses(body: Any, inputs: dict[str, Tensor], pairs: bool) -> Tensor:
    """Returns each example's mean cross-entropy of the next token [B], in nats; of a pair, the mean over its texts.

    `inputs` has `input_ids` and `attention_mask` [B, T] (pairs: [2B, T]), padded on the right. A text of one token
    counts 0.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    follows = (mask[:, 1:] > 0).nonzero()
    text, place = follows[:, 0], follows[:, 1]
    states = body.states(ids, text * ids.shape[1] + place)
    log_p = body.lm_logits(states).float().log_softmax(-1)
    losses = -log_p.gather(1, ids[text, place + 1][:, None])[:, 0]
    summed = losses.new_zeros(len(ids)).index_add(0, text, losses)
    means = summed / (mask.sum(1) - 1).clamp(min=1)
    return means.view(2, -1).mean(0) if pairs else means


def joined(first: Inputs, second: Inputs) -> Inputs:
    """Returns the texts of both, without candidates and difficulty."""
    other = None if first.other is None or second.other is None else [*first.other, *second.other]
    return Inputs([*first.ids, *second.ids], [*first.text, *second.text], other)


def check_language_model(backbone: Backbone, tune: str, kind: str) -> None:
    """Raises W2SError where a student cannot be trained on texts."""
    name = backbone.identity.get("name", "this student")
    module = backbone.module
    if kind == "generation":
        raise W2SError("a round on texts is for tasks with classes; a generation task trains on texts already")
    if tune == "probe":
        raise W2SError(
            "a round on texts changes the body, which tune=probe leaves frozen; use student.tune=full or lora"
        )
    if not callable(getattr(module, "states", None)) or not callable(getattr(module, "lm_logits", None)):
        raise W2SError(
            f"{name} is no language model here: its network has no `states` and `lm_logits`, which a round on texts "
            "needs; use a student that has them, such as student=ladder_m"
        )
    if backbone.padding_side != "right":
        raise W2SError(f"{name} pads on the left; a round on texts needs padding on the right")
