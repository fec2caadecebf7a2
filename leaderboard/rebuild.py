"""Renders every published store under leaderboard/ again: boards, their page, tables of READMEs and docs.

python leaderboard/rebuild.py            writes what has changed
python leaderboard/rebuild.py --check    says what would change, and ends with status 1 if anything would
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from methods_table import methods_tables

from w2s_bench.board import Board, build_board
from w2s_bench.board.render import render
from w2s_bench.board.render.columns import glossary
from w2s_bench.board.render.page import as_page
from w2s_bench.board.render.plots import draw_plot
from w2s_bench.board.render.table import FOOT

HERE = Path(__file__).resolve().parent
RENDERED = {"board.json": "json", "board.md": "md", "board.csv": "csv", "board.tex": "latex"}
FRONT = "sandbox"
"""The suite whose overall table is in the project's README."""
TUNED = "sandbox-tuned"
"""The suite whose options were tuned; the mitigations' table puts both side by side."""
PICTURES = {
    "sandbox": "mitigations",
    "scaling": "scaling",
    "length": "varied",
    "saliency": "varied",
    "probes": "imitation",
    "probes-smollm": "imitation",
    "sst2": "imitation",
}
"""The picture of a suite on the front page; index.html has all of them."""
INTRODUCTION = """# Published results

One folder a suite, each a store that `w2s board --store` reads and `w2s verify` checks. Here are the overall tables;
`board.md` in each folder has those of every task and pair, and [index.html](index.html) is the page over all of them,
with intervals as pictures and the provenance of every cell. Rendered by `python leaderboard/rebuild.py`.

"""
BLOCK = re.compile(rf"(<!-- board:{FRONT} -->\n).*?(<!-- /board -->)", re.DOTALL)
MITIGATIONS = re.compile(r"(<!-- mitigations -->\n).*?(<!-- /mitigations -->)", re.DOTALL)
COLUMNS = re.compile(r"(<!-- columns -->\n).*?(<!-- /columns -->)", re.DOTALL)


def stores() -> list[Path]:
    """Returns the published stores, the front one first and the others by name."""
    return sorted((p.parent for p in HERE.glob("*/records.tar.xz")), key=lambda p: (p.name != FRONT, p.name))


def rendered() -> dict[Path, str]:
    """Returns the text each rendered file should have."""
    boards: dict[str, Board] = {store.name: build_board([store]) for store in stores()}
    files = {HERE / n / file: render(b, format) for n, b in boards.items() for file, format in RENDERED.items()}
    files[HERE / "index.html"] = as_page(list(boards.values()))
    for name, kind in PICTURES.items():
        if name in boards:
            files[HERE / name / f"{kind}.svg"] = draw_plot(kind, boards[name].data).decode()
    parts = [front(name, files[HERE / name / "board.md"]) for name in boards]
    files[HERE / "README.md"] = INTRODUCTION + "\n".join(parts)
    readme = HERE.parent / "README.md"
    table = in_short(boards[FRONT], files[HERE / FRONT / "board.md"]) if FRONT in boards else ""
    files[readme] = BLOCK.sub(lambda block: block[1] + table + block[2], readme.read_text(encoding="utf-8"))
    terms = HERE.parent / "docs" / "glossary.md"
    methods = HERE.parent / "docs" / "methods.md"
    measured = (boards[name].data if name in boards else None for name in (FRONT, TUNED))
    table = methods_tables(*measured)
    files[methods] = MITIGATIONS.sub(lambda block: block[1] + table + block[2], methods.read_text(encoding="utf-8"))
    files[terms] = COLUMNS.sub(lambda block: block[1] + glossary() + block[2], terms.read_text(encoding="utf-8"))
    return files


def in_short(board: Board, markdown: str) -> str:
    """Returns the project README's picture and table: naive, the best three and the worst without truth, a control."""
    methods = [e for e in board.overall if e["pgr"] and not e["control"] and e["mitigation"] != "naive"]
    blind = [e for e in methods if e["track"] == "weak-labels-only"]
    blind.sort(key=lambda e: -e["pgr"]["mean"])
    controls = [e for e in board.overall if e["control"] and e["mitigation"].startswith("random_filter")]
    chosen = ["naive", *(e["mitigation"] for e in [*blind[:3], *blind[-1:], *controls])]
    lines = overall(markdown).splitlines()
    at = {line.split(" | ")[0].strip("| ").replace("\\", "").split(" (")[0]: line for line in lines if line[:2] == "| "}
    head = next(k for k, line in enumerate(lines) if line.startswith("| mitigation"))
    words = "overall PGR of each mitigation with its interval"
    picture = f"![{words}](leaderboard/{FRONT}/{PICTURES[FRONT]}.svg)"
    more = f"{len(methods) + 1} stacks and {sum(e['control'] for e in board.overall)} controls, {lines[0].strip()}"
    rows = [at[name] for name in chosen]
    return "\n".join(["", picture, "", *lines[head : head + 2], *rows, "", f"Six of {more}.", ""])


def overall(markdown: str) -> str:
    """Returns a board's head and overall table, with what they mean, out of its Markdown."""
    head, *sections = markdown.split("\n### ")
    tables = [f"\n### {s.strip()}\n" for s in sections if s.startswith("Overall")]
    meaning = "  \n".join(FOOT)
    return "".join([head.strip(), "\n", *tables]) + (f"\n{meaning}\n" if tables else "")


def front(name: str, markdown: str) -> str:
    """Returns a suite's part of the front page."""
    kind = PICTURES.get(name)
    picture = f"\n![{kind}]({name}/{kind}.svg)\n" if kind else ""
    return f"## {name}\n\n{overall(markdown)}{picture}\n[Every task and pair]({name}/board.md)\n"


def main() -> None:
    """Writes or checks."""
    checking = "--check" in sys.argv[1:]
    changed = []
    for path, text in rendered().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed.append(path.relative_to(HERE.parent).as_posix())
            if not checking:
                path.write_text(text, encoding="utf-8", newline="\n")
    for name in changed:
        print(f"{'would change' if checking else 'wrote'} {name}")
    if checking and changed:
        sys.exit(1)


if __name__ == "__main__":
    main()
