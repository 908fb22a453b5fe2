"""A catalog as a file: round trips, digests, and sentences for what cannot be read."""

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.catalog import open_source, read_catalog, write_catalog
from catalogs.errors import ConfigError, StoreError
from catalogs.schema import table_from_rows

ROWS = [
    {
        "id": f"w{number:05d}",
        "image_uri": f"{number}.jpg",
        "title": None if number % 3 else f"Title {number}",
        "artists": [{"name": "A", "birth_year": 1800}, {"name": None}] if number % 2 else None,
        "styles": ["x", "y"][: number % 3],
        "year_begin": number % 7 or None,
        "is_public_domain": [True, False, None][number % 3],
        "extra": [("k", str(number)), ("l", None)] if number % 5 == 0 else None,
    }
    for number in range(12_000)
]


@pytest.fixture(scope="module")
def table():
    return table_from_rows(ROWS)


def test_round_trip_keeps_content(table, tmp_path):
    write_catalog(table, tmp_path / "deep" / "c.parquet")
    read = read_catalog(tmp_path / "deep" / "c.parquet")
    assert read.equals(table)
    assert pq.ParquetFile(tmp_path / "deep" / "c.parquet").metadata.row_group(0).num_rows == 5_000
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["c.parquet"]


def test_round_trip_through_a_url(table):
    write_catalog(table.slice(0, 10), "memory://catalog-file/c.parquet")
    assert read_catalog("memory://catalog-file/c.parquet").num_rows == 10


def test_columns_of_older_writers_are_filled_with_null(tmp_path):
    pq.write_table(pa.table({"id": ["b", "a"], "image_uri": ["2", "1"]}), tmp_path / "old.parquet")
    read = read_catalog(tmp_path / "old.parquet")
    assert read["id"].to_pylist() == ["a", "b"]
    assert read["prompt"].null_count == 2


def test_unreadable_catalogs_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.parquet: this catalog does not exist"):
        read_catalog(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("id,image_uri\n")
    with pytest.raises(ConfigError, match=r"text\.parquet: this is no readable Parquet"):
        read_catalog(tmp_path / "text.parquet")
    with pytest.raises(ConfigError, match="this is a folder"):
        read_catalog(tmp_path)
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ConfigError, match="no column 'id'"):
        read_catalog(tmp_path / "other.parquet")
    pq.write_table(pa.table({"id": ["a", None], "image_uri": ["x", "y"]}), tmp_path / "n.parquet")
    with pytest.raises(ConfigError, match="'id' has empty values"):
        read_catalog(tmp_path / "n.parquet")
    newer = pa.table({"id": ["a"], "image_uri": ["x"]})
    newer = newer.replace_schema_metadata({"epa_schema_version": "99"})
    pq.write_table(newer, tmp_path / "newer.parquet")
    with pytest.raises(ConfigError, match="version 99"):
        read_catalog(tmp_path / "newer.parquet")
    wrong = pa.table({"id": ["a"], "image_uri": ["x"], "width": ["wide"]})
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(ConfigError, match="not of the catalog's type"):
        read_catalog(tmp_path / "wrong.parquet")


def test_a_damaged_catalog_never_reads_as_a_whole_one(table, tmp_path):
    path = tmp_path / "c.parquet"
    write_catalog(table, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError):
        read_catalog(path)


def test_an_unwritable_place_is_a_store_error(table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_catalog(table.slice(0, 1), tmp_path / "file" / "c.parquet")


def test_open_source_refuses_what_it_cannot_know(tmp_path):
    with pytest.raises(ConfigError, match="no such folder or file"):
        open_source(tmp_path / "nothing")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(ConfigError, match=r"folder of images or a table \(.csv"):
        open_source(tmp_path / "a.docx")
    with pytest.raises(ConfigError, match="download"):
        open_source("https://example.org/c.csv")
    with pytest.raises(ConfigError, match=r"here/data: there is nothing below this address\."):
        open_source("memory://nothing-here/data")


def test_open_source_takes_a_catalog_as_it_is(table, tmp_path):
    write_catalog(table, tmp_path / "c.parquet")
    assert open_source(tmp_path / "c.parquet").equals(table)
    fsspec.filesystem("memory").pipe_file(
        "/open-source/c.parquet", (tmp_path / "c.parquet").read_bytes()
    )
    assert open_source("memory://open-source/c.parquet").equals(table)
