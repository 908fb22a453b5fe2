"""A bucket on a real S3 server, for whoever asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket; credentials and endpoint lie in the environment, as a user's do."""
    s3fs = pytest.importorskip("s3fs")
    from object_server import S3Server

    with S3Server() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield server.bucket()
        s3fs.S3FileSystem.clear_instance_cache()
