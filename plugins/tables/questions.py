"""Questions: their text out of several columns, their candidates as examples, and when an answer in words is right."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from w2s_bench.errors import UsageError, W2SError
from w2s_bench.plugins.tables.columns import RowsInUse
from w2s_bench.seeds import derive

CHOICE = "choice"
"""The field of a template that is the candidate."""
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
MOVE = re.compile(r"[a-h][1-8][a-h][1-8][qrbn]?")
POSITION = re.compile(r"(?:[pnbrqkPNBRQK1-8]+/){7}[pnbrqkPNBRQK1-8]+ [wb] (?:[KQkq]+|-) (?:[a-h][36]|-)(?: \d+ \d+)?")


def fields_of(template: str) -> list[str]:
    """Returns the columns that a template names; UsageError where it is none."""
    try:
        fields = [(name, spec, how) for _, name, spec, how in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UsageError(f"task.template={template!r}: {error}; write {{COLUMN}}, and {{{{ for a brace") from error
    for name, spec, how in fields:
        if not name or spec or how or set(".[") & set(name):
            raise UsageError(f"task.template={template!r}: {{{name}}} is no column's name; write {{COLUMN}}")
    return [name for name, _, _ in fields]


def written(rows: RowsInUse, template: str, choices: list[str] | None = None) -> list[str]:
    """Returns the text of each row [N], made of its columns."""
    columns = {
        name: [_as_lines(value) for value in rows.used("template", name)]
        for name in fields_of(template)
        if name != CHOICE or choices is None
    }
    for name, values in columns.items():
        rows.all_good("template", name, values, lambda v: isinstance(v, str | int | float), "a text or a number")
    texts = []
    for n in range(len(rows.keep)):
        fields = {name: str(column[n]) for name, column in columns.items()}
        texts.append(template.format(**fields, **({} if choices is None else {CHOICE: choices[n]})))
    return texts


def _as_lines(value: Any) -> Any:
    """Returns a list of texts as lines, the hub's choices as lines with their labels, anything else as it is."""
    if isinstance(value, dict) and {"text", "label"} <= set(value):
        value = [f"{label}) {text}" for label, text in zip(value["label"], value["text"], strict=True)]
    is_list = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "\n".join(value) if is_list else value


@dataclass(frozen=True)
class Candidates:
    """Candidates of questions as examples: of each question its right answer and one wrong one, drawn once for all."""

    rows: RowsInUse
    """Each question's row twice."""
    choices: list[str]
    truth: np.ndarray
    """[N] 1 for the right answer, 0 for the other."""


def candidates(rows: RowsInUse, choices: str, answer: str, first: int) -> Candidates:
    """Returns two examples a question. `choices` is a column of lists, or names one column for each choice."""
    names = [name.strip() for name in choices.split(",")]
    columns = [rows.used("choices", name) for name in names]
    answers = rows.present("answer", answer)
    draw = np.random.default_rng(derive(0, "wrong answers"))
    keep, texts, truth = [], [], []
    for n, position in enumerate(rows.keep):
        listed: Any = columns[0][n] if len(names) == 1 else [column[n] for column in columns]
        options, labels = _options(listed)
        right = _right(options, labels, answers[n], first)
        if right is None or len(options) < 2:
            raise W2SError(
                f"{rows.place_of(position, 'answer', answer)}: expected one of {len(options)} choices by number from "
                f"{first}, label or text, found {answers[n]!r:.60}; task.first=1 counts from 1"
            )
        wrong = int(draw.choice([k for k in range(len(options)) if k != right]))
        for chosen in draw.permutation([right, wrong]).tolist():
            keep.append(position)
            texts.append(options[chosen])
            truth.append(int(chosen == right))
    return Candidates(RowsInUse(rows.path, rows.columns, keep), texts, np.array(truth, np.int64))


def _options(listed: Any) -> tuple[list[str], list[str]]:
    """Returns texts and labels of a question's choices, out of a list or of `{"text": [...], "label": [...]}`."""
    labels: list[str] = []
    if isinstance(listed, dict):
        labels, listed = [str(label) for label in listed.get("label", [])], listed.get("text", [])
    return [str(option) for option in listed or []], labels


def _right(options: list[str], labels: list[str], answer: Any, first: int) -> int | None:
    answer = str(answer).strip()
    for named in (labels, options):
        if named.count(answer) == 1:
            return named.index(answer)
    number = int(answer) - first if re.fullmatch(r"\d+", answer) else ord(answer) - ord("A") if len(answer) == 1 else -1
    return number if 0 <= number < len(options) else None


# --- answers in words


def answers_in(rows: RowsInUse, name: str, after: str) -> np.ndarray:
    """Returns the answers [N], from behind the last `after` on where that is given."""
    values = [v if isinstance(v, str) else str(v) for v in rows.present("answer", name)]
    parted = [v.rpartition(after) if after else ("", after, v) for v in values]
    rows.all_good("answer", name, [sep for _, sep, _ in parted], lambda sep: sep == after, f"{after!r} in the answer")
    answers = [text.strip() for _, _, text in parted]
    return np.array(rows.all_good("answer", name, answers, bool, "an answer"))


def exact(answer: str, truth: str, text: str) -> bool:
    """Returns whether the words are the same, whatever their case, spacing and last full stop."""

    def plain(words: str) -> list[str]:
        return words.casefold().strip().rstrip(".").split()

    return plain(answer) == plain(truth)


def number(answer: str, truth: str, text: str) -> bool:
    """Returns whether the last number in the answer is the last one in the truth, whatever the thousands look like."""
    came, true = (next(_numbers(words), None) for words in (answer, truth))
    return came is not None and came == true


def _numbers(text: str) -> Iterator[Decimal]:
    for digits in reversed(NUMBER.findall(text)):
        try:
            yield Decimal(digits.replace(",", ""))
        except InvalidOperation:
            continue


def chess_move(answer: str, truth: str, text: str) -> bool:
    """Returns whether the answer is the best move in the position that the text has as FEN, or mates where that mates.

    The move in letters and numbers of squares (UCI, `e7e8q`) or in algebraic notation (SAN, `Qxf7#`).
    """
    import chess

    position = POSITION.search(text)
    if position is None:
        raise W2SError(f"no chess position (FEN) in the text {text!r:.80}")
    board = chess.Board(position.group())
    best, move = chess.Move.from_uci(truth), _move(board, answer.strip())
    if move is None:
        return False
    return move == best or (_mates(board, best) and _mates(board, move))


def _move(board: Any, answer: str) -> Any:
    """Returns the legal move that an answer names, None where it names none."""
    import chess

    try:
        move = chess.Move.from_uci(answer) if MOVE.fullmatch(answer) else board.parse_san(answer)
    except ValueError:
        return None
    return move if move in board.legal_moves else None


def _mates(board: Any, move: Any) -> bool:
    board.push(move)
    mate = board.is_checkmate()
    board.pop()
    return mate


CHECKS = {"exact": exact, "number": number, "chess": chess_move}
