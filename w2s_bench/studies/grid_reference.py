"""One fit as openai/weak-to-strong makes it, in a process of its own: what `grid` compares the harness with.

Written after what that repository does, in its defaults: a process for each fit; `datasets` for texts and labels;
each text tokenised by itself; the order of one shuffle for every pass; chunks of a batch padded to their longest, the
loss of the whole batch; dropout off; Adam with a cosine down to zero; a log line a step; an evaluation on test, and for
a ground-truth model the labels of the other half; model, labels and results written.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

EVAL_BATCH_SIZE = 32
SPLITS = ("train", "test")


class WithHead(nn.Module):
    """A causal language model's body and a head without bias, zero at first; padding is id 0, on the right."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.language_model = AutoModelForCausalLM.from_pretrained(folder)
        self.score = nn.Linear(self.language_model.config.hidden_size, 2, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Returns logits [B, 2]."""
        lengths = (input_ids != 0).sum(-1)
        hidden = self.language_model.base_model(input_ids)[0]
        return self.score(torch.stack([hidden[i, lengths[i] - 1] for i in range(len(lengths))]))


def xent(logits: Tensor, labels: Tensor, done: float) -> Tensor:
    """Returns the cross-entropy with the labels as they are."""
    return cross_entropy(logits, labels)


def product(logits: Tensor, labels: Tensor, done: float) -> Tensor:
    """Returns the cross-entropy with the normalised product of labels and own probabilities."""
    target = logits.detach().softmax(-1) * labels
    return cross_entropy(logits, target / target.sum(-1, keepdim=True))


def logconf(logits: Tensor, labels: Tensor, done: float) -> Tensor:
    """Returns the cross-entropy with labels bent towards own predictions, hardened at the labels' class balance."""
    weight = 0.5 * (1.0 if done > 0.1 else done)
    first = logits.detach().softmax(-1)[:, 0]
    sure = first >= torch.quantile(first, labels.mean(0)[1])
    return cross_entropy(logits, (1 - weight) * labels + weight * torch.stack([sure, ~sure], 1).float())


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"xent": xent, "logconf": logconf, "product": product}


def loaded(file: str, split: str, docs: int, seed: int) -> datasets.Dataset:
    """Returns a split's first texts with one-hot labels, shuffled."""
    rows = datasets.load_dataset("json", data_files={split: file}, split=split)
    rows = rows.filter(lambda row: row["split"] == split).select(range(docs))
    rows = rows.map(lambda row: {"txt": row["text"], "hard_label": row["label"]}, remove_columns=rows.column_names)
    rows = rows.map(lambda row: {"soft_label": [1.0 - row["hard_label"], float(row["hard_label"])]})
    return rows.shuffle(seed=seed)


def tokenised(rows: datasets.Dataset, tokenizer: Any, longest: int) -> datasets.Dataset:
    """Returns the rows with their token ids, those too long left out."""
    rows = rows.map(lambda row: {"input_ids": tokenizer(row["txt"])["input_ids"]})
    return rows.filter(lambda row: len(row["input_ids"]) < longest)


def padded(rows: list[list[int]]) -> Tensor:
    """Returns ids [B, T]."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def trained(model: WithHead, rows: datasets.Dataset, asked: argparse.Namespace, log: Path) -> None:
    """Trains the model on the rows' soft labels."""
    model.eval()
    steps = int(len(rows) * asked.epochs) // asked.batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=asked.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    examples = (row for _ in range(asked.epochs) for row in rows)
    for step in range(steps):
        logits, labels = [], []
        for _ in range(asked.batch_size // asked.minibatch):
            chunk = [next(examples) for _ in range(asked.minibatch)]
            logits.append(model(padded([row["input_ids"] for row in chunk])))
            labels.append(torch.tensor([row["soft_label"] for row in chunk]))
        together, targets = torch.cat(logits), torch.cat(labels)
        loss = LOSSES[asked.loss](together, targets, step / steps)
        loss.backward()
        right = (together.argmax(1) == targets.argmax(1)).float().mean().item()
        with log.open("a") as file:
            print(json.dumps({"step": step, "loss": loss.item(), "accuracy": right}), file=file)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


@torch.no_grad()
def evaluated(model: WithHead, rows: datasets.Dataset) -> datasets.Dataset:
    """Returns the rows with the model's probabilities as soft labels, and whether it is right."""
    model.eval()
    results = []
    for start in range(0, len(rows), EVAL_BATCH_SIZE):
        batch = rows[start : start + EVAL_BATCH_SIZE]
        soft = model(padded(batch["input_ids"])).softmax(-1).numpy()
        for i, truth in enumerate(np.argmax(batch["soft_label"], -1)):
            row = {"txt": batch["txt"][i], "input_ids": batch["input_ids"][i], "soft_label": soft[i].tolist()}
            results.append({**row, "hard_label": int(soft[i].argmax()), "acc": bool(soft[i].argmax() == truth)})
    return datasets.Dataset.from_list(results)


def main() -> None:
    """Fits one model and writes what it made to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--file", "--model", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--weak-labels", help="Folder with the labels to learn from; without it, ground truth.")
    parser.add_argument("--loss", choices=list(LOSSES), default="xent")
    parser.add_argument("--lr", type=float, required=True)
    for name, value in (("docs", 20000), ("test", 10000), ("epochs", 2), ("batch-size", 32), ("minibatch", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=int, default=1024)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    out = Path(asked.out)
    out.mkdir(parents=True)
    train, test = (loaded(asked.file, s, n, asked.seed) for s, n in zip(SPLITS, (asked.docs, asked.test), strict=True))
    other = None
    if asked.weak_labels:
        train = datasets.load_from_disk(asked.weak_labels)
    else:
        halves = train.train_test_split(test_size=0.5, seed=asked.seed)
        train, other = halves["train"], halves["test"]
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    train, test = (tokenised(rows, tokenizer, asked.longest) for rows in (train, test))
    model = WithHead(asked.model)
    trained(model, train, asked, out / "log.jsonl")
    results = evaluated(model, test)
    model.language_model.save_pretrained(out / "model")
    if other is not None:
        evaluated(model, tokenised(other, tokenizer, asked.longest)).save_to_disk(str(out / "weak_labels"))
    results.save_to_disk(str(out / "test"))
    (out / "results.json").write_text(json.dumps({"accuracy": float(np.mean(results["acc"]))}))


if __name__ == "__main__":
    main()
