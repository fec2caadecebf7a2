"""The page in a real browser: sorting, filtering, details, themes, keyboard, a phone's width."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.board_records import write_record, write_store

from w2s_bench.board import build_board
from w2s_bench.board.render.page import as_page

BROWSER = next((b for b in ("chromium", "chromium-browser", "google-chrome", "chrome") if shutil.which(b)), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

DRIVER = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", async () => {
  const out = {};
  const wait = () => new Promise(done => setTimeout(done, 30));
  const w = frame.contentWindow, d = frame.contentDocument;
  const $ = s => d.querySelector(s), $$ = s => [...d.querySelectorAll(s)];
  const shown = () => $$("#cells tr.row").filter(r => !r.hidden);
  const choose = (name, value) => {
    const f = $(`[data-filter=${name}]`);
    if (f.type === "checkbox") f.checked = value; else f.value = value;
    f.dispatchEvent(new w.Event("input"));
  };
  while (!$("#count").textContent) await wait();  // the page's script counts the rows last
  try { STEPS } catch (error) { out.error = String(error); }
  const pre = document.createElement("pre");
  pre.id = "out";
  pre.textContent = "JSON" + JSON.stringify(out) + "END";
  document.body.append(pre);
});
"""


def drive(page: str, steps: str, folder: Path, width: int = 1200, options: tuple[str, ...] = ()) -> dict:
    """Returns what `steps` (JavaScript that fills `out`) saw in the page, shown in a frame of this width."""
    outside = (
        f'<body style="margin:0"><iframe style="width:{width}px;height:800px;border:0" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        f"<script>{DRIVER.replace('STEPS', steps)}</script>"
    )
    (folder / "outside.html").write_text(outside)
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=8000",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 600)},900", *options, "--dump-dom",
        (folder / "outside.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="out">JSON(.*?)END</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    out = json.loads(html.unescape(found[1]))
    assert "error" not in out, out
    return out


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    boards = []
    for suite, task in (("quick", "facts"), ("real", "sst2")):
        store = tmp_path_factory.mktemp(suite)
        groups = [(task, "ladder_xs_0", "ladder_m"), (task, "ladder_s_0", "ladder_m")]
        write_store(
            store, {"naive": 0.4, "aux_confidence": 0.8, "gce": 0.3}, seeds=3, groups=groups, suite=suite, n=200
        )
        write_store(store, {"random_labels": -0.6}, seeds=3, groups=groups, suite=suite, n=200, control=True)
        write_store(store, {"mixed": 0.9}, seeds=3, groups=groups, suite=suite, n=200, track="uses-ground-truth")
        write_record(store, None, mitigations=["dividemix"], task=task, status="failed", suite=suite)
        boards.append(build_board([store]))
    return as_page(boards, pictures=False)


def test_the_page_needs_nothing_from_outside(page):
    assert not re.search(r'\b(?:src|href)="(?!#)', page) and "@import" not in page and "url(" not in page
    assert "default-src 'none'" in page
    assert page.count('class="row" data-kind="cell"') == 22


@needs_browser
def test_filters(page, tmp_path):
    steps = """
      out.all = shown().length;
      choose("suite", "real"); out.suite = shown().length;
      out.sections = $$("[data-suite-section]").filter(s => !s.hidden).length;
      choose("suite", ""); choose("pair", "ladder_s_0 > ladder_m"); out.pair = shown().length;
      choose("pair", ""); choose("track", "uses-ground-truth"); out.track = shown().length;
      choose("track", ""); choose("search", "facts aux"); out.search = shown().map(r => r.dataset.task);
      choose("search", ""); choose("task", "sst2"); out.task = shown().length;
      choose("task", ""); choose("controls", false); out.controls = shown().length; out.count = $("#count").textContent;
    """
    out = drive(page, steps, tmp_path)
    assert out == {
        "all": 22, "suite": 11, "sections": 1, "pair": 10, "track": 4, "search": ["facts", "facts"], "task": 11,
        "controls": 18, "count": "18 rows",
    }  # fmt: skip


@needs_browser
def test_sorting_both_ways_with_missing_values_last(page, tmp_path):
    steps = """
      const head = $$("#cells thead th")[2];
      const values = () => $$("#cells tr.row").map(r => r.cells[2].dataset.value);
      head.querySelector("button").click(); out.first = head.getAttribute("aria-sort"); out.down = values();
      head.querySelector("button").click(); out.second = head.getAttribute("aria-sort"); out.up = values();
      const names = $$("#cells thead th")[0];
      names.querySelector("button").click(); out.names = $$("#cells tr.row").map(r => r.cells[0].dataset.value);
      out.cleared = head.getAttribute("aria-sort");
    """
    out = drive(page, steps, tmp_path)
    assert (out["first"], out["second"], out["cleared"]) == ("descending", "ascending", None)
    down, up = ([float(v) for v in out[k] if v] for k in ("down", "up"))
    assert down == sorted(down, reverse=True) and up == sorted(up) and len(up) > 10
    assert out["down"][-1] == out["up"][-1] == ""
    assert out["names"] == sorted(out["names"])


@needs_browser
def test_a_row_opens_with_its_provenance_options_and_command(page, tmp_path):
    steps = """
      const row = shown().find(r => r.cells[0].dataset.value === "aux_confidence");
      row.click(); await wait();
      out.open = $("#details").open; out.text = $("#inside").textContent; out.seeds = $$("#inside table tr").length - 1;
      $("#details .close").click(); out.closed = !$("#details").open;
      const failed = shown().find(r => r.cells[0].dataset.value === "dividemix");
      failed.click(); await wait(); out.failed = $("#inside").textContent;
    """
    out = drive(page, steps, tmp_path)
    assert out["open"] and out["closed"] and out["seeds"] == 3
    for part in (
        "w2s run task=facts seed=1",
        "answers by class: .250, .750",
        "ECE): floor .030, student .030",
        '"w2s_bench": "0.1.0"',
        '"name": "aux_confidence"',
        "floor",
    ):
        assert part in out["text"]
    assert "worker left" in out["failed"]


@needs_browser
def test_themes_follow_the_system_and_the_button(page, tmp_path):
    steps = """
      const ground = () => w.getComputedStyle(d.body).backgroundColor;
      out.theme = d.documentElement.dataset.theme; out.before = ground();
      $("#theme").click(); out.after = ground(); out.other = d.documentElement.dataset.theme;
      out.pressed = $("#theme").getAttribute("aria-pressed");
    """
    out = drive(page, steps, tmp_path)
    assert out["theme"] == "light" and out["other"] == "dark" and out["pressed"] == "true"
    assert out["before"] != out["after"]
    dark = drive(page, steps, tmp_path, options=("--blink-settings=preferredColorScheme=0",))
    assert dark["theme"] == "dark" and dark["before"] == out["after"]


@needs_browser
def test_everything_is_reached_by_keyboard(page, tmp_path):
    steps = """
      const reach = $$("button, select, input, summary, [tabindex]")
        .filter(e => e.tabIndex >= 0 && e.closest("[hidden]") === null);
      out.sorters = reach.filter(e => e.closest("th")).length;
      out.openers = reach.filter(e => e.classList.contains("open")).length;
      out.filters = reach.filter(e => e.dataset.filter).length;
      const opener = $(".open"); opener.focus(); out.focused = d.activeElement === opener;
      out.outline = w.getComputedStyle(opener).outlineStyle;
      opener.click(); await wait(); out.open = $("#details").open; out.inside = $("#details").contains(d.activeElement);
    """
    out = drive(page, steps, tmp_path)
    assert out["openers"] == 22 and out["filters"] == 6 and out["sorters"] >= 20
    assert out["focused"] and out["open"] and out["inside"]


@needs_browser
def test_a_phone_scrolls_tables_not_the_page(page, tmp_path):
    steps = """
      out.width = d.documentElement.clientWidth; out.needed = d.documentElement.scrollWidth;
      out.optional = $$(".optional").filter(e => w.getComputedStyle(e).display !== "none").length;
      const name = $("#cells tr.row td"), box = $("#cells").parentElement;
      box.scrollLeft = 200; await wait();
      out.sticky = Math.round(name.getBoundingClientRect().left - box.getBoundingClientRect().left);
      shown()[0].click(); await wait(); out.dialog = $("#details").getBoundingClientRect().width;
    """
    out = drive(page, steps, tmp_path, width=390)
    assert out["needed"] <= out["width"] <= 390
    assert out["optional"] == 0 and out["sticky"] <= 1 and out["dialog"] <= 390


@needs_browser
def test_hostile_names_run_nothing(tmp_path):
    evil = '<img src=x onerror="parent.hit=1">"><script>parent.hit=1</script>'
    for seed in range(2):
        for name in ("naive", evil):
            record = write_record(
                tmp_path,
                [[0, 1] * 50, [1, 1] * 50, [1, 1] * 50],
                task=evil,
                student=evil,
                mitigations=[name],
                seed=seed,
            )
            record["provenance"]["command"] = evil
            (tmp_path / "records" / f"{record['digest']}.json").write_text(json.dumps(record))
    steps = """
      for (const row of shown()) { row.click(); await wait(); $("#details .close").click(); }
      out.hit = window.hit === 1; out.images = $$("img").length; out.scripts = $$("script").length;
      out.rows = shown().length;
    """
    assert drive(as_page([build_board([tmp_path])]), steps, tmp_path) == {
        "hit": False,
        "images": 0,
        "scripts": 2,
        "rows": 2,
    }
