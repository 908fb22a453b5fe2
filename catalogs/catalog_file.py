"""The catalog as a Parquet file: written whole, read back and checked."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from catalogs.addresses import check_address, local_path
from catalogs.arrow_bytes import arrow_reader
from catalogs.errors import ConfigError, StoreError
from catalogs.images import read_file
from catalogs.schema import SCHEMA, SCHEMA_VERSION, VERSION_KEY, conform
from catalogs.store import Store
from catalogs.validation import printable

if TYPE_CHECKING:
    from catalogs.validation import BuildResult

ROW_GROUP = 5_000


def write_catalog(result: BuildResult | pa.Table, path: str | Path) -> None:
    """Write a catalog to a Parquet file or fsspec URL: zstd, row groups of 5,000, sorted by id.

    The file appears whole or not at all. Raises StoreError where it cannot be written, ConfigError
    for an address that is not allowed.
    """
    import pyarrow.parquet as pq

    table = conform(result if isinstance(result, pa.Table) else result.table)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP)
    data = sink.getvalue()
    target = local_path(check_address(str(path)))
    try:
        if target is None:
            folder, _, name = str(path).rpartition("/")
            Store.open(folder).put(name, bytes(data))
        else:
            _write_local(target, data)
    except (OSError, ImportError, ValueError) as error:
        raise StoreError(f"{path}: the catalog cannot be written: {error}") from error


def _write_local(target: Path, data: pa.Buffer) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:64]}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_catalog(path: str | Path) -> pa.Table:
    """The catalog at a path or fsspec URL, with exactly the schema's columns, sorted by id.

    Columns that an older or foreign writer left out are null. Raises ConfigError for a file that is
    missing, no Parquet, no catalog, or written by a newer version.
    """
    if Path(path).is_dir():
        raise ConfigError(f"{path}: this is a folder, not a catalog file.")
    try:
        data = read_file(str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: this catalog does not exist.") from error
    except (StoreError, PermissionError) as error:
        raise ConfigError(str(error)) from error
    return parse_catalog(data, path)


def parse_catalog(data: bytes, path: str | Path) -> pa.Table:
    """The catalog in the bytes of the file at ``path``; errors as `read_catalog`."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(arrow_reader(data))
        table.validate(full=True)  # a damaged file may hold texts that are none
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = printable(" ".join(str(error).split()))
        raise ConfigError(f"{path}: this is no readable Parquet file: {reason}") from error
    return _checked(table, str(path))


def _checked(table: pa.Table, path: str) -> pa.Table:
    version = (table.schema.metadata or {}).get(VERSION_KEY, b"1")
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: catalog schema version {version.decode('utf-8', 'replace')} is not known; "
            f"this program reads up to {SCHEMA_VERSION}."
        )
    for required in ("id", "image_uri"):
        if required not in table.column_names:
            raise ConfigError(
                f"{path}: this is no catalog, it has no column {required!r}; "
                "build one from it with `epa catalog build`."
            )
        if table[required].null_count:
            raise ConfigError(f"{path}: column {required!r} has empty values.")
    try:
        if table.schema.equals(SCHEMA) and _is_sorted(table["id"]):
            return table.combine_chunks()
        return conform(table)
    except pa.ArrowException as error:
        reason = printable(" ".join(str(error).split()))
        raise ConfigError(f"{path}: a column is not of the catalog's type: {reason}") from error


def _is_sorted(ids: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return ids.length() < 2 or bool(pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py())
