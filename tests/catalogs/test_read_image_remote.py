"""Pictures on S3: what is missing, what is forbidden, and a server that does not answer."""

import errno
import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import virtual_clock
from fsspec.implementations.memory import MemoryFileSystem
from virtual_clock import VirtualClock

from catalogs import images, retries
from catalogs.addresses import ParquetRef
from catalogs.builders import build_huggingface, build_table
from catalogs.catalog import build_source, write_catalog
from catalogs.errors import ConfigError, StoreError
from catalogs.images import read_file, read_image
from catalogs.schema import table_from_rows

s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualClock]:
    """Tries follow each other at once; credentials come from the environment."""
    clock = virtual_clock.install(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    images._open_group.cache_clear()
    yield clock
    images._open_group.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3fs.S3FileSystem().mkdir("pictures")
    yield "s3://pictures"
    server.stop()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": [{"bytes": b"one", "path": None}]}), sink)
    return sink.getvalue()


def test_what_is_there_and_what_is_not(bucket: str) -> None:
    s3fs.S3FileSystem().pipe({f"{bucket}/a.jpg": b"x", f"{bucket}/t.parquet": parquet_bytes()})
    assert read_image(f"{bucket}/a.jpg") == b"x"
    assert read_image(f"parquet://{bucket}/t.parquet#row_group=0&row=0") == b"one"
    for uri in (f"{bucket}/b.jpg", f"parquet://{bucket}/u.parquet#row_group=0&row=0"):
        with pytest.raises(FileNotFoundError):
            read_image(uri)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("uri", ["s3://b/a.jpg", "parquet://s3://b/a.parquet#row_group=0&row=0"])
def test_a_server_that_is_down_is_a_store_error(uri: str, clock: VirtualClock) -> None:
    with pytest.raises(StoreError, match="Could not connect"):
        read_image(uri)
    assert sum(clock.slept) == pytest.approx(180)  # the patience nobody changed
    assert max(clock.slept) <= retries.LONGEST
    for build in (build_table, build_source, build_huggingface):
        with pytest.raises(ConfigError, match="Could not connect"):
            build("s3://b/t.parquet")
    with pytest.raises(StoreError, match="Could not connect"):
        write_catalog(table_from_rows([{"id": "a", "image_uri": "a.jpg"}]), "s3://b/t.parquet")


class Blips:
    """Failures a filesystem has before it answers."""

    def __init__(self) -> None:
        self.left = 0
        self.error: type[OSError] = ConnectionResetError

    def strike(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error(errno.EIO, "blip")


@pytest.fixture
def blips(monkeypatch: pytest.MonkeyPatch) -> Blips:
    fsspec.filesystem("memory").pipe({"/blip/a": b"x", "/blip/t.parquet": parquet_bytes()})
    blips = Blips()

    def shaky(stock: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            blips.strike()
            return stock(*args, **kwargs)

        return act

    for name in ("_open", "cat_file"):
        monkeypatch.setattr(MemoryFileSystem, name, shaky(getattr(MemoryFileSystem, name)))
    return blips


def test_a_blip_is_waited_for(blips: Blips) -> None:
    blips.left = retries.TRIES - 1
    assert read_file("memory://blip/a") == b"x"
    blips.left = retries.TRIES - 1
    assert read_image("parquet://memory://blip/t.parquet#row_group=0&row=0") == b"one"
    blips.left = retries.TRIES
    with pytest.raises(StoreError, match="reading 'memory://blip/a' failed"):
        read_file("memory://blip/a")


def test_what_is_forbidden_stays_forbidden_at_once(blips: Blips) -> None:
    blips.error = PermissionError
    for uri in ("memory://blip/a", "parquet://memory://blip/t.parquet#row_group=0&row=0"):
        blips.left = 2
        with pytest.raises(PermissionError):
            read_image(uri)
        assert blips.left == 1


def test_a_group_is_read_on_after_a_failed_read(tmp_path: Path) -> None:
    values = [{"bytes": b"%d" % n, "path": None} for n in range(40)]
    pq.write_table(pa.table({"image": values}), tmp_path / "t.parquet")
    group = images._RowGroup(ParquetRef(str(tmp_path / "t.parquet"), 0, 0))

    def broken() -> Iterator[object]:
        raise ConnectionResetError
        yield

    group.batches, group.next_batch = broken(), 0
    with pytest.raises(ConnectionResetError):
        group.value(20)
    assert group.value(20)["bytes"] == b"20"
