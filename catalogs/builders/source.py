"""Which builder a path belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalogs.addresses import check_address, local_path, open_url
from catalogs.builders.folder import build_folder, is_image_name
from catalogs.builders.huggingface import build_huggingface
from catalogs.builders.listing import list_store
from catalogs.builders.table import (
    SUFFIXES,
    build_table,
    existing_catalog,
    held_by,
    is_image,
    pass_on,
)
from catalogs.builders.wikiart import build_wikiart
from catalogs.credentials import ADVICE, SUSPICIOUS, holds_credentials, redact
from catalogs.errors import ConfigError
from catalogs.validation import BuildResult, ValidationReport

_SMALL = 32 << 20  # bytes of a Parquet file that is read whole before anything else is asked


def build_source(
    path: str | Path, mapping: Mapping[str, str] | None = None, **options: Any
) -> BuildResult:
    """The catalog of whatever is at a path: our Parquet, a table, images, WikiArt lists, HF shards.

    `options` go to the builder. Raises ConfigError for what is missing or of no known kind.
    """
    result = _build(str(path), mapping, options)
    _refuse_credentials(result.table)
    return result


def _refuse_credentials(table: pa.Table) -> None:
    """ConfigError for a work whose addresses hold credentials: they would enter every record."""
    import pyarrow.compute as pc

    for column in ("image_uri", "proxy_uri", "mask_uri"):
        suspects = table.filter(pc.match_substring_regex(table[column], SUSPICIOUS))
        for work, uri in zip(*(suspects[name].to_pylist() for name in ("id", column)), strict=True):
            if holds_credentials(uri):
                raise ConfigError(f"{column} of {redact(repr(work))} {held_by(uri)}; {ADVICE}.")


def _build(
    location: str, mapping: Mapping[str, str] | None, options: dict[str, Any]
) -> BuildResult:
    check_address(location)
    is_url = "://" in location and not location.startswith("file://")
    source = local_path(location) or Path()
    source = source.expanduser()
    if not is_url and source.is_dir():
        return _build_directory(source, mapping, options)
    if Path(location).suffix.lower() in SUFFIXES:
        # One request for what is mostly there; asking for its columns first would be three.
        ours = existing_catalog(location, _SMALL) if is_url and mapping is None else None
        if ours is not None:
            return pass_on(ours, ValidationReport(source=location))
        if _holds_images(location if is_url else str(source)):
            return build_huggingface(location, mapping=mapping, **options)
        return build_table(location if is_url else source, mapping, **options)
    if is_url:
        return _build_prefix(location, mapping, options)
    if not source.exists():
        raise ConfigError(f"{location}: there is no such folder or file.")
    raise ConfigError(
        f"{location}: a source is a folder of images or a table ({', '.join(SUFFIXES)})."
    )


def open_source(path: str | Path, mapping: Mapping[str, str] | None = None) -> pa.Table:
    """The catalog table of a folder, a Parquet file, a CSV or JSON-lines table, whatever it is."""
    return build_source(path, mapping).table


def _build_directory(
    source: Path, mapping: Mapping[str, str] | None, options: dict[str, Any]
) -> BuildResult:
    if (source / "Style" / "style_train.csv").is_file():
        return build_wikiart(source, **options)
    tables = sorted(path for path in source.rglob("*.parquet") if path.is_file())
    if tables and _holds_images(str(tables[0])):
        return build_huggingface(source, mapping=mapping, **options)
    return build_folder(source, mapping=mapping, **options)


def _build_prefix(
    location: str, mapping: Mapping[str, str] | None, options: dict[str, Any]
) -> BuildResult:
    """As of a local folder: the Parquet files where they hold images, else the pictures."""
    listing = list_store(location)
    tables = [name for name in listing.names if name.endswith(".parquet")]
    pictures = any(map(is_image_name, listing.names))
    if tables and (not pictures or _holds_images(listing.place(tables[0]))):
        return build_huggingface(location, mapping=mapping, listing=listing, **options)
    return build_folder(location, mapping=mapping, listing=listing, **options)


def _holds_images(location: str) -> bool:
    """Whether this is a Parquet file with a column of embedded images."""
    import pyarrow.parquet as pq

    if Path(location).suffix.lower() != ".parquet":
        return False
    try:
        if "://" not in location:
            return any(is_image(field.type) for field in pq.read_schema(location))
        return any(is_image(field.type) for field in _url_schema(location))
    except (pa.ArrowException, OSError, UnicodeError):
        return False  # the builder says what is wrong with it


def _url_schema(location: str) -> pa.Schema:
    import pyarrow.parquet as pq

    with open_url(location) as stream:
        return pq.read_schema(stream)
