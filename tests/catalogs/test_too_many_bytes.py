"""A file larger than a run takes in is refused by its size; none of it is read."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.builders.probing import probe_rows
from catalogs.errors import TooManyBytes
from catalogs.images import read_image
from catalogs.storage import Storage, configure
from catalogs.validation import ValidationReport

HUGE = 4 << 30


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def taken_in() -> int:
    """Bytes that this process has asked the system for so far, from wherever."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """4 GiB of nothing, of which the disk holds no block."""
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(HUGE)
    return tmp_path / "huge.png"


def test_a_local_file(sparse: Path) -> None:
    read, before = taken_in(), peak()
    with pytest.raises(TooManyBytes, match=f"{HUGE} bytes; 1000000000 are allowed"):
        read_image(str(sparse), max_bytes=1_000_000_000)
    assert taken_in() - read < 64 << 20
    assert peak() - before < 64 << 20


def test_exactly_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    assert read_image("a.png", str(tmp_path), max_bytes=5) == b"12345"
    with pytest.raises(TooManyBytes):
        read_image("a.png", str(tmp_path), max_bytes=4)


def test_a_catalog_hashes_a_file_without_holding_it(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(512 << 20)
    before = peak()
    rows = [{"image_uri": str(tmp_path / "large.png")}]
    report = ValidationReport(source="here")
    probe_rows(rows, report)
    assert rows[0]["image_bytes"] == 512 << 20
    assert report.flagged == {"unreadable": 1}
    assert peak() - before < 128 << 20


def test_a_picture_inside_a_table(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": b"x" * 100, "path": None}]})
    pq.write_table(table, tmp_path / "t.parquet")
    reference = f"parquet://{tmp_path}/t.parquet#row_group=0&row=0"
    assert len(read_image(reference, max_bytes=100)) == 100
    with pytest.raises(TooManyBytes):
        read_image(reference, max_bytes=99)


class Huge(BaseHTTPRequestHandler):
    """A store whose every object is huge; it notes how many bytes each request wants."""

    wanted: list[int]

    def do_GET(self) -> None:
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        self.wanted.append(int(last) - int(first) + 1)
        self.send_response(206)
        self.send_header("Content-Length", str(self.wanted[-1]))
        self.send_header("Content-Range", f"bytes {first}-{last}/{HUGE}")
        self.end_headers()
        self.wfile.write(bytes(self.wanted[-1]))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    Huge.wanted = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Huge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    endpoint = f"http://127.0.0.1:{server.server_port}"
    there = {"endpoint_url": endpoint, "path_style": True, "region": "x"}
    configure(Storage.model_validate({"s3": there, "patience": 1, "timeout": 5}))
    yield Huge.wanted
    server.shutdown()
    server.server_close()
    configure(Storage())


def test_an_object_of_a_store(bucket: list[int]) -> None:
    with pytest.raises(TooManyBytes, match="more than 1000 bytes"):
        read_image("s3://bucket/huge.png", max_bytes=1_000)
    assert bucket == [1_001]  # in one request
