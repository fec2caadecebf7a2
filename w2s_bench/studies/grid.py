"""What a grid of openai/weak-to-strong costs in processor seconds, here and as its code runs it, side by side.

    python -m w2s_bench.studies.grid sst2.jsonl.gz --docs 2000 --test 1000 --seeds 0,1,2

Two GPT-2 shapes, weak under weak, weak under strong, strong under strong, three losses; one thread. The file is JSON
lines, gzipped, with text, label and split (`train` or `test`). The defaults are a small slice.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench.store.records import read_stores
from w2s_bench.studies.markdown import table

SHAPES = {"weak": (128, 4, 4), "strong": (256, 5, 8)}
"""Width, layers and heads."""
VOCABULARY = 5000
LONGEST = 256
"""Positions of the networks, and tokens kept of a text."""
PAIRS = (("weak", "weak"), ("weak", "strong"), ("strong", "strong"))
LOSSES = {"xent": "naive", "logconf": "aux_confidence", "product": "product"}
"""Their names of the losses, and the mitigations that these are here."""
LR = 3e-4
"""Peak learning rate of all weights: they start at random."""


@dataclass
class Side:
    """What one side's fits of a seed took and reached."""

    seconds: float = 0.0
    fits: int = 0
    accuracies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Test accuracies by pair and loss."""


def models(texts: list[str], folder: Path) -> None:
    """Writes both shapes with random weights, and a tokeniser trained on the texts."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, VOCABULARY, special_tokens=["<pad>", "<end>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, pad_token="<pad>", eos_token="<end>")
    for name, (width, layers, heads) in SHAPES.items():
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=VOCABULARY, n_positions=LONGEST, n_embd=width, n_layer=layers, n_head=heads, bos_token_id=1,
            eos_token_id=1, pad_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        model = GPT2LMHeadModel(config)
        print(f"{name}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} million weights", file=sys.stderr)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def reference(file: Path, folder: Path, seed: int, asked: argparse.Namespace) -> Side:
    """Returns what the reference's fits of a seed took: for each loss two on ground truth and three on weak labels."""
    side = Side()

    def fit(out: Path, model: str, loss: str, labels: Path | None) -> float:
        command = [sys.executable, "-m", "w2s_bench.studies.grid_reference", "--file", str(file), "--out", str(out)]
        command += ["--model", str(folder / model), "--loss", loss, "--lr", str(LR), "--seed", str(seed)]
        command += ["--docs", str(asked.docs), "--test", str(asked.test), "--minibatch", str(asked.minibatch)]
        side.seconds += seconds(command + (["--weak-labels", str(labels)] if labels else []), out.parent)
        side.fits += 1
        return json.loads((out / "results.json").read_text())["accuracy"]

    with tempfile.TemporaryDirectory(dir=folder) as place:
        for loss in LOSSES:
            for name in SHAPES:
                fit(Path(place, loss, name), name, loss, None)
            for weak, strong in PAIRS:
                labels = Path(place, "xent", weak, "weak_labels")
                side.accuracies[f"{weak} > {strong}, {loss}"].append(
                    fit(Path(place, loss, f"{weak}-{strong}"), strong, loss, labels)
                )
    return side


