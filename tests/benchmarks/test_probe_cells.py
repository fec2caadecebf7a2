"""What one more probe cell costs whose features are read already, beside scikit-learn on numbers of the same shape.

`pytest tests/benchmarks/test_probe_cells.py --benchmark-enable -m slow -s`
"""

import csv
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

WIDTH, EXAMPLES, TEST = 384, 5000, 1000
STACKS = ("gce", "sce", "elr", "product", "aux_confidence")
SEEDS = 4


def model(folder) -> None:
    """Writes an encoder of random weights, one layer of 384."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", *(f"w{n}" for n in range(500))])}
    tokens = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    size = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 6, "intermediate_size": WIDTH}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **size)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)


def processor_seconds(place, stacks) -> float:
    """Returns what a run of these stacks takes, all its processes together; what is in the cache is not done again."""
    command = [
        "run", "-m", "task=table", f"task.path={place / 'made.csv'}", "task.n_supervision=500",
        f"task.n_transfer={EXAMPLES}", "task.n_validation=100", f"task.n_test={TEST}", "supervisor=[tfidf]",
        "supervisor.tfidf.max_features=50", "student=hf", f"student.model={place / 'model'}", "student.tune=probe",
        "mitigation=" + ",".join(f"[{name}]" for name in stacks), f"seed=range(0,{SEEDS})", "engine.workers=1",
    ]  # fmt: skip
    environment = os.environ | {"W2S_CACHE": str(place / "cache"), "W2S_STORE": str(place / "store")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "w2s_bench", *command], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def regression() -> float:
    """Returns the processor seconds of scikit-learn's logistic regression at its defaults, and its predictions."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES + TEST, WIDTH)).astype(np.float32)
    y = (x @ rng.normal(size=WIDTH) + rng.normal(size=len(x)) * WIDTH**0.5 > 0).astype(int)
    began = time.process_time()
    LogisticRegression(max_iter=1000).fit(x[:EXAMPLES], y[:EXAMPLES]).predict_proba(x)
    return time.process_time() - began


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_more_probe_cell(benchmark, tmp_path):
    """What starting costs is in both runs and goes out: one has a stack more to train, the other the rest."""
    rng = np.random.default_rng(0)
    with open(tmp_path / "made.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for number in range(EXAMPLES + TEST + 1000):
            words = rng.integers(0, 250, 8) + 250 * (number % 2) * (rng.random(8) < 0.3)
            rows.writerow([f"w{number % 500} " + " ".join(f"w{w}" for w in words), number % 2])
    model(tmp_path / "model")
    processor_seconds(tmp_path, ["naive"])  # reads the features, fits supervisors and ceilings
    seconds = []

    def more() -> None:
        one = processor_seconds(tmp_path, STACKS[:1])
        rest = processor_seconds(tmp_path, STACKS[1:])
        seconds.append((rest - one) / (len(STACKS) - 2) / SEEDS)

    benchmark.pedantic(more, rounds=1, iterations=1)
    beside = float(np.median([regression() for _ in range(5)]))
    assert seconds[0] > 0 and beside > 0
    benchmark.extra_info |= {"processor_seconds": round(seconds[0], 3), "regression": round(beside, 3)}
    print(f"\n{seconds[0]:.3f} processor seconds a probe cell, {beside:.3f} a logistic regression")
