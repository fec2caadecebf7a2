"""Questions in tables: templates, multiple choice, answers in words, and what is wrong with them."""

from __future__ import annotations

import contextlib
import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import real, table, write

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.interfaces import Sizes
from w2s_bench.plugins.tables.questions import chess_move, exact, fields_of, number

SMALL = Sizes(n_supervision=8, n_transfer=8, n_validation=4, n_test=8)

CHOICES = {
    "list and number": ({"choices": ["no", "yes", "maybe"], "answer": 1}, {"choices": "choices"}),
    "list and number as text": ({"choices": ["no", "yes", "maybe"], "answer": "1"}, {"choices": "choices"}),
    "counted from one": ({"choices": ["no", "yes", "maybe"], "answer": "2"}, {"choices": "choices", "first": 1}),
    "list and text": ({"choices": ["no", "yes", "maybe"], "answer": "yes"}, {"choices": "choices"}),
    "list and letter": ({"choices": ["no", "yes", "maybe"], "answer": "B"}, {"choices": "choices"}),
    "labels of the hub": (
        {"choices": {"text": ["no", "yes", "maybe"], "label": ["1", "2", "3"]}, "answer": "2"},
        {"choices": "choices"},
    ),
    "columns": ({"a": "no", "b": "yes", "c": "maybe", "answer": 1}, {"choices": "a, b,c"}),
}


@pytest.mark.parametrize("form", CHOICES)
def test_a_question_makes_its_right_answer_and_a_wrong_one(tmp_path, form):
    row, options = CHOICES[form]
    path = write(tmp_path / "a.jsonl", [{"id": f"q{k}", "text": f"Is it {k}?", **row} for k in range(40)])
    task = table(path, answer="answer", **options)
    names, splits = task.load(0, SMALL)
    assert (task.kind, names) == ("classification", ["wrong", "right"])
    for split in splits.values():
        for text, truth in zip(split.inputs.text, split.truth, strict=True):
            assert text.rpartition(" ")[2] in (["no", "maybe"], ["yes"])[truth]
        assert split.truth.mean() == 0.5
    everything = [q for s in splits.values() for q in zip(s.inputs.text, s.group, strict=True)]
    by_question = {}
    for text, group in everything:
        by_question.setdefault(text.rpartition(" ")[0], set()).add(group)
    assert all(len(groups) == 1 for groups in by_question.values())  # both candidates, one group
    again = table(path, answer="answer", **options).load(1, SMALL)[1]
    drawn = {t for s in splits.values() for t in s.inputs.text}
    wrong = {}
    for text in drawn | {t for s in again.values() for t in s.inputs.text}:
        if not text.endswith("yes"):
            wrong.setdefault(text.rpartition(" ")[0], set()).add(text)
    assert all(len(texts) == 1 for texts in wrong.values())  # the same wrong one for every seed


def test_a_template_is_filled_from_columns(tmp_path):
    rows = [{"p": f"P{k}", "q": k, "c": ["x", "y"], "a": k % 2, "label": k % 2} for k in range(40)]
    path = write(tmp_path / "a.jsonl", rows)
    texts = table(path, template="{p}\nQ: {q}? {{sic}}").load(0, SMALL)[1]["test"].inputs.text
    assert all(t.startswith("P") and t.endswith("? {sic}") and "\nQ: " in t for t in texts)
    chosen = table(path, template="{q}: {choice}", choices="c", answer="a").load(0, SMALL)[1]["test"].inputs.text
    assert {t.rpartition(" ")[2] for t in chosen} == {"x", "y"}


def test_answers_in_words(tmp_path):
    rows = [{"text": f"{k} + 1?", "solution": f"We count.\n#### {k + 1}", "label": 0} for k in range(40)]
    path = write(tmp_path / "a.jsonl", rows)
    task = table(path, answer="solution", answer_after="####", check="number")
    names, splits = task.load(0, SMALL)
    assert (task.kind, names) == ("generation", []) and len(splits["test"].inputs) == 8
    for text, truth in zip(splits["test"].inputs.text, splits["test"].truth, strict=True):
        assert task.check(f"It is {truth}", str(truth), text) and int(truth) == int(text.split()[0]) + 1


