"""Any CSV, TSV, JSON-lines or Parquet table as a catalog, through a mapping of columns."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalogs.addresses import PARQUET, absolute, join, local_path
from catalogs.arrow_bytes import arrow_reader
from catalogs.builders.columns import RowReader, listed, nearest, resolve
from catalogs.builders.probing import probe_rows
from catalogs.catalog_file import parse_catalog
from catalogs.credentials import ADVICE, HIDDEN, holds_credentials, redact
from catalogs.errors import ConfigError, StoreError, TooManyBytes
from catalogs.images import read_file
from catalogs.schema import SCHEMA, VERSION_KEY, conform
from catalogs.validation import (
    BuildResult,
    ValidationReport,
    finish,
    paused_collector,
    printable,
    valid_id,
)

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_DELIMITERS = (",", ";", "\t", "|")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_NAMED = 5  # rows that an error names
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Rows turned into Python objects at a time.
_BATCH = 10_000


@paused_collector()
def build_table(
    path: str | Path, mapping: Mapping[str, str] | None = None, *, probe: bool = True
) -> BuildResult:
    """Catalog from a table; `mapping` says which of its columns (value) fills which of ours (key).

    Columns of equal or well-known names are found without a mapping; the rest is kept in `extra`.
    Relative image paths are below the table's folder. A Parquet file that already is a catalog
    keeps its columns as they are. `probe` reads size and digest of local images. Raises ConfigError
    for a table that is missing or damaged, has no image column, or lacks a mapped column.
    """
    location = str(path)
    report = ValidationReport(source=location)
    metadata = {"source": f"table:{Path(location).name}"}
    existing = existing_catalog(location) if mapping is None else None
    if existing is not None:
        return pass_on(existing, report)
    rows = list(read_rows(path, mapping, base=_folder_of(location), derive_ids=True))
    if not rows:
        raise ConfigError(f"{location}: the table has no rows.")
    report.rows_in = len(rows)
    for row in rows:
        row.setdefault("source", "table")
    if probe:
        probe_rows(rows, report)
    return finish(rows, report, metadata)


def read_rows(
    path: str | Path,
    mapping: Mapping[str, str] | None = None,
    *,
    base: str,
    derive_ids: bool = False,
) -> Iterator[dict[str, Any]]:
    """The table's rows with the catalog's columns; relative image paths put below `base`.

    With `derive_ids`, rows of a table without an id column get one from the image's path as the
    table writes it, so that it survives a move of the whole folder. At its end raises ConfigError
    where addresses hold credentials, which names the rows: they would enter every record.
    """
    location = str(path)
    names, raw_rows = read_any(location)
    chosen = resolve(names, mapping, Path(location).name)
    if "image_uri" not in chosen:
        raise ConfigError(
            f"{location}: no column names an image file; it has {listed(names)}; "
            f"name one file_name or map image_uri to it{nearest('file_name', names)}."
        )
    reader = RowReader(names, chosen)
    refused: list[str] = []
    for number, raw in enumerate(raw_rows, 1):
        row = reader.read(raw)
        refused.extend(_held(row, f"row {number}"))
        given = row.get("image_uri")
        if derive_ids and "id" not in chosen and given:
            row["id"] = "table:" + hashlib.sha256(given.encode()).hexdigest()[:16]
        for column in ("image_uri", "proxy_uri", "mask_uri"):
            if row.get(column):
                row[column] = _absolute(row[column], base)
        yield row
    if refused:
        more = f" ({len(refused)} such addresses in all)" if len(refused) > 1 else ""
        raise ConfigError(f"{redact(location)}: {'; '.join(refused[:_NAMED])}{more}; {ADVICE}.")


def _held(row: Mapping[str, Any], place: str) -> Iterator[str]:
    """A clause for each address of the row that holds credentials; the secret is not repeated."""
    for column in ("image_uri", "proxy_uri", "mask_uri"):
        uri = row.get(column)
        if uri and ("@" in uri or "=" in uri) and holds_credentials(uri):
            work = row.get("id")
            owner = f" of {redact(repr(work))}" if work else ""
            yield f"{place}: {column}{owner} {held_by(uri)}"


def held_by(uri: str) -> str:
    """That an address holds credentials, and for which host, as far as that is told from them."""
    shown = redact(uri.removeprefix(PARQUET)).partition("://")[2]
    rest = shown.removeprefix(f"{HIDDEN}@")
    # A secret may hold an @: what follows the first one is then not the host.
    sure = re.match(r"[A-Za-z0-9.-]+(:\d+)?(?=[/?#]|$)", rest) if "@" not in rest else None
    host = f" for {sure[0]!r}" if sure else ""
    return f"holds credentials or a signature{host}"


def read_any(location: str) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """Column names and rows of the table at a path or fsspec URL; CSV cells are texts."""
    suffix = Path(location).suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"{location}: unknown kind of table {suffix or 'without ending'!r}; "
            f"allowed are {', '.join(SUFFIXES)}."
        )
    data = read_bytes(location)
    if data.startswith(_LFS_POINTER):
        raise ConfigError(
            f"{location}: this is a Git LFS pointer, not the table; fetch it with `git lfs pull`."
        )
    try:
        if suffix in (".jsonl", ".ndjson"):
            rows = list(_json_lines(data, location))
            return list(dict.fromkeys(name for row in rows for name in row)), iter(rows)
        table = _read_parquet(data, location) if suffix == ".parquet" else _read_csv(data)
        table.validate(full=True)  # a damaged file may hold texts that are none
    except (pa.ArrowException, OSError, UnicodeError, RecursionError) as error:
        reason = printable(" ".join(str(error).split()))
        raise ConfigError(f"{location}: the table cannot be read: {reason}") from error
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{location}: more than one column is named {listed(twice)}.")
    batches = table.to_batches(_BATCH)
    return names, (row for b in batches for row in b.to_pylist(maps_as_pydicts="lossy"))


def read_bytes(location: str, most: int | None = None) -> bytes:
    """The bytes of a table at a path or URL; ConfigError where there are none to be had."""
    path = local_path(location)
    if path is not None and path.is_dir():
        raise ConfigError(f"{location}: this is a folder, not a table.")
    try:
        data = read_file(location, most)
    except FileNotFoundError as error:
        raise ConfigError(f"{location}: this table does not exist.") from error
    except (StoreError, PermissionError) as error:
        raise ConfigError(str(error)) from error
    if not data.strip():
        raise ConfigError(f"{location}: the table is empty.")
    return data


def _read_csv(data: bytes) -> pa.Table:
    from pyarrow import csv

    encoding = "utf-16" if data.startswith(_UTF16_MARKS) else "utf-8"
    # One decoding for the header's delimiter and the byte-order mark; Arrow does the parsing.
    content = data.decode(encoding).removeprefix("\ufeff")
    header = content.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    raw = content.encode("utf-8")
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    read = csv.ReadOptions(block_size=max(1 << 20, min(len(raw) + 1, 1 << 30)))
    names = csv.open_csv(
        arrow_reader(raw),
        read_options=read,
        parse_options=parse,
        convert_options=csv.ConvertOptions(check_utf8=False),
    ).schema.names
    convert = csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        strings_can_be_null=True,
        null_values=[""],
    )
    return csv.read_csv(
        arrow_reader(raw), read_options=read, parse_options=parse, convert_options=convert
    )


def _json_lines(data: bytes, location: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{location}: line {number} is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{location}: line {number} is not a JSON object.")
        yield row


def _read_parquet(data: bytes, location: str) -> pa.Table:
    import pyarrow.parquet as pq

    table = pq.read_table(arrow_reader(data))
    embedded = [field.name for field in table.schema if is_image(field.type)]
    if embedded:
        raise ConfigError(
            f"{location}: column {embedded[0]!r} holds the images themselves; "
            "give the folder or file to the huggingface builder."
        )
    return table


def is_image(kind: pa.DataType) -> bool:
    """Whether a column is Hugging Face's image: struct<bytes: binary, path: string>."""
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}


