"""Where a browser finds an object of a collection, for links on other programs' pages."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from catalogs import storage


def web_address(uri: str) -> str | None:
    """Address of an object (a local path or an s3 URL) for a browser; None where it is not known.

    Of S3 it is known where an endpoint is configured, by the run file or by the environment; the
    bucket may still ask the reader for a right to read.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri).absolute().as_uri()
    if scheme not in storage.ALIASES["s3"]:
        return None
    named = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    endpoint = storage.current().s3.endpoint_url or next(filter(None, named), None)
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    host = parts.netloc.rpartition("@")[2]  # a credential has no place on a page
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{quote(rest, errors='replace')}"
