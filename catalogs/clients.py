"""The clients of the object stores, each asked to try a request once and to remember no listing."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from catalogs import storage
from catalogs.addresses import PROTOCOLS
from catalogs.errors import ConfigError

# Protocol -> the extra that brings its client.
_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}


def open_filesystem(url: str, options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The fsspec filesystem of a URL and the path inside it. Makes no request.

    It tries each request once: `retries.attempt` alone decides what is tried again.

    ConfigError where its package is missing; ValueError, TypeError as the client has them.
    """
    import fsspec

    settings = storage.current()
    protocol = url.partition("://")[0]
    family = PROTOCOLS.get(protocol, "")
    try:
        if family == "gs":
            _plain_google()
        filesystem, root = fsspec.core.url_to_fs(url, **(options or {}))
    except ImportError as error:
        extra = _EXTRAS.get(family)
        hint = f"pip install 'epa[{extra}]'" if extra else str(error)
        raise ConfigError(f"{protocol}:// needs an extra: {hint}.") from error
    if family == "s3":
        filesystem.retries = 1
    elif family == "gs":
        _google_once(filesystem)
    elif family == "az":
        _azure_once(filesystem, settings)
    return filesystem, str(root)


def _plain_google() -> None:
    """Take gcsfs' class for plain buckets.

    Its other one asks for each bucket's kind by gRPC first, and tries that for a minute where
    nobody answers.
    """
    import fsspec

    plain = importlib.import_module("gcsfs.core").GCSFileSystem
    for name in ("gs", "gcs"):
        fsspec.register_implementation(name, plain, clobber=True)


def _google_once(filesystem: Any) -> None:
    # gcsfs has no setting for it: the number of tries is in the decorator of this one method.
    bare = getattr(type(filesystem)._request, "__wrapped__", None)
    if bare is not None:
        filesystem._request = partial(bare, filesystem)


def _azure_once(filesystem: Any, settings: storage.Storage) -> None:
    endpoint = settings.az.endpoint_url
    if endpoint and endpoint.startswith("http://") and not filesystem.connection_string:
        _speak_http(filesystem, endpoint)
    config = filesystem.service_client._config
    config.retry_policy.total_retries = 0
    connection = getattr(filesystem.service_client._pipeline._transport, "connection_config", None)
    if connection is not None:  # also of requests that adlfs passes no time-out to
        connection.timeout = min(settings.timeout, connection.timeout)
        connection.read_timeout = settings.timeout


def _speak_http(filesystem: Any, endpoint: str) -> None:
    """adlfs speaks https to every host; a store of one's own may have no certificate."""
    blob = importlib.import_module("azure.storage.blob.aio")
    if not str(filesystem.service_client.url).startswith("http://"):
        query = filesystem.sas_token or ""
        query = query if not query or query.startswith("?") else f"?{query}"
        filesystem.account_url = endpoint
        filesystem.service_client = blob.BlobServiceClient(
            account_url=endpoint.rstrip("/") + query,
            credential=filesystem.credential or filesystem.account_key,
        )
