"""Text of plugins, files and records that wants to steer a terminal or to fill a screen, through every verb."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.board_records import write_store
from support.hostile_plugin import ESCAPES, PLUGIN

from w2s_bench.store.escape import GuardedStream, bounded, cut, message_of, of_error, plain, plain_lines

TOY = Path(__file__).parent / "support" / "toy.py"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
LENGTH = 1_200_000
BOUND = 60_000
"""Characters that a verb may print about all of this."""


def test_a_line_has_no_control_codes_and_an_end():
    assert plain(f"a{ESCAPES}b\tc\nd") == "ab c d"
    assert plain("\x1b]0;never ended, and what comes after") == "0;never ended, and what comes after"
    assert plain("x" * 3000, 10) == "xxxxxxxxxx ... (2,990 more characters)"
    assert plain(ESCAPES * 10_000, 10) == f" ... ({len(ESCAPES) * 10_000:,} more characters)"
    assert plain_lines(f"a{ESCAPES}b\n c") == "ab\n c"
    assert cut("abc", 3) == "abc"
    assert bounded({"a\x1b": ["\x9b1mx\ny", 1, None]}, 100) == {"a": ["x\ny", 1, None]}


def test_errors_are_named_whatever_their_message_is():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("never")

    assert of_error(Mute()) == "Mute, whose message cannot be read"
    assert of_error(ValueError("x")) == "ValueError: x" and of_error(KeyError()) == message_of(KeyError()) == "KeyError"


class Terminal:
    """What is written, as on a terminal."""

    encoding, errors = "utf-8", "strict"

    def __init__(self, colour: bool) -> None:
        self.colour, self.text = colour, ""

    def write(self, text: str) -> None:
        self.text += text

    def isatty(self) -> bool:
        return self.colour


def test_a_guarded_stream_lets_colours_through_on_a_terminal_alone():
    for colour, shown in ((True, "\x1b[1mbold\x1b[0m\tx\n"), (False, "bold\tx\n")):
        terminal, copy = Terminal(colour), Terminal(False)
        stream = GuardedStream(terminal, copy)
        assert stream.write(f"\x1b[1mbold\x1b[0m{ESCAPES[5:]}\tx\n") == len(copy.text)
        assert terminal.text == shown and ESCAPES[5:] in copy.text
    terminal = Terminal(False)
    stream = GuardedStream(terminal, width=4)
    for text in ("abc", "de", "f\ngh", "\n", "longer\nx"):
        stream.write(text)
    assert terminal.text == "abcd ...\ngh\nlong ...\nx"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a hostile plugin, an installed hostile distribution, a table, and stores."""
    folder = tmp_path_factory.mktemp("hostile")
    source = PLUGIN.replace('"""ESCAPESx"""', f'"""{ESCAPES}x"""').replace("ESCAPES", repr(ESCAPES))
    (folder / "hostile.py").write_text(source)
    info = folder / "site" / "bad-1.0.dist-info"
    info.mkdir(parents=True)
    name = ESCAPES.replace("\x85", "").replace("\x0c", "").replace("\u2028", "") + "b" * 5000
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1{name}\n")
    (info / "entry_points.txt").write_text("[w2s_bench]\nbad = installed_bad\n")
    (folder / "site" / "installed_bad.py").write_text(f"raise ValueError({ESCAPES!r} + 'b' * {LENGTH})")
    (folder / "table.csv").write_text(f"te{ESCAPES.replace(chr(12), '')}xt,{'l' * 5000}\na,1\nb,2\n")
    write_store(folder / "store", {"naive": 0.5, "gce": 0.6}, seeds=2)
    for n, long in enumerate((LENGTH, 3000)):
        bad = ESCAPES + "b" * long
        write_store(folder / "store", {bad: 0.5, "naive": 0.4}, seeds=2, groups=((bad, bad, bad),), start=10 * n)
    records = sorted((folder / "store" / "records").iterdir())
    failed = json.loads(records[0].read_text())
    failed |= {"status": "failed", "reason": ESCAPES + "b" * 90_000, "provenance": {"command": ESCAPES + "c" * 90_000}}
    records[0].write_text(json.dumps(failed))
    (folder / "store" / "records" / "deep.json").write_text("[" * 100_000)
    (folder / "store" / "suites").mkdir()
    (folder / "store" / "suites" / "mine.json").write_text(json.dumps({"cells": [ESCAPES], "varies": ESCAPES * 5000}))
    (folder / "suite.yaml").write_text(json.dumps({"description": ESCAPES, "sweeps": [[ESCAPES + "=1"]]}))
    results = folder / "aar" / "x"
    results.mkdir(parents=True)
    (results / "config.json").write_text(json.dumps({"model": ESCAPES + "b" * LENGTH}))
    return folder


DRIVER = """
import json, os, sys
from w2s_bench.cli.main import cli
for number, line in enumerate(json.load(open(sys.argv[1]))):
    file = os.open(f"{sys.argv[1]}.{number}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1), os.dup2(file, 2)
    try:
        cli.main(line)
    except SystemExit as end:
        os.write(file, b"\\nSTATUS %d" % end.code)
"""


