"""A real S3 server for tests, spoken to over the wire: moto in a thread."""

from __future__ import annotations

import logging
import secrets
from typing import Self

import boto3
import pytest

moto_server = pytest.importorskip("moto.server")
pytest.importorskip("s3fs")


class S3Server:
    """An S3 server on a free port, as a context manager."""

    def __init__(self) -> None:
        self._server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def __enter__(self) -> Self:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for each request
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://{self.host}:{self.port}"

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What a client's environment must say to reach it, by itself or through a proxy."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint or self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self) -> str:
        """URL of a new, empty bucket: moto's buckets outlive their server."""
        name = f"faults-{secrets.token_hex(8)}"
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=name)
        return f"s3://{name}"