def existing_catalog(location: str, most: int | None = None) -> pa.Table | None:
    """The table when it is a Parquet file whose columns are the catalog's own, else null.

    Of a file with more than `most` bytes no more than that is read, and null is the answer.
    """
    import pyarrow.parquet as pq

    path = local_path(location)
    if Path(location).suffix.lower() != ".parquet" or (path is not None and not path.is_file()):
        return None
    try:
        data = read_bytes(location, most)
    except TooManyBytes:
        return None
    try:
        schema = pq.read_schema(arrow_reader(data))
    except (pa.ArrowException, OSError, UnicodeError):  # damaged: reading the rows says how
        return None
    if VERSION_KEY not in (schema.metadata or {}) and set(schema.names) != set(SCHEMA.names):
        return None
    return parse_catalog(data, location)


def pass_on(table: pa.Table, report: ValidationReport) -> BuildResult:
    """A catalog as it is, but for works whose ids are empty or there twice."""
    report.rows_in = table.num_rows
    ids = table["id"].to_pylist()
    seen: set[str] = set()
    keep = []
    for work in ids:
        good = valid_id(work) and work not in seen
        keep.append(good)
        if not good:
            report.drop("duplicate_id" if valid_id(work) else "empty_id", repr(work))
        seen.add(work)
    if not all(keep):
        table = conform(table.filter(pa.array(keep)))
    report.describe(table)
    return BuildResult(table, report)


def _folder_of(location: str) -> str:
    path = local_path(location)
    return str(absolute(path).parent) if path is not None else location.rpartition("/")[0]


def _absolute(uri: str, base: str) -> str:
    if uri.startswith(PARQUET):
        file, _, fragment = uri.removeprefix(PARQUET).rpartition("#")
        return f"{PARQUET}{_absolute(file, base)}#{fragment}"
    joined = join(uri, base)
    path = local_path(joined)
    return str(absolute(path)) if path is not None else joined
