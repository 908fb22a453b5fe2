"""Hugging Face Parquet files: labels named, images referenced and never read at build."""

import io
import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from catalogs.builders import build_huggingface
from catalogs.catalog import open_source
from catalogs.errors import ConfigError
from catalogs.images import read_image

ARTISTS = ["Unknown Artist", "vincent-van-gogh", "joaquã\u00adn-sorolla"]
GENRES = ["abstract_painting", "landscape", "Unknown Genre"]
FEATURES = {
    "image": {"_type": "Image"},
    "artist": {"names": ARTISTS, "_type": "ClassLabel"},
    "genre": {"names": GENRES, "_type": "ClassLabel"},
    "style": {"names": ["Impressionism"], "_type": "ClassLabel"},
}


def jpeg(number, shard=0):
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (number, shard, 0)).save(out, "PNG")
    return out.getvalue()


def shard_table(rows=25, shard=0, metadata=True, **more):
    columns = {
        "image": [{"bytes": jpeg(n, shard), "path": None} for n in range(rows)],
        "artist": [n % 3 for n in range(rows)],
        "genre": [n % 3 for n in range(rows)],
        "style": [0 if n else -1 for n in range(rows)],
        **more,
    }
    table = pa.table(columns)
    info = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return table.replace_schema_metadata(info if metadata else None)


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "mywikiart" / "data"
    data.mkdir(parents=True)
    for shard in range(2):
        path = data / f"train-0000{shard}-of-00002.parquet"
        pq.write_table(shard_table(shard=shard), path, row_group_size=10)
    return data


def test_labels_ids_and_references(folder):
    result = build_huggingface(folder)
    rows = {row["id"]: row for row in result.table.to_pylist()}
    assert len(rows) == 50
    row = rows["hf:mywikiart:train-00001-of-00002:12"]
    place, _, version = row["image_uri"].partition("&version=")
    assert place == f"parquet://{folder}/train-00001-of-00002.parquet#row_group=1&row=2"
    assert len(version) == 16
    assert read_image(place) == read_image(row["image_uri"])
    pixel = Image.open(io.BytesIO(read_image(row["image_uri"]))).getpixel((0, 0))
    assert pixel == (12, 1, 0)
    first = rows["hf:mywikiart:train-00000-of-00002:0"]
    assert (first["artist"], first["genre"], first["styles"]) == (None, "abstract_painting", None)
    named = rows["hf:mywikiart:train-00000-of-00002:1"]
    assert (named["artist"], named["genre"], named["styles"]) == (
        "Vincent van Gogh",
        "landscape",
        ["Impressionism"],
    )
    repaired = rows["hf:mywikiart:train-00000-of-00002:2"]
    assert (repaired["artist"], repaired["genre"]) == ("Joaquín Sorolla", None)


def test_no_image_is_read_at_build(folder):
    """The image column's pages are destroyed: building must not notice, reading must."""
    path = sorted(folder.iterdir())[0]
    data = bytearray(path.read_bytes())
    metadata = pq.ParquetFile(path).metadata
    for group in range(metadata.num_row_groups):
        for index in range(2):
            column = metadata.row_group(group).column(index)
            assert column.path_in_schema.startswith("image.")
            start = column.dictionary_page_offset or column.data_page_offset
            data[start : start + column.total_compressed_size] = (
                b"\xff" * column.total_compressed_size
            )
    path.write_bytes(data)
    table = build_huggingface(path).table
    assert table.num_rows == 25
    with pytest.raises(OSError, match="could not be read"):
        read_image(table["image_uri"].to_pylist()[0])


def test_other_columns_are_used_or_kept(tmp_path):
    table = shard_table(
        2,
        title=["A", None],
        id=["x/1", "x/2"],
        prompt=["Waves", ""],
        shelf=["s", None],
        path=["p", "q"],
    )
    pq.write_table(table, tmp_path / "t.parquet")
    first, second = build_huggingface(tmp_path / "t.parquet").table.to_pylist()
    assert (first["id"], first["title"], first["prompt"]) == ("x/1", "A", "Waves")
    assert first["extra"] == [("shelf", "s"), ("path", "p")]
    assert second["prompt"] is None
    assert first["image_uri"].startswith("parquet://")


def test_names_from_side_files(tmp_path):
    pq.write_table(shard_table(2, metadata=False), tmp_path / "t.parquet")
    assert build_huggingface(tmp_path).table["artist"].to_pylist() == ["0", "1"]
    card = (
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: artist\n"
        "    dtype:\n      class_label:\n        names:\n          '0': Unknown Artist\n"
        "          '1': claude-monet\n---\n# Card\n"
    )
    (tmp_path / "README.md").write_text(card)
    assert build_huggingface(tmp_path).table["artist"].to_pylist() == [None, "Claude Monet"]
    infos = {"default": {"features": FEATURES}}
    (tmp_path / "dataset_infos.json").write_text(json.dumps(infos))
    assert build_huggingface(tmp_path).table["artist"].to_pylist() == [None, "Vincent van Gogh"]


def test_a_file_written_anew_has_other_references(folder):
    before = build_huggingface(folder).table
    assert build_huggingface(folder).table.equals(before)
    path = sorted(folder.iterdir())[1]
    size = path.stat().st_size
    pq.write_table(shard_table(shard=3), path, row_group_size=10)
    assert abs(path.stat().st_size - size) < 1000
    after = build_huggingface(folder).table
    assert after["id"].equals(before["id"])
    pairs = zip(before["image_uri"].to_pylist(), after["image_uri"].to_pylist(), strict=True)
    assert [old == new for old, new in pairs] == [True] * 25 + [False] * 25


def test_a_remote_file_written_anew_has_other_references():
    memory = fsspec.filesystem("memory")
    seen = set()
    for shard in (1, 1, 2):
        sink = io.BytesIO()
        pq.write_table(shard_table(2, shard=shard), sink)
        memory.pipe_file("/hf-new/t.parquet", sink.getvalue())
        uri = build_huggingface("memory://hf-new/t.parquet").table["image_uri"][0].as_py()
        assert build_huggingface("memory://hf-new").table["image_uri"][0].as_py() == uri
        assert read_image(uri) == jpeg(0, shard)
        seen.add(uri)
    assert len(seen) == 3


def test_through_a_url(folder):
    memory = fsspec.filesystem("memory")
    for path in folder.iterdir():
        memory.pipe_file(f"/hf-set/data/{path.name}", path.read_bytes())
    table = build_huggingface("memory://hf-set/data").table
    assert table["id"].to_pylist()[0] == "hf:hf-set:train-00000-of-00002:0"
    uri = table["image_uri"].to_pylist()[0]
    assert uri.startswith("parquet://memory://")
    assert read_image(uri) == jpeg(0)
    assert open_source("memory://hf-set/data").equals(table)


def test_open_source_knows_the_kind(folder):
    assert open_source(folder).num_rows == 50
    assert open_source(folder.parent)["source"].to_pylist()[0] == "huggingface"
    assert open_source(sorted(folder.iterdir())[0]).num_rows == 25


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="no Parquet files here"):
        build_huggingface(tmp_path)
    with pytest.raises(ConfigError, match="no Parquet files here"):
        build_huggingface(tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=r"no image column .* it has a"):
        build_huggingface(tmp_path)
    (tmp_path / "t.parquet").write_text("text")
    with pytest.raises(ConfigError, match="cannot be read"):
        build_huggingface(tmp_path)
    pq.write_table(shard_table(2).slice(0, 0), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="have no rows"):
        build_huggingface(tmp_path)