def w2s(folder: Path, *lines: list[str], installed: bool = False) -> list[tuple[str, int]]:
    """Returns all that each line prints to the process's outputs, which is checked, and its status; one process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("W2S_")}
    environment |= {"W2S_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    if installed:
        environment["PYTHONPATH"] = str(folder / "site")
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=folder) as file:
        json.dump(lines, file)
        file.flush()
        done = subprocess.run([sys.executable, "-c", DRIVER, file.name], cwd=folder, env=environment)
        assert done.returncode == 0
        found = []
        for number in range(len(lines)):
            shown, _, status = Path(f"{file.name}.{number}").read_bytes().decode().rpartition("\nSTATUS ")
            found.append((shown, int(status)))
    return found


def check(shown: str) -> None:
    assert not (found := CONTROL.findall(shown)), (set(found), shown[:3000])
    assert 0 < len(shown.strip()) < BOUND, shown[:3000]
    assert "Traceback" not in shown


LINES = [
    "list",
    "list --json",
    "list mitigations",
    "list verbs",
    "show talker",
    "show talker --json",
    "show bad_task",
    "talk",
    "break",
    "check hostile.py",
    "check talker --json",
    "run task=bad_task",
    "run mitigation=[quiet] mitigation.quiet.how=ESCAPES seed=ESCAPES",
    "run mitigation=[ESCAPES]",
    "run ESCAPES=1",
    "run ESCAPES",
    "run --cfg job mitigation=[quiet] mitigation.quiet.how=ESCAPES",
    "run --cfg job task=ESCAPES",
    "run --info ESCAPES",
    "run task=table task.path=table.csv",
    "run task=table task.path=ESCAPES",
    "suite suite.yaml",
    "suite ESCAPES",
    "new mitigation ESCAPES",
    "new ESCAPES x",
    "ESCAPES",
]


INSTALLED = ["list", "list --json", "doctor", "show naive", "run task=facts_"]
STORE = [
    *(f"board --store store --format {f}" for f in ("table", "json", "md", "csv", "latex")),
    "board --store store --wide",
    "plot imitation --store store",
    "plot scaling --store store -o x.svg",
    "status --store store",
    "status --store store --json",
    "verify store",
    "verify store --json",
    "verify store --rerun 2 --seed 1",
    "import aar aar --store imported",
    "import openai-w2s aar --store imported",
]
PAGE = "board --store store --format html -o board.html"


@pytest.fixture(scope="module")
def shown(place):
    """What each line printed, and its status."""
    words = {line: [w.replace("ESCAPES", ESCAPES + "b" * 10_000) for w in line.split(" ")] for line in LINES}
    found = w2s(place, *([*w, "--plugins", "hostile.py"] for w in words.values()))
    found += w2s(place, *(line.split() for line in INSTALLED), installed=True)
    found += w2s(place, *(line.split() for line in (*STORE, PAGE)))
    named = [*LINES, *(f"{line}, installed" for line in INSTALLED), *STORE, PAGE]
    return dict(zip(named, found, strict=True))


@pytest.mark.parametrize("line", LINES)
def test_a_plugin_cannot_steer_the_terminal(shown, line):
    printed, status = shown[line]
    check(printed)
    assert status in (0, 1, 2)
    if line == "talk":
        assert "the end" in printed
    if line == "break":
        assert re.search("w2s: unexpected ValueError: +BEGINb", printed) and status == 1


@pytest.mark.parametrize("line", INSTALLED)
def test_nor_can_an_installed_distribution(shown, line):
    printed, _ = shown[f"{line}, installed"]
    check(printed)
    assert line in ("show naive", "run task=facts_") or "installed_bad" in printed


@pytest.mark.parametrize("line", STORE)
def test_nor_can_a_record(shown, line):
    printed, status = shown[line]
    check(printed)
    assert status in (0, 1, 2)


def test_nor_can_a_record_on_the_page(place, shown):
    page = (place / "board.html").read_text()
    assert not CONTROL.search(page) and len(page) < 400_000 and "1,200,0" in page  # a note on what was left out


@pytest.mark.parametrize(("engine", "how"), [("inline", "raise"), ("inline", "mute"), ("local", "raise")])
def test_a_failed_cell_is_named_in_short_and_told_whole_in_its_file(place, engine, how):
    line = ["run", "task=toy", "supervisor=[toy_weak]", "student=toy", "mitigation=[talker]", "task.n_transfer=64"]
    line += ["task.n_supervision=60", "task.n_validation=20", "task.n_test=40", f"mitigation.talker.how={how}"]
    store = f"store-{engine}-{how}"
    line += [f"engine={engine}", "mitigation.talker.text=short", "--store", store]
    plugins = ["--plugins", "hostile.py", "--plugins", str(TOY)]
    printed = w2s(place, line + plugins, line + plugins, ["status", "--store", store])  # run once, then named again
    for words, status in printed:
        check(words)
        assert status == (0 if words is printed[-1][0] else 1)
    (record,) = (place / store / "records").iterdir()
    reason = json.loads(record.read_text())["reason"]
    assert len(reason) < 600 and not CONTROL.search(reason)
    if how == "raise":
        assert reason.startswith("mitigation talker: revise_labels raised ValueError: BEGINbbb")
        assert reason.endswith("more characters)")
    whole = Path(re.search(r"its traceback and output: (.*)", printed[0][0])[1]).read_text(errors="replace")
    words = f"{ESCAPES}BEGIN{'b' * LENGTH}END{ESCAPES}"
    assert whole.count(words) >= (3 if how == "raise" else 2)  # what it said, and both that it printed
