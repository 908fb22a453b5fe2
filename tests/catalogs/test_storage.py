"""The settings of stores: what is allowed, what is refused, and that no credential is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from catalogs import storage
from catalogs.addresses import check_address
from catalogs.builders.source import _refuse_credentials
from catalogs.catalog import build_source, open_source, read_catalog, write_catalog
from catalogs.credentials import holds_credentials, redact
from catalogs.errors import ConfigError
from catalogs.images import read_image
from catalogs.schema import table_from_rows
from catalogs.storage import Storage, configure
from tasks.runfile import load_run_file, parse_run

SECRET = "MARKED" + "SECRET0123456789"


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    configure(Storage())


@pytest.mark.parametrize(
    "tree",
    [
        {"s3": {"key": SECRET}},
        {"s3": {"secret": SECRET}},
        {"s3": {"aws_secret_access_key": SECRET}},
        {"s3": {"token": SECRET}},
        {"az": {"sas_token": SECRET}},
        {"az": {"account_key": SECRET}},
        {"az": {"connection_string": SECRET}},
        {"gs": {"token": SECRET}},
        {"password": SECRET},
        {"s3": {"endpoint_url": f"https://key:x/{SECRET}@minio:9000"}},
        {"s3": {"endpoint_url": f"https://key:{SECRET}@minio:9000"}},
        {"az": {"endpoint_url": f"https://a.blob.core.windows.net/?sig={SECRET}"}},
    ],
)
def test_credentials_are_refused_and_not_repeated(tree: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="come from the environment or the client's") as caught:
        parse_run({"catalog": "c.parquet", "output": "out", "storage": tree})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"s3": {"endpoint": "x"}}, "did you mean 'endpoint_url'"),
        ({"s3": {"endpoint_url": "minio:9000"}}, "is no http"),
        ({"timeout": 0}, "greater than 0"),
    ],
)
def test_other_mistakes_are_said_as_ever(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_run({"catalog": "c.parquet", "output": "out", "storage": tree})


ADDRESSES = [
    f"s3://KEY:{SECRET}/rest+of/it=@bucket/x",
    f"gs://KEY:12/{SECRET}@bucket/x",
    f"https://KEY:/{SECRET}@host:9000/x",
    f"s3://{SECRET}/rest@bucket/x",
    f"s3://KEY:{SECRET}@bucket/x",
    f"s3://{SECRET}@bucket/x",
    f"s3://bucket/x?X-Amz-Signature={SECRET}&X-Amz-Date=1",
    f"az://box/x?sv=2024&sig={SECRET}",
    f"gs://bucket/x?X-Goog-Signature={SECRET}",
    f"https://host/x?sig={SECRET}",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_with_credentials_are_refused_everywhere(address: str, tmp_path: Path) -> None:
    table = table_from_rows([{"id": "a", "image_uri": "a.jpg"}])
    uses = [
        lambda: check_address(address),
        lambda: read_image(address),
        lambda: read_image(f"parquet://{address}#row_group=0&row=0"),
        lambda: build_source(f"{address}/t.parquet"),
        lambda: read_catalog(f"{address}/t.parquet"),
        lambda: write_catalog(table, f"{address}/t.parquet"),
        lambda: load_run_file(f"{address}/run.yaml"),
    ]
    for use in uses:
        with pytest.raises(ConfigError) as caught:
            use()
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("field", ["catalog", "output"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_run_with_such_an_address_is_refused(address: str, field: str) -> None:
    with pytest.raises(ConfigError, match="holds credentials") as caught:
        parse_run({"catalog": "c.parquet", "output": "out", field: address})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_catalog_with_such_an_address_is_refused(address: str, tmp_path: Path) -> None:
    table = table_from_rows([{"id": "a", "image_uri": "a.jpg"}, {"id": "b", "image_uri": address}])
    write_catalog(table, tmp_path / "c.parquet")
    with pytest.raises(ConfigError, match="image_uri of 'b' holds credentials") as caught:
        open_source(tmp_path / "c.parquet")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        *("s3://bucket/what?.jpg", "/pictures/a?sig=1.jpg", "abfs://box@account.dfs.x/a"),
        *("hf://gpt2@main/x", "hf://datasets/o/n@v1/x", "s3://bucket/mail@host:1/x"),
        *("s3://bucket/a@b.jpg", "gs://bucket/A/b:c@d", "az://box/a@b", "abfs://box@acc.x/a@b:c"),
        *(
            "https://host:8080/a@b",
            "https://host:8080?a@b",
            "http://[::1]:80/a@b",
            "https://h/a:b@c",
        ),
        "s3://arn:aws:s3:eu-north-1:123:accesspoint/museum/a@b.jpg",
        *("parquet://s3://b/x#row_group=1&row=2&column=key", "parquet://s3://b/x@y.parquet#row=2"),
    ],
)
def test_innocent_addresses_are_no_credentials(address: str) -> None:
    assert not holds_credentials(address)


AWS_SECRETS = st.text("ABCXYZabcxyz0189/+=", min_size=16, max_size=40)


@given(st.sampled_from(["s3", "S3", "s3a", "gs", "gcs", "az", "abfs", "https"]), AWS_SECRETS)
def test_no_secret_hides_behind_its_slashes(scheme: str, secret: str) -> None:
    """But for those that begin as a port or another address does, where URLs have these."""
    if scheme == "https":
        assume(not secret.startswith("//") and not secret.partition("/")[0].isdigit())
    address = f"{scheme}://AKIAIOSFODNN7EXAMPLE:{secret}@bucket/out"
    assert holds_credentials(address)
    assert redact(f"put to '{address}' failed") == f"put to '{scheme}://***@bucket/out' failed"
    table = table_from_rows([{"id": "a", "image_uri": address}])
    with pytest.raises(ConfigError, match="image_uri of 'a' holds credentials") as caught:
        _refuse_credentials(table)
    assert secret not in str(caught.value)


def test_texts_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    texts = [
        f"the key {SECRET} is wrong",
        "GET https://a.blob.core.windows.net/x?sv=1&sig=abc%3D&se=2",
        "AccountName=x;AccountKey=abcdef==;EndpointSuffix=y",
        "{'aws_secret_access_key': 'abcdef'}",
        "Authorization: Bearer abcdef",
        "Authorization: Basic YWJjOmFiYw==",
        "Basic dXNlcjphYmM=",
        "connect(key='K', secret_key='ab/abc+=', secret='abcdef')",
        "{'secret_key': 'x abcdef', \"token\": \"abc, abc\"}",
        "AZURE_STORAGE_ACCOUNT_KEY=abc/abc==;x",
        "client_secret: abcdef",
        "password=abc",
        "s3://user:abcdef@host",
        "s3://AKIA:abc/abc@host",
    ]
    for text in texts:
        shown = redact(text)
        assert "abc" not in shown
        assert SECRET not in shown
        assert "***" in shown
    for innocent in (
        "get of a/b in s3://bucket/out failed: 404",
        "basic authentication failed",
        "Unexpected token: }",
        "get of https://host:8080/mail@host",
        "the secret of the sea: key=a1b2",
    ):
        assert redact(innocent) == innocent


def test_settings_become_fsspecs_own() -> None:
    settings = {
        "s3": {"endpoint_url": "http://minio:9000", "path_style": True, "region": "eu-north-1"},
        "az": {"account_name": "museum", "endpoint_url": "https://blobs.example/museum"},
        "gs": {"project": "p", "anonymous": True},
        "timeout": 9,
    }
    configure(Storage.model_validate(settings))
    conf = fsspec.config.conf
    for alias in ("s3", "s3a"):
        assert conf[alias]["endpoint_url"] == "http://minio:9000"
        assert conf[alias]["config_kwargs"]["s3"] == {"addressing_style": "path"}
        assert conf[alias]["config_kwargs"]["retries"]["total_max_attempts"] == 1
        assert conf[alias]["client_kwargs"] == {"region_name": "eu-north-1"}
    for alias in ("az", "abfs", "abfss"):
        assert conf[alias]["account_host"] == "blobs.example/museum"
        assert conf[alias]["read_timeout"] == 9
    for alias in ("gs", "gcs"):
        assert conf[alias]["token"] == "anon"
        assert conf[alias]["requests_timeout"] == 9
    configure(Storage())
    assert "endpoint_url" not in conf["s3"]
    assert "token" not in conf["gs"]


def test_the_users_own_configuration_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"s3": {"requester_pays": True, "config_kwargs": {"max_pool_connections": 5}}}
    monkeypatch.setattr(storage, "_users", lambda: theirs)
    configure(Storage(timeout=3))
    assert fsspec.config.conf["s3"]["requester_pays"] is True
    assert fsspec.config.conf["s3"]["config_kwargs"]["max_pool_connections"] == 5
    assert fsspec.config.conf["s3"]["config_kwargs"]["read_timeout"] == 3


def test_only_listed_protocols_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    configure(Storage(), ["s3", "az"])
    for fine in ("s3://b/a", "s3a://b/a", "az://b/a", "abfs://b/a", "memory://x"):
        assert check_address(fine) == fine
    for refused in ("gs://b/a", "gcs://b/a", "hf://datasets/o/n/x", str(tmp_path / "a.jpg")):
        with pytest.raises(ConfigError, match=r"is not in execution\.protocols \(az, s3\)"):
            read_image(refused)
    with pytest.raises(ConfigError, match="'file' is not in execution"):
        build_source(tmp_path)
    configure(Storage())
    assert read_image(str(tmp_path / "a.jpg")) == b"x"


def test_a_collection_reads_its_own_catalog_whatever_is_listed(tmp_path: Path) -> None:
    table = table_from_rows([{"id": "a", "image_uri": "s3://b/a.jpg"}])
    write_catalog(table, tmp_path / "out" / "catalog.parquet")
    (tmp_path / "b.jpg").write_bytes(b"x")
    configure(Storage(), ["s3"], own=str(tmp_path / "out"))
    assert read_catalog(tmp_path / "out" / "catalog.parquet").num_rows == 1
    for other in (tmp_path / "b.jpg", tmp_path / "out" / ".." / "b.jpg"):
        with pytest.raises(ConfigError, match="'file' is not in"):
            read_image(str(other))
    configure(Storage(), ["file"], own="s3://b/out")
    assert check_address("s3://b/out/catalog/catalog.parquet")
    for other in ("s3://b/other/x", "s3://b/outer/x", "s3://b/out/../x"):
        with pytest.raises(ConfigError, match="'s3' is not in"):
            check_address(other)
