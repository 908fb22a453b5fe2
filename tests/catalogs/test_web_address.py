"""Links that people follow from Prefect's pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalogs.storage import Storage, configure
from catalogs.web_address import web_address


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    configure(Storage())
    yield
    configure(Storage())


def test_a_local_file() -> None:
    assert web_address("/data/my art/index.html") == "file:///data/my%20art/index.html"


def test_s3_where_an_endpoint_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "s3://art/van gogh #1/index.html"
    assert web_address(uri) is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:secret@store.museum:9000/")
    path = "/art/van%20gogh%20%231/index.html"
    assert web_address(uri) == f"http://store.museum:9000{path}"
    # What the run file says comes first.
    configure(Storage.model_validate({"s3": {"endpoint_url": "https://minio.museum"}}))
    assert web_address(uri) == f"https://minio.museum{path}"


@pytest.mark.parametrize("uri", ["gs://art/index.html", "az://art/index.html"])
def test_elsewhere_it_is_not_known(uri: str) -> None:
    assert web_address(uri) is None
