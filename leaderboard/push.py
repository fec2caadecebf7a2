"""Uploads a published store to a Hugging Face dataset: its archives, its boards and a dataset card.

python leaderboard/push.py SUITE OWNER/NAME

The token is the one that huggingface_hub finds: HF_TOKEN, or that of `hf auth login`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from w2s_bench.errors import W2SError
from w2s_bench.hub import one_line
from w2s_bench.store.verify import verify_store

HERE = Path(__file__).resolve().parent
CARD = """---
pretty_name: w2s_bench, suite {suite}
tags: [weak-to-strong, w2s_bench]
---
# w2s_bench: suite {suite}

{ok} cells of weak-to-strong generalization, protocol `{protocol}`, as of {as_of}. The files are a store of
w2s_bench: download them into a folder, then

    w2s verify FOLDER
    w2s board --store FOLDER --format json    # gives board.json again, byte for byte

| file | contents |
|---|---|
| records | one JSON record for each cell, with the command that reruns it |
| predictions | what each student answered on the test split (parquet) |
| scores | right or wrong for each test example (parquet) |

Predictions and scores together amount to the truth of the test split: keep them out of training data.

{table}
"""


def push(store: Path, name: str) -> str:
    """Returns the address of the commit of the uploaded store; W2SError where it does not verify or is refused."""
    done = verify_store(store)
    if not done.ok:
        raise W2SError(f"{store.name} is not uploaded: {done.problems[0]}")
    board = json.loads((store / "board.json").read_text(encoding="utf-8"))
    table = (store / "board.md").read_text(encoding="utf-8")
    about = {"suite": store.name, "protocol": board["protocol"], "as_of": board["as_of"], "ok": board["records"]["ok"]}
    card = CARD.format(table=table, **about)
    files = [CommitOperationAdd(p.name, p) for p in sorted(store.iterdir()) if p.is_file()]
    files.append(CommitOperationAdd("README.md", card.encode()))
    try:
        api = HfApi()
        api.create_repo(name, repo_type="dataset", exist_ok=True)
        made = api.create_commit(name, files, commit_message=f"Suite {store.name}", repo_type="dataset")
    except Exception as error:  # no network, no token, no right to write, in as many types
        raise W2SError(f"{name} could not be written: {one_line(error)}; is HF_TOKEN one that may write it?") from error
    return made.commit_url


def main() -> None:
    """Uploads, or says in one line why not."""
    if len(sys.argv) != 3 or not (HERE / sys.argv[1] / "board.json").is_file():
        names = ", ".join(sorted(p.parent.name for p in HERE.glob("*/board.json")))
        sys.exit(f"usage: python leaderboard/push.py SUITE OWNER/NAME; suites are {names}")
    try:
        print(push(HERE / sys.argv[1], sys.argv[2]))
    except W2SError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
