"""A catalog as a file: write it, read it back, select works, open any source."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from catalogs import retries
from catalogs.builders.columns import nearest
from catalogs.builders.source import build_source, open_source
from catalogs.errors import ConfigError, StoreError
from catalogs.schema import SCHEMA, SCHEMA_VERSION, VERSION_KEY, conform

if TYPE_CHECKING:
    from catalogs.validation import BuildResult

__all__ = [
    "build_source",
    "open_source",
    "read_catalog",
    "select",
    "write_catalog",
]

ROW_GROUP = 5_000


def write_catalog(result: BuildResult | pa.Table, path: str | Path) -> None:
    """Write a catalog to a Parquet file or fsspec URL: zstd, row groups of 5,000, sorted by id.

    The file appears whole or not at all. Raises StoreError where it cannot be written, ConfigError
    for an address that is not allowed.
    """
    import pyarrow.parquet as pq

    from catalogs.addresses import check_address, filesystem_of, local_path

    table = conform(result if isinstance(result, pa.Table) else result.table)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP)
    data = sink.getvalue()
    target = local_path(check_address(str(path)))
    try:
        if target is None:
            filesystem, name = filesystem_of(str(path))
            retries.attempt(lambda: filesystem.pipe_file(name, bytes(data)), f"writing {path}")
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
    import pyarrow.parquet as pq

    from catalogs.images import read_file

    if Path(path).is_dir():
        raise ConfigError(f"{path}: this is a folder, not a catalog file.")
    try:
        data = read_file(str(path))
        table = pq.read_table(pa.BufferReader(data))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: this catalog does not exist.") from error
    except (StoreError, PermissionError) as error:
        raise ConfigError(str(error)) from error
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
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
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: a column is not of the catalog's type: {reason}") from error


def _is_sorted(ids: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return ids.length() < 2 or bool(pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py())


def select(table: pa.Table, where: str | None = None, limit: int | None = None) -> pa.Table:
    """The works for which a DuckDB expression over the columns is true, the first `limit` by id.

    `where` reads nothing but this table (`catalog`). Raises ConfigError for an expression that is
    wrong, an unknown column (with the nearest name) or an empty selection.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: {limit} is not allowed; give 1 or more.")
    if table.num_rows == 0:
        raise ConfigError("the catalog has no works.")
    if where is None or not where.strip():
        return table if limit is None else table.slice(0, limit)
    import pyarrow.compute as pc

    ids = _matching_ids(table, where)
    if len(ids) == 0:
        raise ConfigError(f"where: {where!r} selects none of the {table.num_rows} works.")
    chosen = table.filter(pc.is_in(table["id"], ids))
    return (chosen if limit is None else chosen.slice(0, limit)).combine_chunks()


def _matching_ids(table: pa.Table, where: str) -> pa.Array:
    import duckdb

    connection = duckdb.connect(
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
    )
    try:
        connection.register("catalog", table)
        connection.execute("SET lock_configuration = true")
        # A relation's filter takes one expression: no second statement gets in through it.
        found = connection.view("catalog").filter(where).project("id").to_arrow_table()
        return found["id"].combine_chunks()
    except duckdb.Error as error:
        raise ConfigError(_explain(where, error)) from error
    finally:
        connection.close()


def _explain(where: str, error: Exception) -> str:
    message = str(error)
    unknown = re.search(r'[Cc]olumn "([^"]+)" not found|column named "([^"]+)"', message)
    if unknown:
        name = unknown[1] or unknown[2]
        hint = nearest(name, SCHEMA.names) or f"; allowed are {', '.join(SCHEMA.names)}"
        return f"where: there is no column {name!r}{hint}."
    first = message.partition("\n")[0].strip()
    return f"where: {where!r} is not a valid expression: {first}"
