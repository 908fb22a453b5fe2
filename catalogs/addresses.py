"""Where catalogs, tables and images may lie, and what their addresses mean."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from catalogs import retries
from catalogs.credentials import redact, refuse_credentials
from catalogs.errors import ConfigError
from catalogs.store_errors import status_of

PARQUET = "parquet://"
# Local files and object stores. Whatever else fsspec speaks (the web, archives, caches, chains)
# would let a catalog of unknown origin reach what is none of its business.
PROTOCOLS = {
    "file": "file",
    **{"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"},
    **{"az": "az", "abfs": "az", "abfss": "az", "adl": "az"},
    "hf": "hf",
    "memory": "memory",
}
_PLAIN = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_CHAIN = re.compile(r"[A-Za-z0-9_.+-]+::")
_listed = frozenset(PROTOCOLS.values())  # what this process may read from
_own: str | None = None  # the collection's own place, which may be read whatever its protocol is


def allow(protocols: Iterable[str] | None, own: str | None = None) -> None:
    """Let this process read catalogs, tables and pictures by these protocols only (None: by all).

    What lies below `own` may be read all the same: a collection reads its own catalog.
    """
    global _listed, _own
    _listed = frozenset(PROTOCOLS.values() if protocols is None else {*protocols, "memory"})
    _own = own.rstrip("/") if own else None


def check_address(uri: str) -> str:
    """The address itself when it may be opened: a path, or a URL of one of the listed protocols.

    Raises ConfigError for all else: the web (downloading is a step of its own), other protocols,
    fsspec's chains ("::"), and addresses that hold credentials, which are not repeated.
    """
    protocol, separator, _ = uri.partition("://")
    shown = repr(redact(uri))
    if _CHAIN.match(uri) or (separator and "::" in uri):
        raise ConfigError(
            f"{shown}: chained addresses (::) are not opened; "
            f"allowed are paths and {_allowed()} URLs."
        )
    if protocol in ("http", "https") and separator:
        raise ConfigError(
            f"{shown} is on the web; downloading is a separate step, "
            "a catalog to animate names local files or a store."
        )
    family = PROTOCOLS.get(protocol) if separator else "file"
    if family is None:
        raise ConfigError(
            f"{shown}: the protocol {protocol!r} is not opened; "
            f"allowed are paths and {_allowed()} URLs."
        )
    if family not in _listed and not _is_own(uri):
        raise ConfigError(
            f"{shown} is not opened: {family!r} is not in execution.protocols "
            f"({', '.join(sorted(_listed - {'memory'})) or 'none'})."
        )
    return refuse_credentials(uri)


def own() -> str | None:
    """The place of the collection that this process is about, where one was opened."""
    return _own


def _is_own(uri: str) -> bool:
    if _own is None:
        return False
    if "://" in _own:
        return uri.startswith(f"{_own}/") and ".." not in uri.split("/")
    path, own = local_path(uri), local_path(_own)
    return path is not None and own is not None and absolute(path).is_relative_to(absolute(own))


def store_name(url: str) -> str | None:
    """The store behind a URL, by protocol and bucket; None for what lies here or in memory."""
    protocol, separator, rest = url.partition("://")
    family = PROTOCOLS.get(protocol) if separator else None
    if family in (None, "file", "memory"):
        return None
    return f"{family}://{rest.partition('/')[0]}"


def _allowed() -> str:
    return ", ".join(sorted(PROTOCOLS))


@dataclass(frozen=True)
class ParquetRef:
    """Where an image lies inside a Parquet file; `row` counts from the row group's start.

    `version` tells the file from a later one of the same name; reading does not look at it.
    """

    path: str
    row_group: int
    row: int
    column: str = "image"
    version: str = ""

    def uri(self) -> str:
        """The reference as text: parquet://path#row_group=3&row=17."""
        column = "" if self.column == "image" else f"&column={self.column}"
        version = f"&version={self.version}" if self.version else ""
        return f"{PARQUET}{self.path}#row_group={self.row_group}&row={self.row}{column}{version}"


