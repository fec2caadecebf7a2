"""Prints what this device does with cells and models: `python -m w2s_bench.studies.gpu_report`.

First whether a cell's result on the device agrees with the CPU's and with itself, then how fast students train there,
as Markdown. `--accelerator cpu --shapes tiny` is a rehearsal that needs no card.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch

import w2s_bench
from w2s_bench.studies.markdown import table
from w2s_bench.studies.speed import SHAPES, WAYS, matmul_flops, speed

CELL = ("task=facts", "supervisor=ladder_xs_0", "student=ladder_m", "mitigation=[easy_to_hard,aux_confidence]")
PROBES = ("task=facts", "supervisor=ladder_xs_0", "student=ladder_m", "student.tune=probe", "mitigation=naive,sce")


def main(arguments: list[str] | None = None) -> None:
    """Prints the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accelerator", default="gpu", choices=["gpu", "cpu"])
    parser.add_argument("--shapes", default="0.5b,1.5b", help=f"Which of {', '.join(SHAPES)}, with commas between.")
    parser.add_argument("--steps", type=int, default=24, help="Timed steps of each way to train.")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", default="bf16-mixed", choices=["bf16-mixed", "32-true"])
    parser.add_argument("--seeds", type=int, default=4, help="Seeds of the probe cells, two cells each.")
    asked = parser.parse_args(arguments)
    name = torch.cuda.get_device_name() if asked.accelerator == "gpu" else "the CPU"
    print(f"Device: {name}; torch {torch.__version__}; w2s_bench {w2s_bench.__version__}.\n", flush=True)
    agreement(asked.accelerator)
    probes(asked.accelerator, asked.seeds)
    for shape in asked.shapes.split(","):
        speeds(shape, asked)


def agreement(accelerator: str) -> None:
    """Prints how one cell differs between the CPU and the device, and between two runs on the device."""
    with tempfile.TemporaryDirectory() as folder:
        results = [_cell(Path(folder) / str(k), kind) for k, kind in enumerate(("cpu", accelerator, accelerator))]
    (cpu, _), (once, first), (twice, second) = results
    rows = [[f"CPU, {CELL[0]}", f"{cpu:.4f}"], ["device", f"{once:.4f}"], ["device again", f"{twice:.4f}"]]
    print(table(["test accuracy of a student", ""], rows))
    same = "equal" if first == second else "different"
    print(f"\nDevice against CPU: {once - cpu:+.4f}. Predictions of two runs on the device: {same}.\n", flush=True)


def _cell(folder: Path, accelerator: str) -> tuple[float, str]:
    """Returns the student's test accuracy and the digest of its predictions, computed in a cache of its own."""
    before = os.environ.get("W2S_CACHE")
    os.environ["W2S_CACHE"] = str(folder / "cache")
    try:
        results = w2s_bench.run(*CELL, f"hardware={accelerator}", store=folder / "store")
    finally:
        os.environ.pop("W2S_CACHE") if before is None else os.environ.update(W2S_CACHE=before)
    if results.failed:
        raise SystemExit(f"the cell failed on {accelerator}: {results.records[0]['reason']}")
    [path] = (folder / "store" / "records").glob("*.json")
    record = json.loads(path.read_text())
    return record["test"]["student"]["accuracy"], record["predictions"]["sha256"]


def probes(accelerator: str, seeds: int) -> None:
    """Prints how many probe cells a minute are done, the first seed's left out."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for chosen in ("seed=0", f"seed=range(1,{seeds + 1})"):
            start = time.perf_counter()
            w2s_bench.run(*PROBES, chosen, f"hardware={accelerator}", multirun=True, store=Path(folder))
            seconds.append(time.perf_counter() - start)
    print(
        f"Probe cells (3,000 texts, supervisor and ceiling included): {60 * 2 * seeds / seconds[1]:.0f} a minute.\n",
        flush=True,
    )


def speeds(name: str, asked: argparse.Namespace) -> None:
    """Prints the tokens a second of every way to train a network of a shape."""
    peak = matmul_flops(asked.accelerator, 8192 if asked.accelerator == "gpu" else 512)
    rows = []
    for way in WAYS:
        try:
            reached = speed(way, SHAPES[name], asked.accelerator, asked.steps, asked.batch_size, asked.precision)
        except torch.cuda.OutOfMemoryError:
            rows.append([way, "out of memory", "", ""])
            continue
        share = f"{reached.flops / peak:.1%}"
        rows.append([way, f"{reached.tokens:,.0f}", share, f"{reached.memory / 2**30:.1f}"])
        print(f"<!-- {name}: {' '.join(rows[-1])} -->", flush=True)
    titles = [f"{name}, batches of {asked.batch_size}, {asked.precision}", "tokens a second", "of a product", "GiB"]
    print(f"\n{table(titles, rows)}\n\nOne bf16 matrix product: {peak / 1e12:.1f} TFLOP/s.\n", flush=True)


if __name__ == "__main__":
    main()
