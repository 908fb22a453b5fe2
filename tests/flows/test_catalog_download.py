"""`epa catalog download`: real servers that behave and misbehave, and what the folder holds."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import s3fs
from local_runner import run_locally
from object_server import S3Server
from paintings import painting, tiny_run
from picture_server import Asked, PictureServer, png, serving

from catalogs import download_fetch
from catalogs.catalog import open_source, read_catalog
from catalogs.download import Download, Downloaded
from catalogs.download_fetch import Fetcher, FetchLimits
from catalogs.download_network import parse_allowed
from catalogs.errors import StoreError
from catalogs.images import read_image
from catalogs.store import Store
from flows.downloads import look_at
from tasks.collection import Collection

QUICK = FetchLimits(retries=2, backoff=0.02, connect=2, read=1, total=4, per_host=4)


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as running:
        yield running


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


def test_pictures_masks_and_proxies_are_copied(server: PictureServer, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"work {number}",
            "title": "Ships & <b>",
            "artist": "Anna",
            "image": server.picture(f"/{number}", png(number)),
            "mask": server.picture(f"/m{number}", png(50 + number)),
            "proxy": server.picture(f"/p{number}", png(70 + number)),
            "inventory": f"N{number}",
        }
        for number in range(3)
    ]
    result = fetch(server, tmp_path, rows)
    assert (result.left_out, result.fetched, result.kept) == ([], 9, 0)
    table = read_catalog(tmp_path / "out" / "catalog.parquet")
    for number, row in enumerate(table.to_pylist(maps_as_pydicts="strict")):
        place = Path(row["image_uri"])
        assert place.parent == tmp_path / "out" / "images"
        assert place.name.startswith("anna-ships-b-")
        assert place.name.endswith(f"-{row['image_sha256'][:12]}.png")
        assert place.read_bytes() == png(number)
        assert row["image_sha256"] == hashlib.sha256(png(number)).hexdigest()
        assert row["image_bytes"] == len(png(number))
        assert (row["width"], row["height"], row["image_format"]) == (40, 32, "PNG")
        assert Path(row["mask_uri"]).read_bytes() == png(50 + number)
        assert Path(row["proxy_uri"]).read_bytes() == png(70 + number)
        extra = row["extra"]
        assert extra["image_url"] == server.url(f"/{number}")
        assert extra["mask_sha256"] == hashlib.sha256(png(50 + number)).hexdigest()
        assert extra["proxy_sha256"] == hashlib.sha256(png(70 + number)).hexdigest()
        assert extra["inventory"] == f"N{number}"


def test_a_second_call_asks_the_web_nothing(server: PictureServer, tmp_path: Path) -> None:
    rows = [{"id": str(n), "image": server.picture(f"/{n}", png(n))} for n in range(5)]
    fetch(server, tmp_path, rows)
    before = (tmp_path / "out/catalog.parquet").read_bytes()
    again = fetch(server, tmp_path, rows)
    assert (again.fetched, again.kept) == (0, 5)
    assert server.counts.total() == 5
    assert (tmp_path / "out/catalog.parquet").read_bytes() == before
    for record in (tmp_path / "out").glob("copies/*/*.json"):
        assert json.loads(record.read_bytes())["url"].startswith("http")
    (tmp_path / "out/copies.parquet").write_bytes(b"damaged")
    assert fetch(server, tmp_path, rows).kept == 5
    # A picture that was removed or cut is fetched again, and no other.
    victims = sorted((tmp_path / "out/images").iterdir())[:2]
    victims[0].unlink()
    victims[1].write_bytes(victims[1].read_bytes()[:-5])
    mended = fetch(server, tmp_path, rows)
    assert (mended.fetched, mended.kept) == (2, 3)
    table = read_catalog(tmp_path / "out/catalog.parquet")
    for row in table.to_pylist():
        digest = hashlib.sha256(Path(row["image_uri"]).read_bytes()).hexdigest()
        assert digest == row["image_sha256"]


def test_many_rows_of_one_address_ask_once(server: PictureServer, tmp_path: Path) -> None:
    url = server.picture("/a", png(1))
    result = fetch(server, tmp_path, [{"id": str(n), "image": url} for n in range(10)])
    assert result.table.num_rows == 10
    assert server.counts["/a"] == 1


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


def slow(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", "100000")
    asked.end_headers()
    for _ in range(300):
        asked.wfile.write(b"x" * 10)
        asked.wfile.flush()
        time.sleep(0.05)


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
        max_bytes=500_000, retries=2, backoff=0.02, connect=2, read=0.5, total=1.5, per_host=8
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


def test_the_ending_comes_from_the_bytes(server: PictureServer, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    painting(3).save(file, "JPEG")
    url = server.picture("/a.exe", file.read_bytes())
    result = fetch(server, tmp_path, [{"id": "a", "image": url}])
    row = result.table.to_pylist()[0]
    assert row["image_uri"].endswith(".jpg")
    assert row["image_format"] == "JPEG"


def test_a_work_without_its_mask_is_left_out(server: PictureServer, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "image": server.picture("/a", png(1)), "mask": server.url("/none")},
        {"id": "b", "image": server.picture("/b", png(2)), "mask": None},
    ]
    result = fetch(server, tmp_path, rows)
    assert reasons(result) == {"a": "http_404"}
    assert result.left_out[0].column == "mask_uri"
    assert result.table["id"].to_pylist() == ["b"]


def test_local_pictures_stay_and_other_protocols_are_left_out(
    server: PictureServer, tmp_path: Path
) -> None:
    painting(1).save(tmp_path / "here.png")
    rows = [
        {"id": "here", "image": "here.png"},
        {"id": "store", "image": "s3://bucket/a.png"},
        {"id": "ftp", "image": "ftp://host/a.png"},
        {"id": "user", "image": "http://me:s3cret@host/a.png"},
        {"id": "case", "image": server.picture("/a", png(1)).replace("http", "HTTP")},
    ]
    result = fetch(server, tmp_path, rows)
    assert reasons(result) == {"ftp": "bad_reference", "user": "bad_url"}
    assert "s3cret" not in (tmp_path / "out/left-out.csv").read_text()
    places = {row["id"]: row["image_uri"] for row in result.table.to_pylist()}
    assert places["here"] == str(tmp_path / "here.png")
    assert places["store"] == "s3://bucket/a.png"


def test_a_picture_that_is_not_the_promised_one(server: PictureServer, tmp_path: Path) -> None:
    digest = hashlib.sha256(png(1)).hexdigest()
    rows = [
        {"id": "same", "image": server.picture("/a", png(1)), "sha256": digest.upper()},
        {"id": "other", "image": server.picture("/b", png(2)), "sha256": digest},
    ]
    assert reasons(fetch(server, tmp_path, rows)) == {"other": "source_changed"}


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_heeded(server: PictureServer, tmp_path: Path, form: str) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    asked = {"seconds": "1", "date": at}[form]
    server.routes["/a"] = failing_first([429], png(1), Retry_After=asked)
    start = time.monotonic()
    result = fetch(server, tmp_path, [{"id": "a", "image": server.url("/a")}])
    assert result.table.num_rows == 1
    assert 0.9 < time.monotonic() - start < 4


def test_a_server_that_wants_hours_of_rest(server: PictureServer, tmp_path: Path) -> None:
    server.routes["/a"] = failing_first([503] * 9, png(1), Retry_After="86400")
    result = fetch(server, tmp_path, [{"id": "a", "image": server.url("/a")}])
    assert reasons(result) == {"a": "http_503"}
    assert server.counts["/a"] == 1


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


def test_a_coinciding_name_does_not_hide_a_picture(server: PictureServer, tmp_path: Path) -> None:
    """Twelve digits of a digest can be made to coincide; the file that is there stays as it is."""
    url = server.picture("/a", png(1))
    fetch(server, tmp_path, [{"id": "a", "image": url}])
    file = next((tmp_path / "out/images").iterdir())
    file.write_bytes(b"another picture of the same name")
    row = fetch(server, tmp_path, [{"id": "a", "image": url}]).table.to_pylist()[0]
    assert file.read_bytes() == b"another picture of the same name"
    assert Path(row["image_uri"]).read_bytes() == png(1)


def test_a_store_takes_the_copies(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3Server() as s3:
        for name, value in s3.environment().items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        place = f"{s3.bucket()}/here"
        rows = [{"id": str(n), "image": server.picture(f"/{n}", png(n))} for n in range(4)]
        source = open_source(write_table(tmp_path, rows))
        fetcher = Fetcher(QUICK, parse_allowed([server.place]))
        for kept in (0, 4):
            store = Store.open(place)
            assert Download(store, fetcher, look_at).run(source).kept == kept
        assert server.counts.total() == 4
        # With nothing to fetch: two listings, the records at once, and three objects written.
        assert store.counts.total() <= 7, store.counts
        for row in read_catalog(f"{place}/catalog.parquet").to_pylist():
            assert read_image(row["image_uri"]) == png(int(row["id"]))
            info = s3fs.S3FileSystem().info(row["image_uri"])
            assert info["ContentType"] == "image/png"
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_that_fails_ends_the_download_and_keeps_what_is_there(
    server: PictureServer, tmp_path: Path
) -> None:
    rows = [{"id": str(n), "image": server.picture(f"/{n}", png(n))} for n in range(20)]
    images = tmp_path / "out" / "images"

    def lose_the_folder(asked: Asked) -> None:
        images.rename(tmp_path / "gone")
        images.write_text("a file where the folder was")
        asked.answer(200, png(7))

    asked_for = iter(range(20))
    usual = dict(server.routes)
    for path, route in usual.items():
        server.routes[path] = lambda asked, route=route: (
            lose_the_folder(asked) if next(asked_for) == 5 else route(asked)
        )
    with pytest.raises(StoreError):
        fetch(server, tmp_path, rows, workers=1)
    assert server.counts.total() < 10  # nothing is fetched that cannot be kept
    images.unlink()
    (tmp_path / "gone").rename(images)
    server.routes |= usual
    again = fetch(server, tmp_path, rows)
    assert (again.kept, again.fetched) == (5, 15)


def test_copies_are_animated_and_web_addresses_are_not(
    epa: Any, server: PictureServer, tmp_path: Path
) -> None:
    rows = [
        {"id": str(n), "image": server.picture(f"/{n}", png(n)), "prompt": "the water ripples"}
        for n in range(2)
    ]
    source, out = write_table(tmp_path, rows), tmp_path / "out"
    built = epa("catalog", "build", source, "-o", tmp_path / "web.parquet")
    assert built.code == 0
    assert "epa catalog download" in built.out
    assert set(states(run_locally(tiny_run(tmp_path / "web.parquet", tmp_path / "a"))[1])) == {
        ("failed", "bad_reference")
    }
    assert not server.counts
    assert epa(*command(server, tmp_path / "web.parquet", out)[1:]).code == 0
    done = run_locally(tiny_run(out / "catalog.parquet", tmp_path / "b"))[1]
    assert states(done) == [("done", None)] * 2
    assert server.counts.total() == 2


def states(collection: Collection) -> list[tuple[str, str | None]]:
    rows = collection.ledger.table().to_pylist()
    return [(row["status"], row["code"]) for row in rows]


# -- the command


def command(server: PictureServer, source: Path, out: Path, *more: str) -> list[str]:
    program = str(Path(sys.executable).parent / "epa")
    words = [program, "catalog", "download", str(source), "-o", str(out)]
    return [*words, "--allow-host", server.place, *more]


def test_the_command_reports_and_exits(epa: Any, server: PictureServer, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "title": "A", "image": server.picture("/a", png(1))},
        {"id": "b\x1b[31m", "title": "B", "image": server.url("/none")},
    ]
    source, out = write_table(tmp_path, rows), tmp_path / "out"
    good = epa(*command(server, source, out, "--where", "title = 'A'")[1:])
    assert good.code == 0, good.err
    assert "pictures fetched: 1" in good.out
    part = epa(*command(server, source, out)[1:])
    assert part.code == 1
    assert "left out http_404: 1" in part.out
    assert "here already: 1" in part.out
    assert "left-out.csv" in part.out
    assert "\x1b" not in part.out
    assert epa("catalog", "check", out / "catalog.parquet").code == 0


def test_wrong_calls_are_one_sentence(epa: Any, server: PictureServer, tmp_path: Path) -> None:
    source = write_table(tmp_path, [{"id": "a", "image": server.picture("/a", png(1))}])
    blocker = tmp_path / "file"
    blocker.write_text("")
    for arguments in (
        (source, "-o", tmp_path / "out", "--allow-host", "http://x"),
        (source, "-o", tmp_path / "out", "--contact", "a\nb"),
        (source, "-o", "http://example.org/out"),
        (source, "-o", blocker),
        (tmp_path / "none.csv", "-o", tmp_path / "out"),
    ):
        answer = epa("catalog", "download", *arguments)
        assert answer.code == 2, arguments
        assert answer.err.startswith("epa: ")
        assert len(answer.err.splitlines()) == 1
    assert epa("catalog", "download", source, "-o", tmp_path / "out").code == 1  # not allowed
    assert not server.counts


def test_it_starts_without_torch_and_prefect(server: PictureServer, tmp_path: Path) -> None:
    source = write_table(tmp_path, [{"id": "a", "image": server.picture("/a", png(1))}])
    words = command(server, source, tmp_path / "out")
    code = (
        f"import sys; sys.argv={['epa', *words[1:]]!r}\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch','prefect','diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def slow_pictures(server: PictureServer, count: int) -> list[dict[str, Any]]:
    def route(asked: Asked, number: int) -> None:
        time.sleep(0.05)
        asked.answer(200, png(number))

    for number in range(count):
        server.routes[f"/{number}"] = lambda asked, n=number: route(asked, n)
    return [{"id": str(number), "image": server.url(f"/{number}")} for number in range(count)]


def check_whole(out: Path, count: int) -> None:
    table = read_catalog(out / "catalog.parquet")
    assert table.num_rows == count
    for row in table.to_pylist():
        assert Path(row["image_uri"]).read_bytes() == png(int(row["id"]))


def test_kill_in_the_middle_loses_only_what_was_in_flight(
    server: PictureServer, tmp_path: Path
) -> None:
    count, workers = 60, 3
    source, out = write_table(tmp_path, slow_pictures(server, count)), tmp_path / "out"
    words = command(server, source, out, "--workers", str(workers), "--per-host", "3")
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while len(list(out.glob("copies/*/*.json"))) < 12:
            assert first.poll() is None
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
    finally:
        first.kill()
        first.wait()
    recorded = len(list(out.glob("copies/*/*.json")))
    assert 12 <= recorded < count
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"here already: {recorded}" in done.stdout
    assert server.counts.total() <= count + workers
    check_whole(out, count)


def test_two_at_once_do_no_harm_and_share_the_work(server: PictureServer, tmp_path: Path) -> None:
    count = 60
    source, out = write_table(tmp_path, slow_pictures(server, count)), tmp_path / "out"
    words = command(server, source, out, "--workers", "2")
    both = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)
    ]
    for process in both:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    check_whole(out, count)
    assert len(list((out / "images").iterdir())) == count
    assert server.counts.total() < 1.5 * count


def test_an_interrupt_ends_soon(server: PictureServer, tmp_path: Path) -> None:
    server.routes |= {f"/{number}": slow for number in range(4)}
    rows = [{"id": str(number), "image": server.url(f"/{number}")} for number in range(4)]
    source, out = write_table(tmp_path, rows), tmp_path / "out"
    process = subprocess.Popen(
        command(server, source, out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A test run in the background may have been told to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while not server.counts:
            assert process.poll() is None
            time.sleep(0.02)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) != 0
        assert time.monotonic() - start < 5
    finally:
        process.kill()
        process.wait()


def test_threads_do_not_share_a_deadline(server: PictureServer) -> None:
    """Connections are kept open and used by several threads; each has a time of its own."""
    server.picture("/a", png(1))
    fetcher = Fetcher(FetchLimits(retries=0, total=1.0), parse_allowed([server.place]))
    fetcher.fetch(server.url("/a"), len)
    time.sleep(1.2)
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.append(fetcher.fetch(server.url("/a"), len)[1]), daemon=True
    )
    thread.start()
    thread.join(5)
    assert found == [len(png(1))]