def ours(file: Path, folder: Path, seed: int, asked: argparse.Namespace) -> Side:
    """Returns what the harness's fits of a seed took, from an empty cache."""
    fixed: dict[str, Any] = {
        "task": "table", "task.path": file, "task.split": "split", "task.balance": "false", "seed": seed,
        "task.n_supervision": asked.docs // 2, "task.n_transfer": asked.docs // 2, "task.n_validation": 2,
        "task.n_test": asked.test, "supervisor": "[hf]", "student": "hf",
        "mitigation": ",".join(f"[{m}]" for m in LOSSES.values()),
    }  # fmt: skip
    fixed |= {f"protocol.{who}.epochs": 2 for who in ("training", "supervision")}
    for who in ("supervisor.hf", "student"):
        fixed |= {f"{who}.body_lr": LR, f"{who}.head_lr": LR, f"{who}.max_length": LONGEST}
    sweeps = []
    for weak in dict.fromkeys(w for w, _ in PAIRS):
        strong = ",".join(str(folder / s) for w, s in PAIRS if w == weak)
        sweep = {**fixed, "supervisor.hf.model": folder / weak, "student.model": strong}
        sweeps.append([f"{name}={value}" for name, value in sweep.items()])
    side = Side()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        suite = Path(place, "conf", "suite", "grid.yaml")
        suite.parent.mkdir(parents=True)
        suite.write_text(json.dumps({"description": "The grid.", "sweeps": sweeps}))  # which is YAML, too
        command = [sys.executable, "-m", "w2s_bench", "suite", "grid", "--config-dir", str(suite.parents[1])]
        side.seconds = seconds([*command, "engine.workers=1"], Path(place))
        records = read_stores([Path(place, "store")]).records
    mitigations = {mitigation: loss for loss, mitigation in LOSSES.items()}
    for record in records:
        weak, strong = record.cell["supervisors"][0]["model"], record.cell["student"]["model"]
        loss = mitigations[record.cell["mitigations"][0]["name"]]
        side.accuracies[f"{weak} > {strong}, {loss}"].append(record.test["student"]["accuracy"])
    side.fits = len(records) + len({w for w, _ in PAIRS}) + len({s for _, s in PAIRS})  # supervisors and ceilings
    return side


def seconds(command: list[str], place: Path) -> float:
    """Returns the processor seconds of a command and all that it starts, on one thread a process."""
    place.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {f"{n}_NUM_THREADS": "1" for n in ("OMP", "MKL")}
    environment |= {"HF_HOME": str(place / "hf"), "W2S_CACHE": str(place / "cache"), "W2S_STORE": str(place / "store")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str] | None = None) -> None:
    """Prints processor seconds, their ratio and test accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--docs", type=int, default=128, help="Texts to train on, half of them for supervisors.")
    parser.add_argument("--test", type=int, default=64, help="Texts to test on.")
    parser.add_argument("--seeds", default="0", help="With commas between; of each, one side after the other.")
    parser.add_argument("--minibatch", type=int, default=1, help="Texts that the reference reads at once, there 1.")
    asked = parser.parse_args(arguments)
    sides: dict[str, list[Side]] = {"reference": [], "w2s_bench": []}
    with tempfile.TemporaryDirectory() as place:
        with gzip.open(asked.file, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        models([row["text"] for row in rows if row["split"] == "train"][: asked.docs], Path(place))
        for number, seed in enumerate(map(int, asked.seeds.split(","))):
            for side in list(sides)[:: -1 if number % 2 else 1]:
                fit = reference if side == "reference" else ours
                sides[side].append(fit(asked.file.resolve(), Path(place), seed, asked))
                took = sides[side][-1]
                print(f"<!-- seed {seed}, {side}: {took.fits} fits, {took.seconds:.1f} s -->", flush=True)
    print(report(sides))


def report(sides: dict[str, list[Side]]) -> str:
    """Returns Markdown tables of what both sides took and reached."""
    rows = []
    for name, seeds in sides.items():
        fits, took = sum(s.fits for s in seeds), sum(s.seconds for s in seeds)
        rows.append([name, str(fits), f"{took:.0f}", f"{took / fits:.1f}"])
    ratios = [a.seconds / b.seconds for a, b in zip(sides["reference"], sides["w2s_bench"], strict=True)]
    costs = table(["", "fits", "processor seconds", "a fit"], rows)
    accuracies = [
        [cell, *(f"{np.mean([x for s in sides[n] for x in s.accuracies[cell]]):.3f}" for n in sides)]
        for cell in sides["reference"][0].accuracies
    ]
    ratio = f"Reference / w2s_bench: {np.median(ratios):.2f} (median over seeds)."
    return "\n\n".join([costs, ratio, table(["test accuracy", *sides], accuracies)])


if __name__ == "__main__":
    main()
