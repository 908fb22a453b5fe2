"""The catalog's schema: every table has its columns, types, order and version."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.schema import SCHEMA, VERSION_KEY, conform, make_table, table_from_rows

HOSTILE_IDS = [
    "../../x",
    "a/b",
    "<script>alert(1)</script>",
    "🖼️ œuvre",
    "a\nb",
    " padded ",
    "x" * 5000,
]


def test_missing_columns_are_null_and_metadata_names_the_version():
    table = make_table({"id": ["a"], "image_uri": ["a.jpg"]})
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata[VERSION_KEY] == b"1"
    assert table["title"].null_count == 1
    assert not table.schema.field("id").nullable


def test_rows_are_sorted_by_the_bytes_of_their_ids():
    table = table_from_rows([{"id": name, "image_uri": "x"} for name in ("b", "ä", "B", "a")])
    assert table["id"].to_pylist() == ["B", "a", "b", "ä"]


def test_hostile_ids_survive_a_round_trip(tmp_path):
    table = table_from_rows([{"id": name, "image_uri": "x"} for name in HOSTILE_IDS])
    pq.write_table(table, tmp_path / "c.parquet")
    read = pq.read_table(tmp_path / "c.parquet")["id"].to_pylist()
    assert sorted(read) == sorted(HOSTILE_IDS)


def test_conform_adds_drops_and_refuses():
    table = conform(pa.table({"id": ["a"], "image_uri": ["a.jpg"], "foreign": [1], "width": [3]}))
    assert table.column_names == SCHEMA.names
    assert table["width"].to_pylist() == [3]
    with pytest.raises(pa.ArrowInvalid):
        conform(pa.table({"id": ["a"], "image_uri": ["a.jpg"], "width": ["wide"]}))


def test_an_unknown_column_is_refused():
    with pytest.raises(KeyError, match="colour"):
        make_table({"id": ["a"], "image_uri": ["x"], "colour": ["red"]})
