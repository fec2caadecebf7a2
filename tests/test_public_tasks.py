"""Named public datasets: a row of each, in the hub's schema, becomes the text and answer of its source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from support import hub

from w2s_bench.plugins.tasks.public import DATASETS, OPENAI

SCIQ = {
    "question": "What melts?",
    "correct_answer": "ice",
    "distractor1": "air",
    "distractor2": "air",
    "distractor3": "air",
    "support": "Ice melts.",
}
# By name: a row as the hub has it, and the texts with their answers that it must become.
GOLDEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "amazon_polarity": ({"label": 1, "title": "Great", "content": "It works."}, {"Great It works.": 1}),
    "sciq": (
        SCIQ,
        {"Q: What melts? A: ice": 1, "Q: What melts? A: air": 0},
    ),
    "sciq_with_support": (
        SCIQ,
        {
            'Name: Bob\n\nPassage 1:\nIce melts.\n\nQ1: "What melts?" Is the answer "ice"?': 1,
            'Name: Bob\n\nPassage 1:\nIce melts.\n\nQ1: "What melts?" Is the answer "air"?': 0,
        },
    ),
    "anthropic_hh": (
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: No."},
        {"\n\nHuman: Hi\n\nAssistant: Hello!": "better", "\n\nHuman: Hi\n\nAssistant: No.": "worse"},
    ),
    "cosmos_qa": (
        {
            "id": "1",
            "context": "C.",
            "question": "Why?",
            "answer0": "x",
            "answer1": "x",
            "answer2": "y",
            "answer3": "x",
            "label": 2,
        },
        {"Context: C.\nQuestion: Why?\nAnswer: y": 1, "Context: C.\nQuestion: Why?\nAnswer: x": 0},
    ),
    "boolq": ({"question": "is it", "answer": True, "passage": "It is."}, {"Passage: It is.\nQuestion: is it": 1}),
    "anli_r2": (
        {"uid": "u", "premise": "P.", "hypothesis": "H.", "label": 2, "reason": ""},
        {"Premise: P.\nHypothesis: H.\n\nDoes the premise entail the hypothesis?": 2},
    ),
    "cola": ({"sentence": "They sang.", "label": 1, "idx": 0}, {"They sang.": 1}),
    "dream": (
        {
            "dialogue_id": "d",
            "dialogue": ["M: Hi.", "W: Hello."],
            "question": "Who?",
            "choice": ["a", "b", "a"],
            "answer": "b",
        },
        {"M: Hi.\nW: Hello.\n\nQ: Who? A: b": 1, "M: Hi.\nW: Hello.\n\nQ: Who? A: a": 0},
    ),
    "ethics_deontology": (
        {"label": 0, "scenario": "S.", "excuse": "E."},
        {"Q: Is the following a morally valid excuse?\n\nS.\n\nE.\n\nA:": 0},
    ),
    "ethics_justice": ({"label": 1, "scenario": "S."}, {"Q: Does this statement exemplify justice?\n\nS.\n\nA:": 1}),
    "ethics_virtue": (
        {"label": 1, "scenario": "S. [SEP] kind"},
        {"Q: Does this behavior match the adjective that follows?\n\nS. [SEP] kind\n\nA:": 1},
    ),
    "ethics_utilitarianism": ({"baseline": "Sun.", "less_pleasant": "Rain."}, {"Sun.": "better", "Rain.": "worse"}),
    "mc_taco": (
        {"sentence": "S.", "question": "How long?", "answer": "a day", "label": 1, "category": 0},
        {"S.\n\nGiven the above, How long? Is the answer a day?": 1},
    ),
    "hellaswag": (
        {"ind": 0, "ctx": "He runs.", "endings": ["a", "b", "a", "a"], "label": "1"},
        {
            'Context:\nHe runs.\n\nContinuations:\n\na\nb\na\na\n\nQ: Is "b" the best continuation?': 1,
            'Context:\nHe runs.\n\nContinuations:\n\na\nb\na\na\n\nQ: Is "a" the best continuation?': 0,
        },
    ),
    "multirc": (
        {
            "paragraph": "P.",
            "question": "Q?",
            "answer": "A",
            "idx": {"paragraph": 0, "question": 0, "answer": 0},
            "label": 0,
        },
        {'Passage:\n\nP.\n\nQ: "Q?" Is the answer "A"?': 0},
    ),
    "openbookqa": (
        {
            "id": "q",
            "question_stem": "The sun",
            "choices": {"text": ["is hot", "is wet"], "label": ["A", "B"]},
            "answerKey": "A",
        },
        {
            "Q: The sun\n\nChoices:\nA) is hot\nB) is wet\n\nAnswer: is hot": 1,
            "Q: The sun\n\nChoices:\nA) is hot\nB) is wet\n\nAnswer: is wet": 0,
        },
    ),
    "paws": (
        {"id": 1, "sentence1": "A b.", "sentence2": "B a.", "label": 0},
        {"Sent 1: A b.\nSent 2: B a.\n\nQ: Are these sentences semantically equivalent?": 0},
    ),
    "piqa": (
        {"goal": "Open it", "sol1": "push", "sol2": "eat", "label": 0},
        {"Q: Open it A: push": 1, "Q: Open it A: eat": 0},
    ),
    "quail": (
        {"id": "1", "context": "C.", "question": "Q?", "answers": ["x", "x", "y", "x"], "correct_answer_id": 2},
        {'Passage:\n\nC.\n\nQ: "Q?" Is the answer "y"?': 1, 'Passage:\n\nC.\n\nQ: "Q?" Is the answer "x"?': 0},
    ),
    "quartz": (
        {
            "id": "1",
            "question": "Q?",
            "choices": {"text": ["more", "less"], "label": ["A", "B"]},
            "answerKey": "B",
            "para": "P.",
        },
        {'Passage:\nP.\n\nQ: "Q?" Is the answer "less"?': 1, 'Passage:\nP.\n\nQ: "Q?" Is the answer "more"?': 0},
    ),
    "social_i_qa": (
        {"context": "C.", "question": "Q?", "answerA": "a", "answerB": "b", "answerC": "a", "label": "2"},
        {
            'Context:\nC.\n\nQuestion: "Q?"\n\nChoices:\na\nb\na\n\nIs the answer "b"?': 1,
            'Context:\nC.\n\nQuestion: "Q?"\n\nChoices:\na\nb\na\n\nIs the answer "a"?': 0,
        },
    ),
    "sst2": ({"idx": 0, "sentence": "a joy ", "label": 1}, {"a joy ": 1}),
    "wic": (
        {"word": "bank", "sentence1": "S1.", "sentence2": "S2.", "start1": 0, "label": 0},
        {'Sentence 1:\nS1.\n\nSentence 2:\nS2.\n\nQ: Does "bank" have the same meaning in the above sentences?': 0},
    ),
    "twitter_sentiment": ({"text": "good day", "label": 1}, {"good day": 1}),
    "gsm8k": (
        {"question": "What is 2 + 3?", "answer": "We add.\n2+3=<<2+3=5>>5\n#### 5"},
        {"Question: What is 2 + 3?\nAnswer:": "5"},
    ),
}
FILES = {"chess_puzzles"}
"""Those that are no dataset of the hub; tests/test_table_questions.py has real puzzles."""

CODE = """
import json, sys
from w2s_bench.interfaces import Sizes
from w2s_bench.registry import load
registry = load(())
for name in json.loads(sys.argv[1]):
    try:
        registration = registry.get("task", name)
        task = registration.build({**registration.options, "balance": False})
        task.fingerprint()
        names, splits = task.load(0, Sizes(12, 12, 6, 200))
        seen = {}
        for split in splits.values():
            others = split.inputs.other or [None] * len(split.inputs)
            for text, other, truth in zip(split.inputs.text, others, split.truth.tolist(), strict=True):
                if other is not None:
                    seen[[text, other][truth]], seen[[text, other][1 - truth]] = "better", "worse"
                else:
                    seen[text] = truth
        print("SEEN " + json.dumps([name, task.kind, seen]), flush=True)
    except Exception as error:
        print("SEEN " + json.dumps([name, "raised", repr(error)]), flush=True)
