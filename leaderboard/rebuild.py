"""Renders every published store under leaderboard/ again: boards, the page over all suites, the tables of the READMEs.

python leaderboard/rebuild.py            writes what has changed
python leaderboard/rebuild.py --check    says what would change, and ends with status 1 if anything would
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from w2s_bench.board import Board, build_board, render
from w2s_bench.board.page import as_page

HERE = Path(__file__).resolve().parent
FACES = {"board.json": "json", "board.md": "md", "board.csv": "csv", "board.tex": "latex"}
FRONT = "quick"
"""The suite whose table stands in the project's README."""
INTRODUCTION = """# Published results

One folder a suite, each a store that `w2s board --store` reads and `w2s verify` checks. [index.html](index.html) is the
page over all of them. Rendered by `python leaderboard/rebuild.py`.

"""
BLOCK = re.compile(rf"(<!-- board:{FRONT} -->\n).*?(<!-- /board -->)", re.DOTALL)


def stores() -> list[Path]:
    """Returns the published stores, by name."""
    return sorted({p.parent for p in HERE.glob("*/records.*")})


def rendered() -> dict[Path, str]:
    """Returns what each rendered file should hold."""
    boards: dict[str, Board] = {store.name: build_board([store]) for store in stores()}
    files = {HERE / n / file: render(b, face) for n, b in boards.items() for file, face in FACES.items()}
    files[HERE / "index.html"] = as_page(list(boards.values()))
    tables = "\n".join(f"## {name}\n\n{files[HERE / name / 'board.md'].strip()}\n" for name in boards)
    files[HERE / "README.md"] = INTRODUCTION + tables
    readme = HERE.parent / "README.md"
    table = f"{files[HERE / FRONT / 'board.md'].strip()}\n" if FRONT in boards else ""
    files[readme] = BLOCK.sub(lambda found: found[1] + table + found[2], readme.read_text(encoding="utf-8"))
    return files


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
