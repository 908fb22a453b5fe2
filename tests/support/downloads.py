"""Downloads from a picture server into a folder, in this process and as the command."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from picture_server import Asked, PictureServer

from catalogs.catalog import open_source
from catalogs.download import Download, Downloaded
from catalogs.download_fetch import Fetcher, FetchLimits
from catalogs.download_network import parse_allowed
from catalogs.store import Store
from flows.downloads import look_at

QUICK = FetchLimits(retries=2, backoff=0.02, connect=2, read=1, total=4, per_host=4)


def write_table(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "works.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def fetch(
    server: PictureServer,
    folder: Path,
    rows: list[dict[str, Any]],
    limits: FetchLimits = QUICK,
    **more: Any,
) -> Downloaded:
    source = open_source(write_table(folder, rows))
    fetcher = Fetcher(limits, parse_allowed([server.place]))
    try:
        return Download(Store.open(str(folder / "out")), fetcher, look_at, **more).run(source)
    finally:
        fetcher.close()


def reasons(result: Downloaded) -> dict[str, str]:
    return {one.item_id: one.code for one in result.left_out}


def command(server: PictureServer, source: Path, out: Path, *more: str) -> list[str]:
    program = str(Path(sys.executable).parent / "epa")
    words = [program, "catalog", "download", str(source), "-o", str(out)]
    return [*words, "--allow-host", server.place, *more]


def slow(asked: Asked) -> None:
    """Two minutes of a picture that is always about to come."""
    asked.send_response(200)
    asked.send_header("Content-Length", "24001")
    asked.end_headers()
    for _ in range(2400):
        asked.wfile.write(b"x" * 10)
        asked.wfile.flush()
        time.sleep(0.05)
