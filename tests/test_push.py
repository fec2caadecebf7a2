"""A published store goes to a Hugging Face dataset, seen from a hub on this machine."""

from __future__ import annotations

import base64
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STORE = ROOT / "leaderboard" / "sst2"
TOKEN = "hf_" + "s" * 30


@pytest.fixture
def hub():
    """Yields the address of a hub that takes commits, and what it was sent: (path, authorization, body)."""
    seen: list[tuple[str, str | None, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append((self.path, self.headers.get("Authorization"), body))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            if self.path == "/api/repos/create":
                return self.answer(200, {"url": f"{address}/datasets/me/results"})
            if self.path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if self.path.startswith("/api/datasets/me/results/preupload/main"):
                files = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                return self.answer(200, {"files": files})
            if self.path.startswith("/api/datasets/me/results/commit/main"):
                done = {"commitUrl": f"{address}/datasets/me/results/commit/c0ffee", "commitOid": "c0ffee"}
                return self.answer(200, {"success": True, **done})
            return self.answer(404, {"error": "no such page"})

        def answer(self, status: int, value: object) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield address, seen
    server.shutdown()
    server.server_close()


def push(address: str, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    extra = {"HF_ENDPOINT": address, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | extra
    line = [sys.executable, str(ROOT / "leaderboard" / "push.py"), *words]
    return subprocess.run(line, capture_output=True, text=True, env=environment)


def test_store_boards_and_card_are_one_commit(hub):
    address, seen = hub
    done = push(address, "sst2", "me/results")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{address}/datasets/me/results/commit/c0ffee\n"
    assert TOKEN not in done.stdout + done.stderr
    (commit,) = [body for path, _, body in seen if "/commit/" in path]
    lines = [json.loads(line) for line in commit.splitlines()]
    files = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
    card = files.pop("README.md").decode()
    assert files == {p.name: p.read_bytes() for p in STORE.iterdir()}
    assert card.startswith("---\npretty_name: w2s_bench, suite sst2\n")
    assert "9 cells" in card and (STORE / "board.md").read_text() in card


def test_a_refusal_is_one_line_without_the_token(hub):
    address, _ = hub
    done = push(address, "sst2", "me/results", token="hf_" + "w" * 30)
    assert done.returncode == 1 and "may write it" in done.stderr and done.stderr.count("\n") == 1
    assert "hf_w" not in done.stdout + done.stderr


def test_what_there_is_to_upload_is_named(hub):
    address, seen = hub
    done = push(address, "nope", "me/results")
    assert done.returncode == 1 and "sst2" in done.stderr and not seen
