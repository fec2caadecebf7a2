"""Public datasets by name, formatted as their source formats them: rows of `table` with its options filled in."""

from __future__ import annotations

from typing import Any

from w2s_bench import hookimpl
from w2s_bench.plugins.tasks.table import Table

CONVERTED = "refs/convert/parquet"
"""Where the hub keeps datasets whose repository has a script, which nobody should run."""

OPENAI: dict[str, dict[str, Any]] = {
    "amazon_polarity": {"path": "fancyzhx/amazon_polarity", "template": "{title} {content}", "rows": 40_000},
    "sciq": {
        "path": "allenai/sciq",
        "template": "Q: {question} A: {choice}",
        "choices": "correct_answer,distractor1,distractor2,distractor3",
        "answer": "correct_answer",
    },
    "anthropic_hh": {
        "path": "Anthropic/hh-rlhf",
        "text": "",
        "chosen": "chosen",
        "rejected": "rejected",
        "rows": 40_000,
    },
    "cosmos_qa": {
        "path": "allenai/cosmos_qa",
        "revision": CONVERTED,
        "template": "Context: {context}\nQuestion: {question}\nAnswer: {choice}",
        "choices": "answer0,answer1,answer2,answer3",
        "answer": "label",
        "test": "validation",
    },
    "boolq": {
        "path": "google/boolq",
        "template": "Passage: {passage}\nQuestion: {question}",
        "label": "answer",
        "test": "validation",
    },
}
"""The five of openai/weak-to-strong (MIT), with its templates."""

ELEUTHER: dict[str, dict[str, Any]] = {
    "anli_r2": {
        "path": "facebook/anli",
        "train": "train_r2",
        "test": "test_r2",
        "template": "Premise: {premise}\nHypothesis: {hypothesis}\n\nDoes the premise entail the hypothesis?",
    },
    "cola": {"path": "nyu-mll/glue", "config": "cola", "text": "sentence", "test": "validation"},
    "dream": {
        "path": "dataset-org/dream",
        "revision": CONVERTED,
        "template": "{dialogue}\n\nQ: {question} A: {choice}",
        "choices": "choice",
        "answer": "answer",
    },
    "ethics_deontology": {
        "path": "hendrycks/ethics",
        "config": "deontology",
        "revision": CONVERTED,
        "template": "Q: Is the following a morally valid excuse?\n\n{scenario}\n\n{excuse}\n\nA:",
    },
    "ethics_justice": {
        "path": "hendrycks/ethics",
        "config": "justice",
        "revision": CONVERTED,
        "template": "Q: Does this statement exemplify justice?\n\n{scenario}\n\nA:",
    },
    "ethics_virtue": {
        "path": "hendrycks/ethics",
        "config": "virtue",
        "revision": CONVERTED,
        "template": "Q: Does this behavior match the adjective that follows?\n\n{scenario}\n\nA:",
    },
    "ethics_utilitarianism": {
        "path": "hendrycks/ethics",
        "config": "utilitarianism",
        "revision": CONVERTED,
        "text": "",
        "chosen": "baseline",
        "rejected": "less_pleasant",
    },
    "mc_taco": {
        "path": "CogComp/mc_taco",
        "revision": CONVERTED,
        "template": "{sentence}\n\nGiven the above, {question} Is the answer {answer}?",
        "train": "test",
        "test": "validation",
    },
    "hellaswag": {
        "path": "Rowan/hellaswag",
        "template": 'Context:\n{ctx}\n\nContinuations:\n\n{endings}\n\nQ: Is "{choice}" the best continuation?',
        "choices": "endings",
        "answer": "label",
        "test": "validation",
    },
    "multirc": {
        "path": "aps/super_glue",
        "config": "multirc",
        "template": 'Passage:\n\n{paragraph}\n\nQ: "{question}" Is the answer "{answer}"?',
        "test": "validation",
    },
    "openbookqa": {
        "path": "allenai/openbookqa",
        "config": "main",
        "template": "Q: {question_stem}\n\nChoices:\n{choices}\n\nAnswer: {choice}",
        "choices": "choices",
        "answer": "answerKey",
    },
    "paws": {
        "path": "google-research-datasets/paws",
        "config": "labeled_final",
        "id": "row",
        "template": "Sent 1: {sentence1}\nSent 2: {sentence2}\n\nQ: Are these sentences semantically equivalent?",
    },
    "piqa": {
        "path": "ybisk/piqa",
        "revision": CONVERTED,
        "template": "Q: {goal} A: {choice}",
        "choices": "sol1,sol2",
        "answer": "label",
        "test": "validation",
    },
    "quail": {
        "path": "textmachinelab/quail",
        "revision": CONVERTED,
        "template": 'Passage:\n\n{context}\n\nQ: "{question}" Is the answer "{choice}"?',
        "choices": "answers",
        "answer": "correct_answer_id",
        "test": "validation",
    },
    "quartz": {
        "path": "allenai/quartz",
        "template": 'Passage:\n{para}\n\nQ: "{question}" Is the answer "{choice}"?',
        "choices": "choices",
        "answer": "answerKey",
    },
    "social_i_qa": {
        "path": "allenai/social_i_qa",
        "revision": CONVERTED,
        "template": 'Context:\n{context}\n\nQuestion: "{question}"\n\nChoices:\n{answerA}\n{answerB}\n{answerC}\n\n'
        'Is the answer "{choice}"?',
        "choices": "answerA,answerB,answerC",
        "answer": "label",
        "first": 1,
        "test": "validation",
    },
    "sst2": {"path": "stanfordnlp/sst2", "text": "sentence", "test": "validation"},
    "wic": {
        "path": "aps/super_glue",
        "config": "wic",
        "template": 'Sentence 1:\n{sentence1}\n\nSentence 2:\n{sentence2}\n\nQ: Does "{word}" have the same meaning in '
        "the above sentences?",
        "test": "validation",
    },
    "twitter_sentiment": {"path": "EleutherAI/twitter-sentiment"},
    "sciq_with_support": {
        "path": "allenai/sciq",
        "template": 'Name: Bob\n\nPassage 1:\n{support}\n\nQ1: "{question}" Is the answer "{choice}"?',
        "choices": "correct_answer,distractor1,distractor2,distractor3",
        "answer": "correct_answer",
    },
}
"""Those of EleutherAI/w2s (MIT) beyond these five, with its templates."""

WRITTEN: dict[str, dict[str, Any]] = {
    "gsm8k": {
        "path": "openai/gsm8k",
        "config": "main",
        "template": "Question: {question}\nAnswer:",
        "answer": "answer",
        "answer_after": "####",
        "check": "number",
    },
    "chess_puzzles": {
        "template": "Position: {fen}\nBest move:",
        "answer": "best_move",
        "difficulty": "rating",
        "check": "chess",
    },
}
"""Generation: word problems by their last number; best moves, of a file in which `fen` is the position to move in."""

DATASETS = OPENAI | ELEUTHER | WRITTEN


@hookimpl
def register_tasks(register):
    """Registers a task for each dataset."""
    for name, options in DATASETS.items():
        register(name, Table, **options)
