"""A Hugging Face hub on this machine: serves folders over the few endpoints that the hub's clients ask."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Yields the address of a hub with `root/datasets/OWNER/NAME` and `root/models/OWNER/NAME`, all at COMMIT."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path).path.strip("/").split("/")
            status, headers, body = answer(root, [unquote(part) for part in parts])
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def answer(root: Path, parts: list[str]) -> tuple[int, dict[str, str], bytes]:
    """Returns status, headers and body for a path."""
    api = parts[0] == "api"
    parts = parts[1:] if api else parts
    kind = parts[0] if parts[0] in ("datasets", "models") else "models"
    parts = parts[1:] if parts[0] == kind else parts
    repo = root / kind / "/".join(parts[:2])
    if len(parts) < 2 or not repo.is_dir():
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
    verb, revision, rest = [*parts[2:], ""][0], [*parts[3:], "main"][0], parts[4:]
    if revision not in ("main", "refs/convert/parquet", COMMIT):
        return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
    if verb == "resolve":
        file = repo.joinpath(*rest)
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        content = file.read_bytes()
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content
    if verb == "tree":
        folder = repo.joinpath(*rest)
        if not folder.is_dir():
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        return (
            200,
            {"Content-Type": "application/json"},
            json.dumps([entry(repo, p) for p in folder.iterdir()]).encode(),
        )
    files = [{"rfilename": str(p.relative_to(repo))} for p in sorted(repo.rglob("*")) if p.is_file()]
    info = {"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": files, "private": False, "gated": False, "tags": []}
    return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()


def entry(repo: Path, path: Path) -> dict[str, object]:
    """Returns one line of a listing."""
    name = str(path.relative_to(repo))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40}
    return {"type": "file", "path": name, "oid": "0" * 40, "size": path.stat().st_size}
