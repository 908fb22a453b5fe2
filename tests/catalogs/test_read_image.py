"""Reading image bytes: paths, URLs, Parquet references, and what is not there."""

import os
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs import images
from catalogs.addresses import ParquetRef, parse_ref
from catalogs.errors import ConfigError, StoreError
from catalogs.images import read_image


def payload(number):
    return b"image %d " % number * 50


@pytest.fixture
def parquet(tmp_path):
    values = [{"bytes": payload(n), "path": f"{n}.jpg"} for n in range(100)]
    values[7] = None
    values[8] = {"bytes": None, "path": "beside.jpg"}
    values[9] = {"bytes": None, "path": None}
    table = pa.table({"image": values, "raw": [payload(n) for n in range(100)]})
    pq.write_table(table, tmp_path / "we #1.parquet", row_group_size=60)
    (tmp_path / "beside.jpg").write_bytes(b"beside")
    return tmp_path / "we #1.parquet"


def test_paths_and_roots(tmp_path):
    (tmp_path / "ä b.jpg").write_bytes(b"x")
    assert read_image(str(tmp_path / "ä b.jpg")) == b"x"
    assert read_image((tmp_path / "ä b.jpg").as_uri()) == b"x"
    assert read_image("ä b.jpg", root=str(tmp_path)) == b"x"
    assert read_image(str(tmp_path / "ä b.jpg"), root="/elsewhere") == b"x"
    fsspec.filesystem("memory").pipe_file("/images/a.jpg", b"y")
    assert read_image("memory://images/a.jpg") == b"y"
    assert read_image("a.jpg", root="memory://images/") == b"y"


@pytest.mark.parametrize("order", [range(100), range(99, -1, -1), [50, 3, 99, 4, 51, 3]])
def test_parquet_rows_in_any_order(parquet, order):
    for number in order:
        if number in (7, 8, 9):
            continue
        group, row = divmod(number, 60)
        assert read_image(f"parquet://{parquet}#row_group={group}&row={row}") == payload(number)


def test_parquet_rows_from_threads(parquet):
    def read(number):
        group, row = divmod(number, 60)
        return read_image(f"parquet://{parquet}#row_group={group}&row={row}")

    numbers = [n for n in range(100) if n not in (7, 8, 9)] * 3
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, numbers)) == [payload(n) for n in numbers]


def test_large_row_groups_are_not_held_open(parquet, monkeypatch):
    monkeypatch.setattr(images, "LARGE_GROUP", 0)
    images._open_group.cache_clear()
    for number in (0, 1, 40, 20):
        uri = f"parquet://{parquet}#row_group=0&row={number}"
        assert read_image(uri) == payload(number)
    stat = parquet.stat()
    group = images._open_group(str(parquet), 0, "image", (stat.st_size, stat.st_mtime_ns))
    assert group.large
    assert group.next_batch == -1
    assert len(group.kept) <= images.KEPT_BATCHES
    images._open_group.cache_clear()


def test_a_replaced_file_is_read_anew(parquet):
    uri = f"parquet://{parquet}#row_group=0&row=0"
    assert read_image(uri) == payload(0)
    pq.write_table(pa.table({"image": [{"bytes": b"new", "path": None}]}), parquet)
    assert read_image(uri) == b"new"


def test_other_columns_relative_roots_and_paths_in_rows(parquet):
    name = parquet.name
    assert read_image(f"parquet://{parquet}#row_group=0&row=7&column=raw") == payload(7)
    assert read_image(f"parquet://{parquet}#row_group=0&row=8") == b"beside"
    assert read_image(f"parquet://{name}#row_group=1&row=0", root=str(parquet.parent)) == payload(
        60
    )


@pytest.mark.parametrize(
    "uri",
    ["{dir}/none.jpg", "{dir}", "{dir}/a\0b.jpg", "memory://images/none.jpg", "file://{dir}/none.jpg",
     "parquet://{dir}/none.parquet#row_group=0&row=0", "parquet://{file}#row_group=0&row=60",
     "parquet://{file}#row_group=2&row=0", "parquet://{file}#row_group=0&row=7",
     "parquet://{file}#row_group=0&row=9", "parquet://{file}#row_group=0&row=0&column=nope"],
)  # fmt: skip
def test_what_is_not_there(parquet, uri):
    with pytest.raises(FileNotFoundError):
        read_image(uri.format(dir=parquet.parent, file=parquet))


@pytest.mark.timeout(20)  # whoever opens a pipe waits for its other end
@pytest.mark.parametrize("uri", ["{pipe}", "file://{pipe}", "parquet://{pipe}#row_group=0&row=0"])
def test_pipes_are_not_opened(tmp_path, uri):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ConfigError, match=r"pipe\.png' is no plain file"):
        read_image(uri.format(pipe=tmp_path / "pipe.png"))


@pytest.mark.parametrize(
    "tail", ["", "#", "#row_group=1", "#row_group=a&row=1", "#row_group=-1&row=0"]
)
def test_incomplete_references(parquet, tail):
    with pytest.raises(ConfigError, match="it reads parquet://PATH#row_group=NUMBER&row=NUMBER"):
        read_image(f"parquet://{parquet}{tail}")


def test_damaged_parquet_is_a_store_error(tmp_path):
    (tmp_path / "x.parquet").write_text("text")
    with pytest.raises(StoreError, match="could not be read"):
        read_image(f"parquet://{tmp_path}/x.parquet#row_group=0&row=0")


@pytest.mark.parametrize("uri", ["http://example.org/a.jpg", "https://example.org/a.jpg"])
def test_the_web_is_refused(uri):
    with pytest.raises(ConfigError, match="downloading is a separate step"):
        read_image(uri)


def test_unknown_protocols_are_refused():
    with pytest.raises(ConfigError, match="nosuch://a"):
        read_image("nosuch://a/b.jpg")


@given(
    st.text(min_size=1),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.sampled_from(["image", "mask"]),
    st.sampled_from(["", "0123456789abcdef"]),
)
def test_references_round_trip(path, group, row, column, version):
    ref = ParquetRef(path, group, row, column, version)
    assert parse_ref(ref.uri()) == ref
