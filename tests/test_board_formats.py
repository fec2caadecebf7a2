"""Every output format of a board: fit, escaped, whole; the page is driven in tests/test_board_page.py."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support.board_records import write_record, write_small_suite, write_varied_suite

from w2s_bench.board import build_board
from w2s_bench.board.render import FORMATS, columns, render
from w2s_bench.board.render.columns import CELLS, OVERALL, Column, columns_of
from w2s_bench.cli.board import add_commands
from w2s_bench.errors import UsageError
from w2s_bench.store.escape import latex, markdown, plain, spreadsheet

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\\input{x}",
    "$\\write18{id}$ % & # _ ^ ~ {",
    "\x1b[31mred\x1b]0;title\x07",
    "a|b\n## head\n[x](javascript:alert(1))",
    "\u202egnp.exe",
    "http://tracker.example/a.png",
    "${7*7} {{7*7}}",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_small_suite(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def varied(tmp_path_factory) -> Path:
    return write_varied_suite(tmp_path_factory.mktemp("varied"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hostile")
    for seed in range(3):
        for k, name in enumerate(("naive", *HOSTILE)):
            right = [[0, 1, 0, 1] * 50, [1, 1, 0, int(k % 2)] * 50, [1, 1, 1, int(seed > 0)] * 50]
            evil = HOSTILE[(k + seed) % len(HOSTILE)]
            record = write_record(
                path,
                right,
                task=HOSTILE[0],
                supervisors=[HOSTILE[2]],
                student=HOSTILE[4],
                mitigations=[name],
                seed=seed,
            )
            record["provenance"] |= {"command": evil, "finished": evil, "plugins": [{"name": evil}]}
            record["suite"] = HOSTILE[1]
            (path / "records" / f"{record['digest']}.json").write_text(json.dumps(record))
        failed = write_record(path, None, task=HOSTILE[0], mitigations=[HOSTILE[7]], status="failed", seed=seed)
        failed["reason"] = "".join(HOSTILE)
        (path / "records" / f"{failed['digest']}.json").write_text(json.dumps(failed))
    (path / "records" / "\x1b[2J.json").write_text("{")
    return path


def test_json_is_strict_and_escaped(hostile):
    data = json.loads(render(build_board([hostile]), "json"), parse_constant=lambda c: pytest.fail(c))
    assert {r["mitigation"] for r in data["rows"]} >= set(HOSTILE)
    assert "\x1b" not in render(build_board([hostile]), "json")


def test_hostile_names_do_no_harm_on_a_terminal(hostile):
    for wide in (False, True):
        text = render(build_board([hostile]), "table", wide=wide)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert max(map(len, render(build_board([hostile])).splitlines())) <= 100


def test_hostile_names_do_no_harm_in_markdown(hostile):
    text = render(build_board([hostile]), "md")
    assert not re.search(r"<(script|img)", text) and "](javascript" not in text.replace("\\]", "")
    assert "://" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) - 1 in map(len, map(columns_of, (OVERALL, CELLS))), line
    assert not re.search(r"^#+ head", text, re.M)


def test_hostile_names_do_no_harm_in_csv(hostile):
    rows = list(csv.reader(io.StringIO(render(build_board([hostile]), "csv"))))
    assert len({len(r) for r in rows}) == 1
    for row in rows[1:]:
        for cell in row:
            assert not cell.startswith(("=", "@", "+", "\t", "\r")), cell
            assert not cell.startswith("-") or re.fullmatch(r"-[\d.e-]+", cell)


def test_hostile_names_do_no_harm_in_latex(hostile, tmp_path):
    text = render(build_board([hostile]), "latex")
    for command in (r"\input{", r"\write18"):
        assert command not in text
    body = re.sub(r"^%.*$", "", text, flags=re.M)
    assert body.count("{") - body.count("\\{") == body.count("}") - body.count("\\}")
    allowed = {
        "begin",
        "end",
        "centering",
        "footnotesize",
        "caption",
        "toprule",
        "midrule",
        "bottomrule",
        "textbackslash",
    }
    allowed |= {
        "textasciitilde",
        "textasciicircum",
        "textless",
        "textgreater",
        "textbar",
        "textquotedbl",
        "textquotesingle",
    }
    allowed |= {"resizebox", "ifdim", "width", "textwidth", "else", "fi"}
    allowed |= {"textasciigrave", "times", "Delta", "cdot", "pm"}
    assert set(re.findall(r"\\([a-zA-Z]+)", body)) <= allowed


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
@pytest.mark.parametrize("which", ["hostile", "store", "varied", "published"])
def test_latex_compiles_and_fits_its_page(which, tmp_path, request):
    published = Path(__file__).parents[1] / "leaderboard" / "quick"
    text = render(build_board([published if which == "published" else request.getfixturevalue(which)]), "latex")
    packages = "\\usepackage{booktabs,graphicx,textcomp}\\usepackage[T1]{fontenc}"
    (tmp_path / "a.tex").write_text(f"\\documentclass{{article}}{packages}\\begin{{document}}{text}\\end{{document}}")
    done = subprocess.run(
        ["pdflatex", "-interaction=batchmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path,
        timeout=100,
        capture_output=True,
    )
    log = (tmp_path / "a.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    if which != "hostile":  # whose names no page can hold
        assert "Overfull" not in log


def test_hostile_names_do_no_harm_in_html(hostile):
    page = render(build_board([hostile]), "html")
    assert page.count("<script") == 2 and page.count("</script>") == 2
    seen: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            seen.add(tag)
            assert not any(name.startswith("on") or name in ("src", "srcdoc", "action") for name, _ in attributes)

    Reader().feed(page)
    assert seen & {"table", "svg"} and not seen & {"img", "iframe", "a", "link", "object", "embed", "base"}
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "49" not in re.findall(r"\$\{7\*7\} (\S+)", page)


def test_escapes():
    assert plain("a\x1b[1m\nb\u202e\u200b") == "a b"
    assert spreadsheet("=1") == "'=1" and spreadsheet(" -1") == "' -1" and spreadsheet("gce") == "gce"
    assert markdown("a_b|<i>") == r"a\_b\|&lt;i&gt;"
    assert latex("50%_\\") == r"50\%\_\textbackslash{}" and latex("日") == "?"


def test_csv_has_every_row(store):
    board = build_board([store])
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    assert len(rows) == len(board.data["rows"]) + len(board.data["overall"])
    aux = next(r for r in rows if r["kind"] == "cell" and r["mitigation"] == "aux_confidence")
    assert float(aux["pgr_low"]) < float(aux["pgr_mean"]) < float(aux["pgr_high"])


def test_a_new_column_is_one_entry(store, monkeypatch):
    luck = Column(
        "luck", "nothing", ("luck", "bad_luck"), lambda row: (7.25, None), lambda row: "seven", (OVERALL, CELLS)
    )
    monkeypatch.setattr(columns, "COLUMNS", (*columns.COLUMNS, luck))
    board = build_board([store])
    for format in ("table", "md", "latex"):
        text = render(board, format)
        assert text.count("luck") == len(board.data["rows"]) // 6 + 1, format
        assert text.count("seven") == len(board.data["rows"]) + len(board.data["overall"]), format
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    assert {(row["luck"], row["bad_luck"]) for row in rows} == {("7.25", "")}
    page = render(board, "html")
    assert page.count('<button type="button">luck</button>') == 2
    assert page.count('data-value="7.25000">seven</td>') == len(rows)
    assert "| luck | `luck`, `bad_luck` | nothing |" in columns.glossary()


def test_wide_shows_more(store):
    board = build_board([store])
    assert "corrects" not in render(board) and "corrects" in render(board, wide=True)


def test_commands(store, tmp_path, monkeypatch):
    cli = click.Group()
    add_commands(cli)
    run = CliRunner()
    for format in FORMATS:
        out = tmp_path / f"board.{format}"
        done = run.invoke(cli, ["board", "--store", str(store), "--format", format, "-o", str(out)])
        assert done.exit_code == 0, done.output
        assert out.read_text()
    monkeypatch.setenv("W2S_STORE", str(store))
    assert "aux_confidence" in run.invoke(cli, ["board"]).output
    assert run.invoke(cli, ["plot", "cost", "-o", str(tmp_path / "cost.png")]).exit_code == 0
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
    assert isinstance(run.invoke(cli, ["board", "--store", str(tmp_path / "no")]).exception, UsageError)