def parse_ref(uri: str) -> ParquetRef:
    """The parts of a parquet:// reference; raises ConfigError for one that is not complete."""
    path, _, fragment = uri.removeprefix(PARQUET).rpartition("#")
    values = dict(parse_qsl(fragment))
    try:
        group, row = int(values["row_group"]), int(values["row"])
    except (KeyError, ValueError):
        group = row = -1
    if not path or group < 0 or row < 0:
        raise ConfigError(
            f"image_uri: {uri!r} is no Parquet reference; it reads "
            "parquet://PATH#row_group=NUMBER&row=NUMBER."
        )
    return ParquetRef(path, group, row, values.get("column", "image"), values.get("version", ""))


def local_path(uri: str) -> Path | None:
    """The local path that a path or file:// URL names; null for any other URL."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri else Path(uri)


# Links that lead in a circle, names longer than any: the catalog's fault, not the disk's.
_NO_PATH = {errno.ELOOP, errno.ENAMETOOLONG}


def plain_stat(path: Path) -> os.stat_result:
    """What the system says of a file or folder; ConfigError for a pipe, device or socket.

    Opening those may wait for ever, or set something off.
    """
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in _NO_PATH:
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
        raise
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise ConfigError(f"{str(path)!r} is no plain file; pipes and devices are not read.")
    return found


def read_plain(path: Path) -> bytes:
    """All bytes of a file; errors as `plain_stat` and opening have them."""
    plain_stat(path)
    return path.read_bytes()


def join(uri: str, root: str | None) -> str:
    """The uri below the root, unless it stands alone (absolute or a URL)."""
    if not root or "://" in uri or Path(uri).is_absolute():
        return uri
    return f"{root.rstrip('/')}/{uri}"


def open_url(uri: str) -> Any:
    """An open binary file of a URL that `check_address` allows; else raises ConfigError."""
    filesystem, path = filesystem_of(uri)
    return open_patiently(filesystem, path, uri)


def open_patiently(filesystem: Any, path: str, uri: str) -> Any:
    """An open binary file whose store is waited for, when it is opened and at every read.

    Reads raise StoreError; opening also FileNotFoundError, PermissionError.
    """
    store = store_name(uri)
    stream = retries.attempt(
        lambda: filesystem.open(path, "rb"), f"opening {uri}", expected=_PLAIN, store=store
    )
    fetch = getattr(getattr(stream, "cache", None), "fetcher", None)
    if store is not None and fetch is not None:

        def patient(start: int, end: int) -> Any:
            return retries.attempt(
                lambda: fetch(start, end), f"reading {uri}", expected=_PLAIN, store=store
            )

        stream.cache.fetcher = patient
    return stream


def read_url(uri: str, most: int | None = None) -> bytes:
    """All bytes of a URL that `check_address` allows, or the first `most`; one request."""
    filesystem, path = filesystem_of(uri)
    if most is None:
        # s3fs asks for the size first unless told that one stream is enough.
        single = {"max_concurrency": 1} if PROTOCOLS[uri.partition("://")[0]] == "s3" else {}
        return bytes(filesystem.cat_file(path, **single))
    try:
        return bytes(filesystem.cat_file(path, start=0, end=most))
    except Exception as error:
        if status_of(error) == 416:  # no range of an empty object can be had
            return b""
        raise


def filesystem_of(location: str) -> tuple[Any, str]:
    """The fsspec filesystem of an allowed address and the path inside it; else ConfigError."""
    import fsspec

    from catalogs.clients import open_filesystem

    path = local_path(check_address(location))
    if path is not None:  # never parsed as a URL: a folder's name may hold anything
        return fsspec.filesystem("file"), str(absolute(path))
    try:
        return open_filesystem(location)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{location}: this cannot be opened: {redact(str(error))}.") from error


def absolute(path: str | Path) -> Path:
    """The path from the root on, without `..`; nothing is looked up, so links stay."""
    whole = Path(path).expanduser().absolute()
    # Most have none, and some versions of normpath end at a NUL and would name another file.
    return whole if ".." not in whole.parts or "\0" in str(whole) else Path(os.path.normpath(whole))
