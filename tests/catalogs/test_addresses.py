"""What a catalog may name: local files and object stores, nothing else that fsspec could reach."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalogs.addresses import absolute, check_address
from catalogs.builders import build_huggingface, build_table
from catalogs.catalog import build_source, open_source, read_catalog, write_catalog
from catalogs.errors import ConfigError
from catalogs.images import read_file, read_image
from catalogs.prompts import assign_prompts
from catalogs.schema import table_from_rows
from catalogs.validation import check_table

HOSTILE = [
    "simplecache::{web}",
    "filecache::{web}",
    "blockcache::{web}",
    "zip://a.jpg::{web}",
    "tar://a.jpg::memory://x.tar",
    "simplecache::/etc/passwd",
    "s3://bucket/a::{web}",
    "{web}",
    "HTTP://127.0.0.1/a.jpg",
    "github://owner:repo@main/a.jpg",
    "ftp://127.0.0.1/a.jpg",
    "sftp://127.0.0.1/a.jpg",
    "local:///etc/passwd",
    "data://image/png;base64,AAAA",
    "reference://x",
]
FINE = ["a b.jpg", "/a/b:c.jpg", "/a/b::c.jpg", "./a::b", "file:///a.jpg", "memory://a", "s3://b/a",
        "s3a://b/a", "gs://b/a", "gcs://b/a", "az://b/a", "abfs://b/a", "abfss://b/a", "adl://b/a",
        "hf://datasets/o/n/a.parquet"]  # fmt: skip


@pytest.fixture
def web() -> Iterator[str]:
    """A server that nobody may ask."""
    asked: list[str] = []

    class Secret(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"secret")

        do_HEAD = do_GET

    server = http.server.HTTPServer(("127.0.0.1", 0), Secret)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret.parquet"
    server.shutdown()
    server.server_close()
    assert asked == []


@pytest.mark.parametrize("uri", HOSTILE)
def test_what_is_no_file_and_no_store_is_refused(uri: str, web: str) -> None:
    uri = uri.format(web=web)
    for text in (uri, f"parquet://{uri}#row_group=0&row=0"):
        with pytest.raises(ConfigError, match=r"is on the web|is not opened|are not opened"):
            read_image(text)
    with pytest.raises(ConfigError):
        read_file(uri)
    with pytest.raises(ConfigError):
        read_image("a.jpg", root=uri)


@pytest.mark.parametrize("uri", [uri for uri in HOSTILE if "etc" not in uri])
def test_sources_and_targets_obey_the_same_list(uri: str, web: str) -> None:
    uri = f"{uri.format(web=web)}/t.parquet"
    table = table_from_rows([{"id": "a", "image_uri": "a.jpg"}])
    for use in (build_source, open_source, read_catalog, build_table, build_huggingface):
        with pytest.raises(ConfigError):
            use(uri)
    with pytest.raises(ConfigError):
        write_catalog(table, uri)
    with pytest.raises(ConfigError):
        assign_prompts(table, overrides=uri)


@pytest.mark.parametrize("uri", FINE)
def test_files_and_stores_are_allowed(uri: str) -> None:
    assert check_address(uri) == uri


def test_a_check_of_a_catalog_names_them(tmp_path: Path) -> None:
    (tmp_path / "here.jpg").write_bytes(b"x")
    uris = [
        *("zip://a::http://x/y", "parquet://ftp://h/a#row_group=0&row=0", "https://x/y.jpg"),
        *("parquet:///a.parquet#row_group=0&row=0", "s3://b/a", "a.jpg"),
        *(str(tmp_path / "here.jpg"), str(tmp_path / "gone.jpg")),
    ]
    table = table_from_rows([{"id": f"{n}", "image_uri": uri} for n, uri in enumerate(uris)])
    assert check_table(table, "t").flagged == {"bad_reference": 3, "missing_file": 1}


def test_a_references_file_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'parquet' is not opened"):
        read_image("parquet://parquet:///a#row_group=0&row=0#row_group=0&row=0")


def test_absolute_paths_have_no_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("a/../b/./c.jpg") == tmp_path / "b" / "c.jpg"
    (tmp_path / "link").symlink_to("/")
    assert absolute("link/x") == tmp_path / "link" / "x"
