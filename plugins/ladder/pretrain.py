"""Pretraining of a rung: a plan in, a folder out that `transformers` loads as it is.

The same plan gives the same weights bit for bit on the same machine, interrupted or not: step t trains on text drawn
from (seed, t) alone, and the resume file has weights and optimiser state exactly.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save

from w2s_bench import exchange
from w2s_bench.errors import UsageError
from w2s_bench.plugins.ladder import rungs, tokenizer
from w2s_bench.plugins.ladder.model import PREFIX, Ladder, Shape
from w2s_bench.plugins.ladder.world import VERSION, World

WARMUP_STEPS, FINAL_SHARE = 100, 0.02
HELD_OUT_TEXT = 2**31
"""Seed of the text on which the card's loss is measured; training seeds are smaller."""
RESUME_FILE = "resume.safetensors"


@dataclass(frozen=True)
class PretrainConfig:
    """All that determines a rung's weights on one machine."""

    width: int
    layers: int
    heads: int
    saliency: float = 0.3
    seed: int = 0
    steps: int = rungs.STEPS
    device: str = "cpu"
    precision: str = ""
    """`bf16-mixed` or `32-true`; where none is given, what this machine is faster with at this width."""

    def __post_init__(self) -> None:
        if not self.precision:
            object.__setattr__(self, "precision", faster_precision(self.width, self.device))
        if self.width % self.heads:
            raise UsageError(f"--heads {self.heads} must divide --width {self.width}")
        if min(self.width, self.layers, self.heads, self.steps) < 1:
            raise UsageError("--width, --layers, --heads and --steps must be at least 1")
        if not 0 <= self.saliency <= 1:
            raise UsageError(f"--saliency {self.saliency} must lie between 0 and 1")
        if not 0 <= self.seed < HELD_OUT_TEXT:
            raise UsageError(f"--seed {self.seed} must lie between 0 and {HELD_OUT_TEXT - 1}")

    def lr(self, step: int) -> float:
        """Returns the learning rate of a step: linear warm-up, cosine down to a fiftieth."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return (
            rungs.peak_lr(self.width) * min(1, (step + 1) / WARMUP_STEPS) * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)
        )


def faster_precision(width: int, device: str) -> str:
    """Returns `bf16-mixed` where the hardware multiplies bf16, from width 64 on; below, casting costs too much.

    A CPU without such instructions imitates them, at 5.5 times the cost of a float32 step (width 64, AVX2).
    """
    multiplies = device != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if width >= 64 and multiplies else "32-true"


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread: sums over several come out in another order, and the rungs are too small to gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def pretrain(
    plan: PretrainConfig,
    folder: Path,
    command: str,
    report: Callable[[int, float], None] = lambda step, loss: None,
    save_every: int = 500,
) -> dict:
    """Returns the card of a rung trained by `plan` and written to `folder`; goes on where a killed run stopped.

    `report(steps_done, loss)` is called after each step.
    """
    if (folder / "card.json").is_file():
        raise UsageError(f"{folder}: a finished rung is already here; name another --out, or remove it first")
    folder.mkdir(parents=True, exist_ok=True)
    world = World(plan.saliency)
    model = Ladder(Shape(plan.width, plan.layers, plan.heads, len(world.words)))
    model.draw(plan.seed)
    model.to(plan.device)
    optimizer = make_optimizer(model)
    step, n_words, corpus = resume(plan, folder / RESUME_FILE, model, optimizer)
    while step < plan.steps:
        tokens, asked = world.corpus(rungs.BATCH, np.random.RandomState([VERSION, plan.seed, step]))
        corpus = hashlib.sha256(corpus + tokens.astype("<u2").tobytes()).digest()
        n_words += int(np.count_nonzero(tokens))
        for group in optimizer.param_groups:
            group["lr"] = plan.lr(step)
        loss = language_loss(model, tokens, asked, plan)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        step += 1
        report(step, float(loss.detach()))
        if step % save_every == 0 and step < plan.steps:
            save_resume(plan, folder / RESUME_FILE, model, optimizer, (step, n_words, corpus))
    card = {
        **asdict(plan),
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_lr": rungs.peak_lr(plan.width),
        "batch": rungs.BATCH,
        "tokens": n_words,
        "loss": round(held_out_loss(model, world, plan), 4),
        "world": world.digest(),
        "corpus": corpus.hex(),
        "torch": torch.__version__,
        "command": command,
    }
    write_rung(model, folder, card)
    (folder / RESUME_FILE).unlink(missing_ok=True)
    return card


def make_optimizer(model: Ladder) -> torch.optim.AdamW:
    """Returns AdamW that decays matrices, not biases, norms and positions."""
    decayed: list[torch.Tensor] = []
    free: list[torch.Tensor] = []
    for name, weight in model.named_parameters():
        (decayed if weight.dim() == 2 and name != "wpe.weight" else free).append(weight)
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)


def language_loss(model: Ladder, tokens: np.ndarray, asked: np.ndarray, plan: PretrainConfig) -> torch.Tensor:
    """Returns the mean cross-entropy of the asked words of sequences [B, T]; the others cannot be known."""
    ids = torch.from_numpy(tokens).to(plan.device)
    rows = torch.from_numpy(np.flatnonzero(asked[:, 1:])).to(plan.device)
    with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16-mixed"):
        states = model.states(ids[:, :-1], rows)
    logits = states.float() @ model.wte.weight.T
    return F.cross_entropy(logits, ids[:, 1:].reshape(-1)[rows])


@torch.no_grad()
def held_out_loss(model: Ladder, world: World, plan: PretrainConfig) -> float:
    """Returns the language-model loss on 4096 fresh sequences, the same for every rung of a saliency."""
    draw = np.random.RandomState([VERSION, HELD_OUT_TEXT])
    return float(language_loss(model, *world.corpus(4096, draw), plan))


def save_resume(
    plan: PretrainConfig, file: Path, model: Ladder, optimizer: torch.optim.AdamW, done: tuple[int, int, bytes]
) -> None:
    """Writes weights, optimiser state and (steps, words, text digest) done; a kill leaves the old file or the new."""
    tensors = {}
    for name, weight in model.named_parameters():
        state = optimizer.state[weight]
        tensors[f"weight.{name}"] = weight.detach().cpu()
        tensors |= {f"{key}.{name}": state[key].cpu() for key in ("exp_avg", "exp_avg_sq")}
    step, n_words, corpus = done
    about = {"plan": asdict(plan), "step": step, "words": n_words, "corpus": corpus.hex()}
    exchange.write_bytes(file, save(tensors, {"state": json.dumps(about)}))


def resume(plan: PretrainConfig, file: Path, model: Ladder, optimizer: torch.optim.AdamW) -> tuple[int, int, bytes]:
    """Returns (steps, words, text digest) done, with model and optimiser set to that state."""
    if not file.is_file():
        return 0, 0, b""
    with safe_open(file, "pt") as stored:
        about = json.loads(stored.metadata()["state"])
        if about["plan"] != asdict(plan):
            raise UsageError(f"{file.parent}: here is an unfinished rung of another plan; name another --out")
        for name, weight in model.named_parameters():
            weight.data.copy_(stored.get_tensor(f"weight.{name}"))
            optimizer.state[weight] = {
                "step": torch.tensor(float(about["step"]), device=plan.device),
                **{key: stored.get_tensor(f"{key}.{name}").to(plan.device) for key in ("exp_avg", "exp_avg_sq")},
            }
    return about["step"], about["words"], bytes.fromhex(about["corpus"])


def write_rung(model: Ladder, folder: Path, card: dict) -> None:
    """Writes weights in float16, `config.json`, the tokenizer and, last, the card that marks a finished rung."""
    shape = model.shape
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": shape.vocabulary,
        "n_positions": shape.positions,
        "n_embd": shape.width,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_inner": 4 * shape.width,
        "activation_function": "relu",
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": 0,
        # the file holds halves to stay small; computing in them would be slow and coarse
        "dtype": "float32",
    }
    tensors = {PREFIX + name: weight.half().cpu().contiguous() for name, weight in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(tensors, {"format": "pt"}))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tokenizer.write(folder)
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
