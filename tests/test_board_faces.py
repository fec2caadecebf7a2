"""Every face of a board: fit, escaped, whole; the page is driven in tests/test_board_page.py."""

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
from support.board_records import write_record, write_store

from w2s_bench.board import build_board
from w2s_bench.board.render import FORMATS, render
from w2s_bench.board.render.drawing import named
from w2s_bench.board.render.page import CAPTIONS
from w2s_bench.board.render.plots import NEEDS, PLOTS, draw_plot
from w2s_bench.cli.board import add_commands, plot
from w2s_bench.errors import UsageError
from w2s_bench.store.escape import latex, markdown, plain, spreadsheet

TRUTHS = {"naive": 0.4, "aux_confidence": 0.7, "gce": 0.45, "gce+aux_confidence": 0.6}
PAIRS = [
    ("facts", "ladder_xs_0", "ladder_m"),
    ("facts", "ladder_s_0", "ladder_m"),
    ("facts", "ladder_xs_0", "ladder_l"),
]
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
    path = tmp_path_factory.mktemp("store")
    write_store(path, TRUTHS, groups=PAIRS, suite="quick", n=300)
    write_store(path, {"majority": -0.6}, groups=PAIRS, suite="quick", n=300, control=True)
    write_store(path, {"bootstrapping": 0.6}, groups=PAIRS, suite="quick", n=300, examples=9000)
    return path


@pytest.fixture(scope="module")
def varied(tmp_path_factory) -> Path:
    """A suite that varies an option of its student, with two students at each value."""
    path = tmp_path_factory.mktemp("varied")
    for saliency in (0.0, 0.3):
        for checkpoint in (0, 1):
            student = {"name": "ladder", "saliency": saliency, "checkpoint": checkpoint}
            for seed in range(3):
                for k, stack in enumerate(("naive", "gce")):
                    right = [[0, 1, 0, 1] * 50, [1, 1, 0, k] * 50, [1, 1, 1, int(seed > 0)] * 50]
                    write_record(path, right, student=student, mitigations=[stack], seed=seed)
    (path / "suites").mkdir()
    cells = [p.stem for p in (path / "records").iterdir()]
    (path / "suites" / "saliency.json").write_text(json.dumps({"cells": cells, "varies": "student.saliency"}))
    return path


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
            assert len(re.findall(r"(?<!\\)\|", line)) in (10, 13), line
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


def test_csv_holds_every_row(store):
    board = build_board([store])
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    assert len(rows) == len(board.data["rows"]) + len(board.data["overall"])
    aux = next(r for r in rows if r["kind"] == "cell" and r["mitigation"] == "aux_confidence")
    assert float(aux["pgr_low"]) < float(aux["pgr_mean"]) < float(aux["pgr_high"])


def test_wide_shows_more(store):
    board = build_board([store])
    assert "corrects" not in render(board) and "corrects" in render(board, wide=True)


@pytest.mark.parametrize("kind", sorted(CAPTIONS))  # reliability: tests/test_board_reliability.py
def test_plots_are_drawn_the_same_again(kind, store, varied):
    data = build_board([varied if kind == "varied" else store]).data
    svg = draw_plot(kind, data)
    assert svg.startswith(b"<?xml") and draw_plot(kind, data) == svg
    assert draw_plot(kind, data, "png").startswith(b"\x89PNG") and draw_plot(kind, data, "pdf").startswith(b"%PDF")


def test_plots_say_what_is_missing(tmp_path, store):
    write_store(tmp_path, {"naive": 0.4}, seeds=1)
    with pytest.raises(UsageError, match="stack of two"):
        draw_plot("stack", build_board([tmp_path]).data)
    with pytest.raises(UsageError, match="declares what it varies"):
        draw_plot("varied", build_board([tmp_path]).data)
    with pytest.raises(UsageError, match="svg, png, pdf"):
        draw_plot("cost", build_board([store]).data, "gif")
    with pytest.raises(UsageError, match="scaling"):
        draw_plot("pie", build_board([store]).data)