"""


def varied(row: dict[str, Any], k: int) -> dict[str, Any]:
    """Returns the row again, told apart from others by a number in its texts; k = 0 is the row itself."""
    answers = {"answer", "label", "answerKey", "correct_answer_id", "choices", "choice", "endings", "answers"}

    def other(name: str, value: Any) -> Any:
        if name == "label" and isinstance(value, int) and "answer0" not in row and "sol1" not in row:
            return (value + k) % 2 if value < 2 else value - k % 3
        if name == "answer" and isinstance(value, bool):
            return (k % 2 == 0) == value
        fixed = name in answers or not isinstance(value, str) or name.startswith(("answer", "distractor", "correct"))
        return value if fixed else f"{value} {k}"

    return row if k == 0 else {name: other(name, value) for name, value in row.items()}


def test_every_dataset_of_the_hub_has_a_golden_row():
    assert set(GOLDEN) == set(DATASETS) - FILES and len(OPENAI) == 5 and len(DATASETS) >= 25


def test_golden_rows(tmp_path):
    places: dict[str, list[str]] = {}
    for name in GOLDEN:
        places.setdefault(DATASETS[name]["path"], []).append(name)
    for path, names in places.items():
        folder = tmp_path / "hub" / "datasets" / path
        cards = []
        for name in names:
            options, row = DATASETS[name], GOLDEN[name][0]
            config = options.get("config") or "default"
            for part in (options.get("train", "train"), options.get("test", "test")):
                first = 0 if part == options.get("test", "test") else 1000
                rows = [varied(row, k) for k in range(first, first + 60)]
                file = folder / config / f"{part}-00000-of-00001.parquet"
                file.parent.mkdir(parents=True, exist_ok=True)
                pa.parquet.write_table(pa.Table.from_pylist(rows), file)
            parts = "".join(
                f"  - split: {p}\n    path: {config}/{p}-*\n"
                for p in (options.get("train", "train"), options.get("test", "test"))
            )
            cards.append(f"- config_name: {config}\n  data_files:\n{parts}")
        (folder / "README.md").write_text("---\nconfigs:\n" + "".join(dict.fromkeys(cards)) + "---\n")
    with hub.serve(tmp_path / "hub") as address:
        env = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": address}
        argument = json.dumps(sorted(GOLDEN))
        ran = subprocess.run([sys.executable, "-c", CODE, argument], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    came = {
        name: (kind, seen)
        for line in ran.stdout.splitlines()
        if line.startswith("SEEN ")
        for name, kind, seen in [json.loads(line[5:])]
    }
    assert {name: seen for name, (kind, seen) in came.items() if kind == "raised"} == {}
    for name, (_, expected) in GOLDEN.items():
        kind, seen = came[name]
        assert {text: seen.get(text) for text in expected} == expected, name
        pairs, words = name in ("anthropic_hh", "ethics_utilitarianism"), name == "gsm8k"
        assert kind == ("preference" if pairs else "generation" if words else "classification")