REFUSED = {
    "no answer": ({"choices": "c"}, UsageError, "task.choices needs task.answer"),
    "no such column": ({"template": "{nothing}"}, UsageError, "no column 'nothing'"),
    "no template": ({"template": "{text"}, UsageError, "task.template"),
    "an index": ({"template": "{text[0]}"}, UsageError, "no column's name"),
    "no such choice": ({"choices": "c", "answer": "label", "first": 5}, W2SError, "expected one of 2 choices"),
    "a hole": ({"template": "{hole}"}, W2SError, "expected a text or a number, found nothing"),
    "no mark": ({"answer": "text", "answer_after": "####"}, W2SError, "'####' in the answer"),
    "negative rows": ({"rows": -1}, UsageError, "task.rows=-1"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_wrong_is_named(tmp_path, fault):
    options, kind, message = REFUSED[fault]
    rows = [{"text": f"t{k}", "c": ["x", "y"], "label": k % 2, "hole": None} for k in range(40)]
    task = table(write(tmp_path / "a.jsonl", rows), **options)
    with pytest.raises(kind, match=message.replace("[", r"\[")):
        task.fingerprint()
        task.load(0, SMALL)


def test_rows_are_drawn_once_for_all_seeds_with_their_groups(tmp_path):
    rows = [
        {"text": f"t{k}", "label": k % 2, "g": f"g{k // 2}", "split": "test" if k >= 400 else "train"}
        for k in range(600)
    ]
    path = write(tmp_path / "a.jsonl", rows)

    def texts(seed, **options):
        splits = table(path, group="g", split="split", **options).load(seed, SMALL)[1]
        return [{t for s in names for t in splits[s].inputs.text} for names in (("supervision", "transfer"), ("test",))]

    drawn = [texts(seed, rows=40) for seed in range(12)]
    train, test = (set().union(*(d[k] for d in drawn)) for k in (0, 1))
    assert len(train) == 40 and len(test) <= 40 and all(int(t[1:]) < 400 for t in train)
    groups = {int(t[1:]) // 2 for t in train}
    assert len(groups) == 20
    assert len(set().union(*(texts(seed)[0] for seed in range(12)))) > 100


# --- when an answer is right


def test_exact():
    assert exact(" Paris. ", "paris", "") and not exact("Paris France", "Paris", "") and not exact("", "x", "")


@given(
    st.integers(-(10**9), 10**9),
    st.sampled_from(["{:,}", "{}", "so {}.", "1, 2, {}", "${:,}", "{}.0", "{:,}.00 dollars"]),
)
def test_the_last_number_counts(value, form):
    assert number(form.format(value), str(value), "")
    assert not number(form.format(value + 1), str(value), "")
    assert not number("none", str(value), "")


@given(st.text(max_size=12))
def test_no_string_raises(words):
    start = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
    if words not in ("e4", "e2e4"):
        assert not chess_move(words, "e2e4", start)
    assert number(words, "7", "") in (True, False) and exact(words, "a", "") in (True, False)
    with contextlib.suppress(UsageError):
        fields_of(words)


def test_chess_moves():
    pytest.importorskip("chess")
    two_mates = "6k1/5ppp/8/8/8/8/8/K2QR3 w - - 0 1"
    assert chess_move("d1d8", "e1e8", two_mates) and chess_move("Qd8#", "e1e8", two_mates)
    assert not chess_move("a1b1", "e1e8", two_mates) and not chess_move("e1e8 ", "a1b1", two_mates)
    promotes = "8/P7/8/8/8/8/k7/7K w - - 0 1"
    assert chess_move("a7a8q", "a7a8q", promotes) and not chess_move("a7a8n", "a7a8q", promotes)
    with pytest.raises(W2SError, match="no chess position"):
        chess_move("e2e4", "e2e4", "no position here")


def test_ten_thousand_real_puzzles():
    chess = pytest.importorskip("chess")
    with gzip.open(real("chess_puzzles"), "rt") as lines:
        puzzles = [json.loads(line) for line in lines][:10_000]
    assert len(puzzles) == 10_000
    draw = np.random.default_rng(0)
    equivalent = 0
    for puzzle in puzzles:
        text, best = f"Position: {puzzle['fen']}\nBest move:", puzzle["best_move"]
        board = chess.Board(puzzle["fen"])
        best_move = chess.Move.from_uci(best)
        san = board.san(best_move)
        assert chess_move(best, best, text) and chess_move(san, best, text)
        mates = san.endswith("#")
        others = [move for move in board.legal_moves if move != best_move]
        for move in (others[k] for k in draw.permutation(len(others))[:3]):
            right = chess_move(move.uci(), best, text)
            assert right == (mates and board.san(move).endswith("#"))
            equivalent += right
        illegal = f"{best[2:4]}{best[:2]}"
        if chess.Move.from_uci(illegal) not in board.legal_moves:
            assert not chess_move(illegal, best, text)
    print(f"{equivalent} other moves were as good")
