"""docs/findings.md against the published boards: each entry names its rows, and each number is theirs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from w2s_bench.board.render.formatting import number

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "leaderboard"))
TEXT = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^- (.*?)(?=\n\n|\n- |\Z)", TEXT, re.DOTALL | re.MULTILINE)
CHECKS = re.compile(r"<!-- ([a-z-]+):\s(.*?) -->", re.DOTALL)
VERDICTS = ("better", "worse", "no evidence")
PLACES = {"pgr": "pgr", "accuracy": "student_accuracy", "ceiling": "ceiling"}
NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d+)?\.\d+")


def board(suite: str) -> dict:
    return json.loads((ROOT / "leaderboard" / suite / "board.json").read_text())


def row_of(suite: str, words: list[str]) -> dict:
    """Returns the row that the words begin with: `NAME`, or `NAME @ TASK SUPERVISOR STUDENT`; takes them off.

    `NAME at VALUE` where a suite varies one setting.
    """
    data, name = board(suite), words.pop(0)
    if words[0] == "at":
        at = float(words.pop(1))
        words.pop(0)
        return next(r for r in data["overall"] if r["mitigation"] == name and at in r["varied"].values())
    if words[0] != "@":
        return next(r for r in data["overall"] if r["mitigation"] == name)
    place = [words.pop(0) for _ in range(4)][1:]
    rows = [r for r in data["rows"] if r["mitigation"] == name]
    return next(r for r in rows if [r["task"], r["supervisors"][0], r["student"]] == place)


def stated(suite: str, item: str) -> str | None:
    """Returns the number of an item, None for a verdict; fails where the board has another."""
    words = item.split()
    if words[1] == "tuned":
        return tuned(suite, *words)
    if words[1] == "half":
        return over_half(suite, *words)
    row = row_of(suite, words)
    if " ".join(words) in VERDICTS:
        assert row["over_naive"]["verdict"] == " ".join(words), item
        return None
    key, value = words
    assert key in ("pgr", "gain", "p", "accuracy", "ceiling"), item
    over = row["over_naive"] or {}
    found = {"p": over.get("p_adjusted"), "gain": over.get("mean")}
    found |= {k: (row.get(n) or {}).get("mean") for k, n in PLACES.items()}
    digits = len(value.partition(".")[2])
    assert number(found[key], digits, value[0] in "+-" and key == "gain") == value, (item, found[key])
    return value


def tuned(suite: str, name: str, _: str, value: str, default: str) -> str:
    """Returns `VALUE DEFAULT` of an item `NAME tuned VALUE DEFAULT`, both over the groups that were tuned."""
    from methods_table import tuned_and_default

    found = tuned_and_default(name, board("sandbox"), board(suite))
    assert [number(v, 2) for v in found] == [value, default], (name, found)
    return f"{value} {default}"


def over_half(suite: str, name: str, _: str, value: str, *apart: str) -> str:
    """Returns VALUE of an item `NAME half VALUE [apart]`: what a stack recovers beyond its better half.

    `apart` where the interval of that, which is adjusted for nothing, leaves out 0.
    """
    row = next(r for r in board(suite)["stacking"] if r["stack"] == name)
    assert number(row["mean"], 2, True) == value and (row["low"] > 0 or row["high"] < 0) == (apart == ("apart",)), row
    return value


def checked(entry: str) -> tuple[str, set[str]]:
    """Returns an entry's words, and the numbers that its checks have found on the boards."""
    comments = CHECKS.findall(entry)
    assert comments, entry
    items = [(suite, item.strip()) for suite, items in comments for item in items.split(";")]
    values = [stated(suite, item) for suite, item in items]
    return CHECKS.sub("", entry), {number for v in values if v is not None for number in v.split()}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: re.sub(r"\W+", " ", e[:40]))
def test_each_finding_is_on_the_board(entry):
    words, values = checked(entry)
    assert "](" in words, "it links to no row"
    assert set(NUMBER.findall(re.sub(r"\]\([^)]*\)", "", words))) <= values


def test_a_wrong_number_or_verdict_is_found():
    with pytest.raises(AssertionError):
        stated("sandbox", "naive pgr .59")
    with pytest.raises(AssertionError):
        stated("sandbox", "ccs better")
    words, values = checked("it recovers .57 <!-- sandbox: naive pgr .58 -->")
    assert NUMBER.findall(words) == [".57"] and values == {".58"}


def test_claims_are_of_the_mitigations_that_there_are():
    from methods_table import claims

    from w2s_bench.registry import load

    methods = {e.name for e in load([]).entries("mitigation") if not getattr(e.cls, "control", False)}
    assert set(claims()) == methods
    assert {c["claim"] for c in claims().values()} == {"better", "same", "nothing"}


def test_what_tuning_changes_in_all():
    from methods_table import tuned_and_default

    names = {
        r["mitigation"].removesuffix("(tuned)") for r in board("sandbox-tuned")["rows"] if "(tuned)" in r["mitigation"]
    }
    pairs = [tuned_and_default(n, board("sandbox"), board("sandbox-tuned")) for n in sorted(names)]
    differences = [a - b for a, b in pairs]
    counted = re.search(r"Of (\d+) tuned rows (\d+) recover more than with the defaults and (\d+) less", TEXT)
    assert [int(n) for n in counted.groups()] == [
        len(differences), sum(d > 0.005 for d in differences), sum(d < -0.005 for d in differences)
    ]  # fmt: skip
    assert f"median difference is {number(float(np.median(differences)), 2)}" in TEXT


def test_counted_claims():
    """How many claims were reproduced, as the page says."""
    table = (ROOT / "docs" / "methods.md").read_text().rpartition("| here |")[2]
    here = [line.split(" | ")[-1].rstrip(" |") for line in table.splitlines() if line.startswith("| `")]
    counted = re.search(
        r"Of (\d+) claims, (\d+) are reproduced, (\d+) not found here and (\d+) find the opposite", TEXT
    )
    counts = [here.count(word) for word in ("reproduced", "not found here", "opposite")]
    assert [int(n) for n in counted.groups()] == [sum(counts), *counts]
