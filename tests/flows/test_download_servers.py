"""Downloads from servers that fail, stall, mislead and ask for rest."""

from __future__ import annotations

import csv
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from downloads import QUICK, fetch, reasons, slow, write_table
from picture_server import Asked, PictureServer, png, serving

from catalogs import download_fetch
from catalogs.catalog import open_source
from catalogs.download import Download
from catalogs.download_fetch import Fetcher, FetchLimits
from catalogs.download_network import parse_allowed
from catalogs.store import Store
from flows.downloads import look_at


def failing_first(statuses: list[int], body: bytes, **headers: str) -> Any:
    left = list(statuses)

    def route(asked: Asked) -> None:
        if left:
            asked.answer(left.pop(0), b"", **headers)
        else:
            asked.answer(200, body)

    return route


def cut(asked: Asked, body: bytes, keep: int, *, length: bool) -> None:
    asked.send_response(200)
    if length:
        asked.send_header("Content-Length", str(len(body)))
    asked.send_header("Connection", "close")
    asked.end_headers()
    asked.wfile.write(body[:keep])
    asked.close_connection = True


def endless(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Connection", "close")
    asked.end_headers()
    while True:
        asked.wfile.write(b"\x89PNG" * 4096)


def silent(asked: Asked) -> None:
    time.sleep(3)


def misbehaviour() -> dict[str, tuple[Any, str | None]]:
    """Route -> how it answers, and the reason its work is left out for (None: it is not)."""
    body = png(1)
    once = iter([True])

    def cut_once(asked: Asked) -> None:
        if next(once, False):
            cut(asked, body, 50, length=True)
        else:
            asked.answer(200, body)

    return {
        "/good": (lambda asked: asked.answer(200, body), None),
        "/recovers": (failing_first([500, 503], body), None),
        "/cut-once": (cut_once, None),
        "/missing": (lambda asked: asked.answer(404), "http_404"),
        "/forbidden": (lambda asked: asked.answer(403), "http_403"),
        "/broken": (lambda asked: asked.answer(500), "http_500"),
        "/cut": (lambda asked: cut(asked, body, 50, length=True), "connection"),
        "/cut-silently": (lambda asked: cut(asked, body, 90, length=False), "truncated"),
        "/endless": (endless, "too_large"),
        "/announced": (lambda asked: asked.answer(200, b"", Content_Length="1000000"), "too_large"),
        "/slow": (slow, "too_slow"),
        "/silent": (silent, "timeout"),
        "/html": (lambda asked: asked.answer(200, b"<html>log in first</html>"), "decode_failed"),
        "/empty": (lambda asked: asked.answer(200), "decode_failed"),
        "/svg": (lambda asked: asked.answer(200, b"<svg onload='x()'/>"), "decode_failed"),
        "/eps": (lambda asked: asked.answer(200, b"%!PS-Adobe-3.0 EPSF-3.0\n"), "decode_failed"),
        "/gzip": (lambda asked: asked.answer(200, b"\x1f\x8b", Content_Encoding="gzip"), "encoded"),
        "/loop": (lambda asked: asked.answer(302, Location="/loop"), "too_many_redirects"),
        "/inside": (
            lambda asked: asked.answer(302, Location="http://169.254.169.254/latest"),
            "private_address",
        ),
        "/nothing": (lambda asked: asked.answer(204), "http_204"),
        "/part": (lambda asked: asked.answer(206, body), "http_206"),
    }


def test_what_cannot_be_had_is_left_out_and_named(server: PictureServer, tmp_path: Path) -> None:
    cases = misbehaviour()
    server.routes |= {path: route for path, (route, _) in cases.items()}
    rows = [{"id": path, "title": "=1+1", "image": server.url(path)} for path in cases]
    limits = FetchLimits(
        max_bytes=500_000, retries=2, backoff=0.02, connect=2, read=1, total=4, per_host=8
    )
    result = fetch(server, tmp_path, rows, limits, workers=8)
    expected = {path: code for path, (_, code) in cases.items() if code}
    assert reasons(result) == expected
    kept = {row["id"] for row in result.table.to_pylist()}
    assert kept == {path for path, (_, code) in cases.items() if code is None}
    with (tmp_path / "out/left-out.csv").open(newline="") as file:
        written = {row["id"]: row for row in csv.DictReader(file)}
    assert {name: row["reason"] for name, row in written.items()} == expected
    assert all(row["message"] and row["column"] == "image_uri" for row in written.values())
    # What may pass is tried three times, what may not once.
    assert (server.counts["/broken"], server.counts["/missing"]) == (3, 1)
    assert server.counts["/cut"] == server.counts["/cut-silently"] == 3
    assert server.counts["/html"] == server.counts["/slow"] == 1
    # All that is left of what was refused is its name in the list.
    assert len(list((tmp_path / "out/images").iterdir())) == len(kept)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_heeded(server: PictureServer, tmp_path: Path, form: str) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    asked = {"seconds": "1", "date": at}[form]
    server.routes["/a"] = failing_first([429], png(1), Retry_After=asked)
    start = time.monotonic()
    result = fetch(server, tmp_path, [{"id": "a", "image": server.url("/a")}])
    assert result.table.num_rows == 1
    assert time.monotonic() - start > 0.9


def test_a_server_that_wants_hours_of_rest(server: PictureServer, tmp_path: Path) -> None:
    server.routes["/a"] = failing_first([503] * 9, png(1), Retry_After="86400")
    result = fetch(server, tmp_path, [{"id": "a", "image": server.url("/a")}])
    assert reasons(result) == {"a": "http_503"}
    assert server.counts["/a"] == 1


@pytest.mark.parametrize("further", [0, 7])
def test_as_many_further_tries_as_asked_for(
    server: PictureServer, tmp_path: Path, further: int
) -> None:
    server.routes["/a"] = lambda asked: asked.answer(503)
    limits = replace(QUICK, retries=further, backoff=0.001)
    result = fetch(server, tmp_path, [{"id": "a", "image": server.url("/a")}], limits)
    assert server.counts["/a"] == further + 1
    assert reasons(result) == {"a": "http_503"}


def test_no_more_connections_to_a_host_than_allowed(server: PictureServer, tmp_path: Path) -> None:
    def route(asked: Asked) -> None:
        time.sleep(0.02)
        asked.answer(200, png(1))

    server.routes |= {f"/{number}": route for number in range(20)}
    rows = [{"id": str(number), "image": server.url(f"/{number}")} for number in range(20)]
    limits = FetchLimits(retries=0, per_host=2)
    assert fetch(server, tmp_path, rows, limits, workers=8).fetched == 20
    assert server.most_at_once == 2


def test_a_host_that_is_down_is_not_asked_for_every_picture(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_fetch, "SILENCE", 0.0)
    with serving() as gone:
        place = gone.place
    rows = [{"id": str(number), "image": f"http://{place}/{number}"} for number in range(60)]
    rows.append({"id": "good", "image": server.picture("/a", png(1))})
    source = open_source(write_table(tmp_path, rows))
    fetcher = Fetcher(QUICK, parse_allowed([server.place, place]))
    result = Download(Store.open(str(tmp_path / "out")), fetcher, look_at).run(source)
    codes = list(reasons(result).values())
    assert result.table["id"].to_pylist() == ["good"]
    assert set(codes) == {"unreachable", "host_down"}
    assert codes.count("host_down") > 40


def test_threads_do_not_share_a_deadline(server: PictureServer) -> None:
    """Connections are kept open and used by several threads; each has a time of its own."""
    server.picture("/a", png(1))
    fetcher = Fetcher(FetchLimits(retries=0, total=3), parse_allowed([server.place]))
    fetcher.fetch(server.url("/a"), len)
    time.sleep(3.1)  # less than the five seconds for which a connection is kept
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.append(fetcher.fetch(server.url("/a"), len)[1]), daemon=True
    )
    thread.start()
    thread.join(60)
    assert found == [len(png(1))]
