"""Where catalogs, tables and images may lie, and what their addresses mean."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from catalogs.errors import ConfigError

PARQUET = "parquet://"
# Local files and object stores. Whatever else fsspec speaks (the web, archives, caches, chains)
# would let a catalog of unknown origin reach what is none of its business.
PROTOCOLS = frozenset(
    ["file", "memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf"]
)
_CHAIN = re.compile(r"[A-Za-z0-9_.+-]+::")


def check_address(uri: str) -> str:
    """The address itself when it may be opened: a path, or a URL of one of PROTOCOLS.

    Raises ConfigError for all else: the web (downloading is a step of its own), other protocols,
    and fsspec's chains ("::").
    """
    protocol, separator, _ = uri.partition("://")
    if _CHAIN.match(uri) or (separator and "::" in uri):
        raise ConfigError(
            f"{uri!r}: chained addresses (::) are not opened; "
            f"allowed are paths and {_allowed()} URLs."
        )
    if protocol in ("http", "https") and separator:
        raise ConfigError(
            f"{uri!r} is on the web; downloading is a separate step, "
            "a catalog to animate names local files or a store."
        )
    if separator and protocol not in PROTOCOLS:
        raise ConfigError(
            f"{uri!r}: the protocol {protocol!r} is not opened; "
            f"allowed are paths and {_allowed()} URLs."
        )
    return uri


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


def plain_stat(path: Path) -> os.stat_result:
    """What the system says of a file or folder; ConfigError for a pipe, device or socket.

    Opening those may wait for ever, or set something off.
    """
    found = path.stat()
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
    import fsspec

    try:
        return fsspec.open(check_address(uri), "rb").open()
    except ImportError as error:
        raise ConfigError(f"{uri!r} needs another package: {error}.") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{uri!r} cannot be opened: {error}.") from error


def filesystem_of(location: str) -> tuple[Any, str]:
    """The fsspec filesystem of an allowed address and the path inside it; else ConfigError."""
    import fsspec

    path = local_path(check_address(location))
    if path is not None:  # never parsed as a URL: a folder's name may hold anything
        return fsspec.filesystem("file"), str(absolute(path))
    try:
        filesystem, root = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{location}: this cannot be opened: {error}.") from error
    return filesystem, str(root)


def absolute(path: str | Path) -> Path:
    """The path from the root on, without `..`; nothing is looked up, so links stay."""
    whole = Path(path).expanduser().absolute()
    # Most have none, and some versions of normpath end at a NUL and would name another file.
    return whole if ".." not in whole.parts or "\0" in str(whole) else Path(os.path.normpath(whole))
