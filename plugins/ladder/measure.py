"""What the rungs know: `python -m w2s_bench.plugins.ladder.measure` prints the tables of docs/ladder.md.

Every rung is finetuned on 4000 true labels by one recipe (2 passes of batches of 32, each size's own body learning
rate, head 1e-2) and scored on 3000 unseen examples. Defaults were chosen on seeds 0 to 4; the tables use seeds from
100 on.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from w2s_bench.interfaces import FitContext, Recipe, Sizes, Split, TaskInfo
from w2s_bench.plugins.ladder import rungs
from w2s_bench.plugins.tasks.sandbox import Facts, Reviews, Sums

TASKS: dict[str, Any] = {"facts": Facts, "sums": Sums, "reviews": Reviews}
SIZES = Sizes(n_supervision=4000, n_transfer=0, n_validation=0, n_test=3000)
RECIPE = Recipe(epochs=2)


def accuracy(rung: str, task: str, seed: int) -> tuple[float, dict[float, float]]:
    """Returns the test accuracy of a finetuned rung, over all and by difficulty (facts: by third of the ranks)."""
    from w2s_bench.plugins.supervisors.ladder import LadderSupervisor

    classes, splits = TASKS[task]().load(seed, SIZES)
    train, test = splits["supervision"], splits["test"]
    size, checkpoint, saliency = rung.split("-")
    options = LadderSupervisor.Options(size, int(checkpoint), float(saliency.removeprefix("sal")))
    supervisor = LadderSupervisor(options)
    supervisor.fit(train.inputs, train.truth, FitContext(TaskInfo(task, "classification", 2, classes), seed, RECIPE))
    right = supervisor.label(test.inputs).argmax(1) == test.truth
    strata = _strata(task, test)
    return float(right.mean()), {float(s): float(right[strata == s].mean()) for s in np.unique(strata)}


def baselines(task: str, seed: int) -> dict[str, float]:
    """Returns the test accuracy of the majority class, of a bag of words and of a bag of pairs of neighbours."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    splits = TASKS[task]().load(seed, SIZES)[1]
    train, test = splits["supervision"], splits["test"]
    out = {"majority": float((test.truth == (train.truth.mean() > 0.5)).mean())}
    for name, span in (("words", (1, 1)), ("words and pairs", (1, 2))):
        bag = CountVectorizer(token_pattern=r"\S+", ngram_range=span)
        model = LogisticRegression(max_iter=1000, C=0.1).fit(bag.fit_transform(train.inputs.text), train.truth)
        out[name] = float(model.score(bag.transform(test.inputs.text), test.truth))
    return out


def _strata(task: str, split: Split) -> np.ndarray:
    difficulty = split.inputs.difficulty
    assert difficulty is not None
    return difficulty // 1200 if task == "facts" else difficulty


def mean_error(values: list[float]) -> str:
    """Returns `mean±standard error` to three digits, `mean` alone for a single value."""
    if len(values) < 2:
        return f"{np.mean(values):.3f}"
    return f"{np.mean(values):.3f}±{np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


def ladder_table(rows: list[dict]) -> str:
    """Returns Markdown: a line for each rung, with its accuracy and standard error over finetuning seeds."""
    by_rung: dict = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_rung[row["rung"]][row["task"]].append(row["accuracy"])
    order = sorted(by_rung, key=lambda rung: (list(rungs.SIZES).index(rung.split("-")[0]), rung))
    lines = ["| rung | parameters | language-model loss | facts | sums | reviews |", "|---|---|---|---|---|---|"]
    for rung in order:
        card = rungs.read_card(rungs.WEIGHTS / rung)
        cells = [mean_error(by_rung[rung][task]) for task in TASKS]
        lines.append(f"| {rung} | {card['parameters']:,} | {card['loss']:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def size_table(rows: list[dict]) -> str:
    """Returns Markdown: the mean over pretraining seeds by size at saliency 0.3, standard error over those seeds."""
    means = defaultdict(list)
    for row in rows:
        means[row["rung"], row["task"]].append(row["accuracy"])
    by_size: dict = defaultdict(lambda: defaultdict(list))
    for (rung, task), values in means.items():
        size, _, saliency = rung.split("-")
        if saliency == "sal0.3":
            by_size[size][task].append(float(np.mean(values)))
    lines = ["| size | pretraining seeds | facts | sums | reviews |", "|---|---|---|---|---|"]
    for size in (s for s in rungs.SIZES if s in by_size):
        cells = [mean_error(by_size[size][task]) for task in TASKS]
        lines.append(f"| {size} | {len(by_size[size]['facts'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def strata_table(rows: list[dict], task: str) -> str:
    """Returns Markdown: accuracy by size and difficulty, pretraining seeds and finetuning seeds averaged."""
    by_size: dict = defaultdict(lambda: defaultdict(list))
    for row in rows:
        size, _, saliency = row["rung"].split("-")
        if row["task"] == task and saliency == "sal0.3":
            for stratum, value in row["strata"].items():
                by_size[size][float(stratum)].append(value)
    strata = sorted({s for size in by_size.values() for s in size})
    lines = [f"| {task} | " + " | ".join(f"{s:g}" for s in strata) + " |", "|---" * (len(strata) + 1) + "|"]
    for size in (s for s in rungs.SIZES if s in by_size):
        lines.append(f"| {size} | " + " | ".join(f"{np.mean(by_size[size][s]):.3f}" for s in strata) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    whole = [name for name in rungs.shipped() if "-step" not in name]
    parser.add_argument("--rungs", nargs="*", default=whole, help="names out of weights/; default: all of 6,000 steps")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5, help="how many finetuning seeds")
    parser.add_argument("--keep", type=Path, help="JSON lines: measured rows are added to it and not measured again")
    asked = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    kept = asked.keep.read_text().splitlines() if asked.keep and asked.keep.is_file() else []
    rows = [json.loads(line) for line in kept]
    done = {(row["rung"], row["task"], row["seed"]) for row in rows}
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    for rung in asked.rungs:
        for task in TASKS:
            for seed in seeds:
                if (rung, task, seed) in done:
                    continue
                overall, strata = accuracy(rung, task, seed)
                rows.append({"rung": rung, "task": task, "seed": seed, "accuracy": overall, "strata": strata})
                if asked.keep:
                    with asked.keep.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    rows = [row for row in rows if row["rung"] in asked.rungs and row["seed"] in seeds]
    print(ladder_table(rows), size_table(rows), sep="\n\n")
    for task in TASKS:
        print("\n" + strata_table(rows, task))
    print("\n| baseline | facts | sums | reviews |\n|---|---|---|---|")
    scores = {task: [baselines(task, seed) for seed in seeds] for task in TASKS}
    for name in scores["facts"][0]:
        print(f"| {name} | " + " | ".join(mean_error([s[name] for s in scores[task]]) for task in TASKS) + " |")


if __name__ == "__main__":
    main()
