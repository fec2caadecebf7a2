"""A cell's training against a hand-written PyTorch loop that does the same steps on the same batches.

Ratios are measured side by side: `pytest tests/benchmarks --benchmark-enable -s` prints them.
"""

import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from w2s_bench.interfaces import Backbone, FitContext, Inputs, Recipe, Round, TaskInfo
from w2s_bench.training.classifier import Classifier
from w2s_bench.training.finetune import finetune
from w2s_bench.training.loop import Problem, StageContext
from w2s_bench.training.meter import Meter
from w2s_bench.training.pool import Pool
from w2s_bench.training.stack import Stack
from w2s_bench.training.step import rate

TASK = TaskInfo("made", "classification", 2, ["a", "b"])
STEPS, BATCH, LENGTH = 93, 32, 12


def made_inputs(vocabulary: int, length: int = LENGTH) -> tuple[Inputs, torch.Tensor]:
    tokens = np.random.default_rng(0).integers(1, vocabulary, (STEPS * BATCH, length))
    texts = [" ".join(map(str, row)) for row in tokens]
    labels = torch.nn.functional.one_hot(torch.from_numpy((tokens[:, 0] > tokens[:, 1]).astype(np.int64)), 2).float()
    return Inputs([str(i) for i in range(len(texts))], texts), labels


def made_backbone(width: int, layers: int, heads: int, vocabulary: int) -> Backbone:
    from transformers import GPT2Config, GPT2Model

    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            sizes = {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": 64, "vocab_size": vocabulary}
            off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
            self.body = GPT2Model(GPT2Config(activation_function="relu", **sizes, **off))

        def forward(self, input_ids, attention_mask):
            states = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return states[torch.arange(len(states)), attention_mask.sum(1) - 1]

    def encode(texts):
        return [[int(w) for w in t.split()] for t in texts]

    return Backbone(Last(), encode, 0, width, {"name": f"made {width} x {layers}"})


def by_hand(backbone: Backbone, inputs: Inputs, labels: torch.Tensor, recipe: Recipe, batches) -> None:
    """The loop that a careful person writes for one experiment."""
    model = Classifier(backbone, TASK, 0, "full").train()
    groups = [{"params": model.head.parameters(), "peak": recipe.head_lr}]
    groups.append({"params": model.body.parameters(), "peak": recipe.body_lr})
    optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=True)
    ids = torch.tensor(backbone.encode(inputs.text))
    mask = torch.ones_like(ids)
    for step, at in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate(step, STEPS, recipe.warmup, recipe.schedule)
        logits = model({"input_ids": ids[at], "attention_mask": mask[at]})
        loss = torch.nn.functional.cross_entropy(logits, labels[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def ratios(shape: tuple[int, int, int, int], rounds: int) -> list[float]:
    """Returns fit / hand-written loop in processor time, run side by side, each on weights of its own."""
    torch.set_num_threads(1)
    inputs, labels = made_inputs(shape[3])
    recipe = Recipe()
    stage = StageContext(TASK, 0, Meter(), {"strong": (lambda _: made_backbone(*shape), recipe)})
    pool = Pool(TASK, inputs, labels[None], inputs.take([]), labels[None, :0], [], {}, lambda: labels)
    problem = Problem(stage, Stack([], {}), pool, Round(), labels, torch.ones(len(labels)))
    batches = [batch.index for batch, _ in problem.batches()]
    assert len(batches) == STEPS
    runs = [
        lambda backbone: by_hand(backbone, inputs, labels, recipe, batches),
        lambda backbone: finetune(backbone, inputs, labels, FitContext(TASK, 0, recipe)),
    ]
    gc.collect()
    gc.freeze()  # as workers do

    def seconds(run) -> float:
        backbone = made_backbone(*shape)
        gc.collect()
        start = time.process_time()
        run(backbone)
        return time.process_time() - start

    found = []
    for number in range(rounds + 1):
        first = number % 2  # who goes first changes
        times = {k: seconds(runs[k]) for k in (first, 1 - first)}
        found.append(times[1] / times[0])
    return found[1:]  # the first pair pays for lazy imports


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "shape",
    [pytest.param((64, 2, 4, 267), id="120k"), pytest.param((256, 6, 8, 1000), id="5M", marks=pytest.mark.slow)],
)
def test_a_fit_against_a_hand_written_loop(benchmark, shape):
    """In a process of its own, as a cell trains: inside pytest a fit costs up to .1 more."""
    rounds = 1 if not benchmark.enabled else 12 if shape[0] == 64 else 4
    code = f"import test_fit_speed; print(test_fit_speed.ratios({shape}, {rounds}))"
    command = [sys.executable, "-c", code]

    def run() -> str:
        return subprocess.run(command, cwd=Path(__file__).parent, check=True, capture_output=True, text=True).stdout

    found = json.loads(benchmark.pedantic(run, rounds=1, iterations=1).splitlines()[-1])
    assert len(found) == rounds and min(found) > 0
    low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
    benchmark.extra_info["ratio"] = round(float(middle), 3)
    print(f"\nfit / hand-written loop: {middle:.3f} (quartiles {low:.3f} to {high:.3f})")


def test_one_hook_call(benchmark):
    from w2s_bench import hookimpl

    class Passes:
        @hookimpl(wrapper=True)
        def training_loss(self):
            return (yield)

    stack = Stack([("first", Passes), ("second", Passes)], {})
    batch = next(iter_batches())
    logits = torch.zeros(len(batch.labels), 2)
    benchmark(lambda: stack.training_loss(batch, logits, batch.labels, 0.5))


def iter_batches():
    inputs, labels = made_inputs(267)
    stage = StageContext(TASK, 0, Meter(), {"strong": (lambda _: made_backbone(16, 1, 2, 267), Recipe())})
    pool = Pool(TASK, inputs, labels[None], inputs.take([]), labels[None, :0], [], {}, lambda: labels)
    for batch, _ in Problem(stage, Stack([], {}), pool, Round(), labels, torch.ones(len(labels))).batches():
        yield batch
