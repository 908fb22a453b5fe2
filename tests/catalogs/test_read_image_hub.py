"""Pictures on the Hugging Face hub: its API in small, asked by its own client."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def files() -> dict[str, bytes]:
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": [{"bytes": b"inside", "path": None}]}), sink)
    return {"a.jpg": b"a picture", "t.parquet": sink.getvalue()}


@pytest.fixture
def hub() -> Iterator[str]:
    """The hub's answers about one data set, owner/name."""
    held = files()

    class Hub(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            names = [name for name in held if name in asked]
            self.answer(json.dumps([entry(name) for name in names]).encode())

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            name = path.rpartition("/")[2]
            if "/resolve/" in path and name in held:
                self.serve(held[name])
            elif "/tree/" in path:
                self.answer(json.dumps([entry(name) for name in held]).encode())
            elif path.startswith("/api/datasets/owner/name"):
                facts = {"id": "owner/name", "sha": COMMIT, "private": False, "siblings": []}
                self.answer(json.dumps({**facts, "tags": [], "downloads": 0}).encode())
            else:
                self.answer(b"{}", 404)

        do_HEAD = do_GET

        def serve(self, data: bytes) -> None:
            wanted = self.headers.get("Range")
            if not wanted:
                return self.answer(data)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            return self.answer(part, 206)

        def answer(self, data: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    def entry(name: str) -> dict[str, object]:
        oid = hashlib.sha1(held[name]).hexdigest()
        return {"type": "file", "path": name, "size": len(held[name]), "oid": oid}

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


READ = """
from catalogs.images import read_image
assert read_image("hf://datasets/owner/name/a.jpg") == b"a picture"
assert read_image("hf://datasets/owner/name/a.jpg", max_bytes=100) == b"a picture"
assert read_image("parquet://hf://datasets/owner/name/t.parquet#row_group=0&row=0") == b"inside"
try:
    read_image("hf://datasets/owner/name/gone.jpg")
except FileNotFoundError:
    print("fine")
"""


def test_pictures_and_tables_on_the_hub(hub: str) -> None:
    """In a process of its own: the client reads its endpoint when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", READ],
        env={**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "fine\n", done.stderr[-2000:]
