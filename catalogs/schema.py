"""The one schema of every catalog: a Parquet table with one row per work, sorted by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
VERSION_KEY = b"epa_schema_version"

ARTIST = pa.struct(
    [
        ("name", pa.string()),
        ("name_raw", pa.string()),
        ("slug", pa.string()),
        ("role", pa.string()),
        ("birth_year", pa.int16()),
        ("death_year", pa.int16()),
        ("wikidata", pa.string()),
        ("ulan", pa.string()),
    ]
)

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("source_revision", pa.string()),
        # A path, an fsspec URL or parquet://file#row_group=3&row=17 (catalogs.addresses).
        pa.field("image_uri", pa.string(), nullable=False),
        ("proxy_uri", pa.string()),
        ("mask_uri", pa.string()),
        ("image_sha256", pa.string()),
        ("image_bytes", pa.int64()),
        # As seen, that is after the EXIF orientation was applied.
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image_format", pa.string()),
        ("title", pa.string()),
        ("title_lang", pa.string()),
        ("artist", pa.string()),
        ("artists", pa.list_(ARTIST)),
        # Negative years are BCE.
        ("year_begin", pa.int16()),
        ("year_end", pa.int16()),
        ("year_text", pa.string()),
        ("year_confidence", pa.string()),
        ("styles", pa.list_(pa.string())),
        ("genres", pa.list_(pa.string())),
        # One of GENRES or null: what the motion prompts go by.
        ("genre", pa.string()),
        ("subjects", pa.list_(pa.string())),
        ("medium", pa.string()),
        ("classification", pa.string()),
        ("place", pa.string()),
        ("license", pa.string()),
        ("rights_uri", pa.string()),
        ("rights_statement", pa.string()),
        ("is_public_domain", pa.bool_()),
        ("source_terms", pa.string()),
        ("credit_line", pa.string()),
        ("rights_basis", pa.string()),
        ("landing_url", pa.string()),
        ("iiif_base", pa.string()),
        ("alt_text", pa.string()),
        ("prompt", pa.string()),
        ("proxy_prompt", pa.string()),
        ("negative_prompt", pa.string()),
        ("prompt_source", pa.string()),
        ("prompt_rule", pa.string()),
        ("prompt_model", pa.string()),
        ("prompt_reviewed", pa.bool_()),
        # What kind of motion the prompt names.
        ("motion", pa.string()),
        # How strong it shall be, for the models that take a number.
        ("motion_strength", pa.string()),
        ("split", pa.string()),
        ("extra", pa.map_(pa.string(), pa.string())),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)

GENRES = (
    "abstract_painting",
    "cityscape",
    "genre_painting",
    "illustration",
    "landscape",
    "nude_painting",
    "portrait",
    "religious_painting",
    "sketch_and_study",
    "still_life",
)


def make_table(
    columns: Mapping[str, Sequence[Any] | pa.Array], metadata: Mapping[str, str] | None = None
) -> pa.Table:
    """Table of SCHEMA from some of its columns; the others are null; rows sorted by id (as UTF-8).

    Raises KeyError for a column the schema lacks.
    """
    unknown = set(columns) - set(SCHEMA.names)
    if unknown:
        raise KeyError(f"not columns of the schema: {sorted(unknown)}")
    count = len(columns["id"])
    arrays = []
    for field in SCHEMA:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(count, field.type))
        elif isinstance(values, pa.Array | pa.ChunkedArray):
            arrays.append(values.cast(field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return with_metadata(sort_by_id(pa.Table.from_arrays(arrays, schema=SCHEMA)), metadata or {})


def table_from_rows(
    rows: Iterable[Mapping[str, Any]], metadata: Mapping[str, str] | None = None
) -> pa.Table:
    """Table of SCHEMA from dictionaries with any of its columns; missing keys are null."""
    listed = list(rows)
    names = {name for row in listed for name in row} | {"id", "image_uri"}
    return make_table({name: [row.get(name) for row in listed] for name in names}, metadata)


def conform(table: pa.Table) -> pa.Table:
    """The table with exactly SCHEMA's columns in order: missing ones null, foreign ones left out.

    Raises pyarrow.ArrowInvalid or ArrowTypeError where a value does not fit its column's type.
    """
    columns = {name: table[name] for name in SCHEMA.names if name in table.column_names}
    metadata = {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for key, value in (table.schema.metadata or {}).items()
    }
    return make_table(columns, metadata)


def with_metadata(table: pa.Table, metadata: Mapping[str, str]) -> pa.Table:
    """The table with these file-metadata entries beside the schema version."""
    merged = {key.encode(): value.encode() for key, value in metadata.items()}
    return table.replace_schema_metadata({**merged, VERSION_KEY: str(SCHEMA_VERSION).encode()})


def sort_by_id(table: pa.Table) -> pa.Table:
    """Rows in the order of their ids' UTF-8 bytes, the same on every machine and locale."""
    import pyarrow.compute as pc

    order = pc.sort_indices(table["id"])
    return table.take(order).combine_chunks()
