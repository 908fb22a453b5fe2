"""A folder of pictures on a store: catalogued as one on a disk is."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from clouds import Azurite, GoogleEmulator
from local_runner import run_locally
from object_server import S3Server
from paintings import painting, tiny_run, write_paintings

from catalogs.builders import build_folder, probing
from catalogs.builders.probing import MASK_SHA256, PROXY_SHA256
from catalogs.catalog import build_source
from catalogs.errors import ConfigError
from catalogs.images import read_image
from catalogs.storage import Storage, configure
from catalogs.store import Store


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with S3Server() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield server.bucket()
    s3fs.S3FileSystem.clear_instance_cache()


def upload(folder: Path, url: str) -> str:
    """The files of a folder as objects, keys as names are."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    s3fs.S3FileSystem().pipe({f"{url}/{n.as_posix()}": p.read_bytes() for n, p in files.items()})
    return url


def picture(path: Path, seed: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    painting(seed, 320, 300).save(path)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    same = picture(folder / "good.jpg", 1)
    (folder / "-dash.jpg").write_bytes(same)
    picture(folder / "landscape" / "jane-doe_hills-1900.PNG", 2)
    picture(folder / "landscape" / "jane-doe_hills-1900.mask.png", 3)
    picture(folder / "späße #1 ?.jpg", 4)
    picture(folder / "späße #1 ?.proxy.jpg", 5)
    picture(folder / ".hidden.jpg", 6)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("x")
    (folder / "metadata.csv").write_text(
        "file_name,title,prompt\n./x/../good.jpg,Night,Stars turn\ngone.jpg,Gone,\n"
    )
    return folder


def test_a_store_is_catalogued_as_a_disk_is(bucket: str, folder: Path) -> None:
    url = upload(folder, f"{bucket}/art/pics")
    s3fs.S3FileSystem().touch(f"{url}/empty/")  # how consoles mark a folder
    here, there = build_folder(folder), build_source(f"{url}/")
    moved = [
        {n: v.replace(str(folder), url) if isinstance(v, str) else v for n, v in row.items()}
        for row in here.table.to_pylist()
    ]
    # A missing file's id is of its address, which differs; all others' are of their bytes.
    lost = [row for row in moved if row["id"].startswith("missing:")]
    assert [row["title"] for row in lost] == ["Gone"]
    lost[0]["id"] = f"missing:{hashlib.sha256(f'{url}/gone.jpg'.encode()).hexdigest()[:16]}"
    rows = there.table.to_pylist()
    assert rows == sorted(moved, key=lambda row: row["id"])
    for name in ("dropped", "flagged", "counts", "notes", "rows_in", "rows_out"):
        assert getattr(there.report, name) == getattr(here.report, name), name
    assert there.report.dropped == {"duplicate_bytes": 1}
    assert there.report.flagged == {"missing_file": 1, "unreadable": 1}
    by_name = {row["image_uri"].rpartition("/")[2]: row for row in rows}
    assert by_name["good.jpg"]["prompt"] == "Stars turn"
    assert MASK_SHA256 in dict(by_name["jane-doe_hills-1900.PNG"]["extra"])
    odd = by_name["späße #1 ?.jpg"]
    assert PROXY_SHA256 in dict(odd["extra"])
    assert hashlib.sha256(read_image(odd["image_uri"])).hexdigest() == odd["image_sha256"]


def test_large_pictures_are_read_block_by_block(
    bucket: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(folder, f"{bucket}/art")
    whole = build_folder(url).table
    monkeypatch.setattr(probing, "_WHOLE", 100)
    assert build_folder(url).table.equals(whole)


def test_a_name_that_makes_no_address_is_left_out(bucket: str, folder: Path) -> None:
    picture(folder / "a::b.jpg", 7)
    report = build_source(upload(folder, bucket)).report
    assert report.dropped["bad_reference"] == 1
    assert report.first("bad_reference").endswith("a::b.jpg")


def test_parquet_with_images_goes_before_pictures(bucket: str, folder: Path) -> None:
    pq.write_table(pa.table({"number": [1]}), folder / "numbers.parquet")
    assert build_source(upload(folder, f"{bucket}/numbers")).table.num_rows == 5
    (folder / "numbers.parquet").unlink()
    url = upload(folder, f"{bucket}/both")
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": [{"bytes": b"one", "path": None}]}), sink)
    s3fs.S3FileSystem().pipe(f"{url}/data/a.parquet", sink.getvalue())
    assert build_source(url).table["source"].to_pylist() == ["huggingface"]


def test_what_is_not_there_is_said(bucket: str, folder: Path) -> None:
    store = s3fs.S3FileSystem()
    with pytest.raises(ConfigError, match=r"/none: there is nothing below this address\."):
        build_source(f"{bucket}/none")
    store.pipe(f"{bucket}/texts/a.txt", b"x")
    with pytest.raises(ConfigError, match=r"no image and no Parquet file among .*\(1\).*\.jpg"):
        build_source(f"{bucket}/texts")
    with pytest.raises(ConfigError, match=r"there is no bucket s3://no-such-bucket-here\."):
        build_source("s3://no-such-bucket-here/pics")
    with pytest.raises(ConfigError, match="this is one file"):
        build_source(f"{upload(folder, bucket)}/good.jpg")


def test_a_run_from_pictures_on_a_store(bucket: str, tmp_path: Path) -> None:
    url = upload(write_paintings(tmp_path / "in", 2), f"{bucket}/pics")
    summary, collection = run_locally(tiny_run(url, f"{bucket}/animated"))
    assert summary.counts == {"done": 2}
    titles = {row["title"] for row in collection.ledger.table().to_pylist()}
    assert titles == {"Work 0", "Work 1"}


@pytest.mark.parametrize("kind", [GoogleEmulator, Azurite])
def test_other_clouds_say_the_same(
    kind: type[GoogleEmulator | Azurite], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kind() as cloud:
        for name, value in cloud.variables.items():
            monkeypatch.setenv(name, value)
        configure(Storage.model_validate(cloud.settings))
        bucket = cloud.bucket()
        store = Store.open(f"{bucket}/pics")
        for path in (folder / "good.jpg", folder / "-dash.jpg", folder / "metadata.csv"):
            store.put(path.name, path.read_bytes())
        report = build_source(f"{bucket}/pics").report
        assert (report.dropped, report.rows_out) == ({"duplicate_bytes": 1}, 2)
        refusals = {
            f"{bucket}/none": "there is nothing below",
            f"{cloud.protocol}://no-such-bucket/x": "there is no bucket",
            f"{bucket}/pics/good.jpg": "this is one file",
        }
        for url, message in refusals.items():
            with pytest.raises(ConfigError, match=message):
                build_source(url)
    configure(Storage())