def test_every_picture_is_offered_and_described():
    docs = (Path(__file__).parents[1] / "docs" / "publishing.md").read_text().split("## Pictures")[1].split("\n## ")[0]
    assert list(PLOTS) == re.findall(r"^\| `(\w+)` \|", docs, re.M)
    assert set(plot.params[0].type.choices) == set(PLOTS) == set(NEEDS) == {*CAPTIONS, "reliability"}


def test_pictures_colour_naive_and_the_best_each_once(store, varied):
    assert named(build_board([varied]).data) == ["naive", "gce"]  # however many values the setting has
    assert named(build_board([store]).data)[:3] == ["naive", "aux_confidence", "gce+aux_confidence"]
    assert "majority" not in named(build_board([store]).data)


def test_an_option_of_the_student_can_be_varied_too(varied):
    data = build_board([varied]).data
    assert data["varied"] == {"student.saliency": [0.0, 0.3]} and data["notes"] == []
    assert {(r["student"], r["varied"]["student.saliency"]) for r in data["rows"]} == {
        (f"ladder(checkpoint={c})", s) for c in (0, 1) for s in (0.0, 0.3)
    }
    assert [(e["varied"]["student.saliency"], e["cells"]) for e in data["overall"]] == [
        (s, 6) for s in (0, 0, 0.3, 0.3)
    ]


def test_stacks_are_held_against_their_better_half(store):
    (pair,) = build_board([store]).data["stacking"]
    assert pair["stack"] == "gce+aux_confidence" and pair["better"] == "aux_confidence"
    assert pair["low"] < pair["mean"] < 0


def test_pareto_marks_need_both(store):
    rows = build_board([store]).data["rows"]
    marked = {r["mitigation"] for r in rows if r["pareto"]}
    assert "aux_confidence" in marked and "bootstrapping" not in marked
    costly = next(r for r in rows if r["mitigation"] == "bootstrapping")
    assert costly["cost"]["examples_over_naive"] == pytest.approx(9000 / 2976, abs=1e-4)


def test_controls_that_misbehave_are_in_the_head(tmp_path):
    write_store(tmp_path, {"naive": 0.4}, seeds=4)
    write_store(tmp_path, {"identity": 0.9}, seeds=4, control=True)
    board = build_board([tmp_path])
    assert board.data["controls"]["checked"] == 1
    assert "identity differs from naive" in board.data["controls"]["misbehaving"][0]
    for format in ("table", "md", "latex", "html"):
        assert "CONTROL MISBEHAVES" in render(board, format)


def test_a_sound_identity_is_said_to_behave(tmp_path):
    write_store(tmp_path, {"naive": 0.4}, seeds=3)
    for path in list((tmp_path / "records").glob("*.json")):
        record = json.loads(path.read_text())
        record["cell"]["mitigations"] = [{"name": "identity"}]
        record |= {"digest": f"{record['cell']['seed']:032d}", "control": True}
        (tmp_path / "records" / f"{record['digest']}.json").write_text(json.dumps(record))
    board = build_board([tmp_path])
    assert board.data["controls"] == {"checked": 1, "misbehaving": []}
    identity = next(r for r in board.data["rows"] if r["mitigation"] == "identity")
    assert identity["over_naive"]["mean"] == 0 and identity["over_naive"]["verdict"] == "no evidence"


@pytest.mark.parametrize(("chance", "sound"), [(0.5, True), (0.9, False)])
def test_random_labels_stay_at_chance(tmp_path, chance, sound):
    write_store(tmp_path, {"naive": 0.4}, seeds=4)
    write_store(tmp_path, {"random_labels": -0.6}, seeds=4, control=True, predictions=True)
    for path in (tmp_path / "records").glob("*.json"):
        record = json.loads(path.read_text())
        record["test"]["chance"] = chance
        path.write_text(json.dumps(record))
    controls = build_board([tmp_path]).data["controls"]
    assert controls["checked"] == 1 and (not controls["misbehaving"]) == sound


def test_chance_is_read_from_predictions_and_scores(tmp_path):
    write_store(tmp_path, {"naive": 0.4}, seeds=3)
    write_store(tmp_path, {"random_labels": -0.6}, seeds=3, control=True, predictions=True)
    assert build_board([tmp_path]).data["controls"] == {"checked": 1, "misbehaving": []}


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
