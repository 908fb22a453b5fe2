"""`epa catalog download`: what the folder or store holds of pictures fetched from real servers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import s3fs
from downloads import QUICK, command, fetch, reasons, write_table
from local_runner import run_locally
from object_server import S3Server
from paintings import painting, tiny_run
from picture_server import Asked, PictureServer, png

from catalogs.catalog import open_source, read_catalog
from catalogs.download import Download
from catalogs.download_fetch import Fetcher
from catalogs.download_network import parse_allowed
from catalogs.errors import ConfigError, StoreError
from catalogs.images import read_image
from catalogs.store import Store
from flows.downloads import look_at
from tasks.collection import Collection


def test_pictures_masks_and_proxies_are_copied(server: PictureServer, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"work {number}",
            "title": "Ships & <b>",
            "artist": "Anna",
            "image": server.picture(f"/{number}", png(number)),
            "mask": server.picture(f"/m{number}", png(50 + number)),
            "proxy": server.picture(f"/p{number}", png(70 + number)),
            "inventory": f"N{number}",
        }
        for number in range(3)
    ]
    result = fetch(server, tmp_path, rows)
    assert (result.left_out, result.fetched, result.kept) == ([], 9, 0)
    table = read_catalog(tmp_path / "out" / "catalog.parquet")
    for number, row in enumerate(table.to_pylist(maps_as_pydicts="strict")):
        place = Path(row["image_uri"])
        assert place.parent == tmp_path / "out" / "images"
        assert place.name.startswith("anna-ships-b-")
        assert place.name.endswith(f"-{row['image_sha256'][:12]}.png")
        assert place.read_bytes() == png(number)
        assert row["image_sha256"] == hashlib.sha256(png(number)).hexdigest()
        assert row["image_bytes"] == len(png(number))
        assert (row["width"], row["height"], row["image_format"]) == (40, 32, "PNG")
        assert Path(row["mask_uri"]).read_bytes() == png(50 + number)
        assert Path(row["proxy_uri"]).read_bytes() == png(70 + number)
        extra = row["extra"]
        assert extra["image_url"] == server.url(f"/{number}")
        assert extra["mask_sha256"] == hashlib.sha256(png(50 + number)).hexdigest()
        assert extra["proxy_sha256"] == hashlib.sha256(png(70 + number)).hexdigest()
        assert extra["inventory"] == f"N{number}"


def test_a_second_call_asks_the_web_nothing(server: PictureServer, tmp_path: Path) -> None:
    rows = [{"id": str(n), "image": server.picture(f"/{n}", png(n))} for n in range(5)]
    fetch(server, tmp_path, rows)
    before = (tmp_path / "out/catalog.parquet").read_bytes()
    again = fetch(server, tmp_path, rows)
    assert (again.fetched, again.kept) == (0, 5)
    assert server.counts.total() == 5
    assert (tmp_path / "out/catalog.parquet").read_bytes() == before
    for record in (tmp_path / "out").glob("copies/*/*.json"):
        assert json.loads(record.read_bytes())["url"].startswith("http")
    (tmp_path / "out/copies.parquet").write_bytes(b"damaged")
    assert fetch(server, tmp_path, rows).kept == 5
    # A picture that was removed or cut is fetched again, and no other.
    victims = sorted((tmp_path / "out/images").iterdir())[:2]
    victims[0].unlink()
    victims[1].write_bytes(victims[1].read_bytes()[:-5])
    mended = fetch(server, tmp_path, rows)
    assert (mended.fetched, mended.kept) == (2, 3)
    table = read_catalog(tmp_path / "out/catalog.parquet")
    for row in table.to_pylist():
        digest = hashlib.sha256(Path(row["image_uri"]).read_bytes()).hexdigest()
        assert digest == row["image_sha256"]


def test_many_rows_of_one_address_ask_once(server: PictureServer, tmp_path: Path) -> None:
    url = server.picture("/a", png(1))
    result = fetch(server, tmp_path, [{"id": str(n), "image": url} for n in range(10)])
    assert result.table.num_rows == 10
    assert server.counts["/a"] == 1


def test_the_ending_comes_from_the_bytes(server: PictureServer, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    painting(3).save(file, "JPEG")
    url = server.picture("/a.exe", file.read_bytes())
    result = fetch(server, tmp_path, [{"id": "a", "image": url}])
    row = result.table.to_pylist()[0]
    assert row["image_uri"].endswith(".jpg")
    assert row["image_format"] == "JPEG"


def test_a_work_without_its_mask_is_left_out(server: PictureServer, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "image": server.picture("/a", png(1)), "mask": server.url("/none")},
        {"id": "b", "image": server.picture("/b", png(2)), "mask": None},
    ]
    result = fetch(server, tmp_path, rows)
    assert reasons(result) == {"a": "http_404"}
    assert result.left_out[0].column == "mask_uri"
    assert result.table["id"].to_pylist() == ["b"]


def test_local_pictures_stay_and_other_protocols_are_left_out(
    server: PictureServer, tmp_path: Path
) -> None:
    painting(1).save(tmp_path / "here.png")
    rows = [
        {"id": "here", "image": "here.png"},
        {"id": "store", "image": "s3://bucket/a.png"},
        {"id": "ftp", "image": "ftp://host/a.png"},
        {"id": "case", "image": server.picture("/a", png(1)).replace("http", "HTTP")},
    ]
    result = fetch(server, tmp_path, rows)
    assert reasons(result) == {"ftp": "bad_reference"}
    places = {row["id"]: row["image_uri"] for row in result.table.to_pylist()}
    assert places["here"] == str(tmp_path / "here.png")
    assert places["store"] == "s3://bucket/a.png"


def test_addresses_that_hold_a_password_are_refused(server: PictureServer, tmp_path: Path) -> None:
    rows = [{"id": "user", "image": "http://me:s3cret/x@host/a.png"}]
    with pytest.raises(ConfigError, match="image_uri of 'user' holds credentials") as caught:
        fetch(server, tmp_path, rows)
    assert "s3cret" not in str(caught.value)


def test_a_picture_that_is_not_the_promised_one(server: PictureServer, tmp_path: Path) -> None:
    digest = hashlib.sha256(png(1)).hexdigest()
    rows = [
        {"id": "same", "image": server.picture("/a", png(1)), "sha256": digest.upper()},
        {"id": "other", "image": server.picture("/b", png(2)), "sha256": digest},
    ]
    assert reasons(fetch(server, tmp_path, rows)) == {"other": "source_changed"}


def test_a_coinciding_name_does_not_hide_a_picture(server: PictureServer, tmp_path: Path) -> None:
    """Twelve digits of a digest can be made to coincide; the file that is there stays as it is."""
    url = server.picture("/a", png(1))
    fetch(server, tmp_path, [{"id": "a", "image": url}])
    file = next((tmp_path / "out/images").iterdir())
    file.write_bytes(b"another picture of the same name")
    row = fetch(server, tmp_path, [{"id": "a", "image": url}]).table.to_pylist()[0]
    assert file.read_bytes() == b"another picture of the same name"
    assert Path(row["image_uri"]).read_bytes() == png(1)


def test_a_store_takes_the_copies(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3Server() as s3:
        for name, value in s3.environment().items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        place = f"{s3.bucket()}/here"
        rows = [{"id": str(n), "image": server.picture(f"/{n}", png(n))} for n in range(4)]
        source = open_source(write_table(tmp_path, rows))
        fetcher = Fetcher(QUICK, parse_allowed([server.place]))
        for kept in (0, 4):
            store = Store.open(place)
            assert Download(store, fetcher, look_at).run(source).kept == kept
        assert server.counts.total() == 4
        # With nothing to fetch: two listings, the records at once, and three objects written.
        assert store.counts.total() <= 7, store.counts
        for row in read_catalog(f"{place}/catalog.parquet").to_pylist():
            assert read_image(row["image_uri"]) == png(int(row["id"]))
            info = s3fs.S3FileSystem().info(row["image_uri"])
            assert info["ContentType"] == "image/png"
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_that_fails_ends_the_download_and_keeps_what_is_there(
    server: PictureServer, tmp_path: Path
) -> None:
    rows = [{"id": str(n), "image": server.picture(f"/{n}", png(n))} for n in range(20)]
    images = tmp_path / "out" / "images"

    def lose_the_folder(asked: Asked) -> None:
        images.rename(tmp_path / "gone")
        images.write_text("a file where the folder was")
        asked.answer(200, png(7))

    asked_for = iter(range(20))
    usual = dict(server.routes)
    for path, route in usual.items():
        server.routes[path] = lambda asked, route=route: (
            lose_the_folder(asked) if next(asked_for) == 5 else route(asked)
        )
    with pytest.raises(StoreError):
        fetch(server, tmp_path, rows, workers=1)
    assert server.counts.total() < 10  # nothing is fetched that cannot be kept
    images.unlink()
    (tmp_path / "gone").rename(images)
    server.routes |= usual
    again = fetch(server, tmp_path, rows)
    assert (again.kept, again.fetched) == (5, 15)


def test_copies_are_animated_and_web_addresses_are_not(
    epa: Any, server: PictureServer, tmp_path: Path
) -> None:
    rows = [
        {"id": str(n), "image": server.picture(f"/{n}", png(n)), "prompt": "the water ripples"}
        for n in range(2)
    ]
    source, out = write_table(tmp_path, rows), tmp_path / "out"
    built = epa("catalog", "build", source, "-o", tmp_path / "web.parquet")
    assert built.code == 0
    assert "epa catalog download" in built.out
    assert set(states(run_locally(tiny_run(tmp_path / "web.parquet", tmp_path / "a"))[1])) == {
        ("failed", "bad_reference")
    }
    assert not server.counts
    assert epa(*command(server, tmp_path / "web.parquet", out)[1:]).code == 0
    done = run_locally(tiny_run(out / "catalog.parquet", tmp_path / "b"))[1]
    assert states(done) == [("done", None)] * 2
    assert server.counts.total() == 2


def states(collection: Collection) -> list[tuple[str, str | None]]:
    rows = collection.ledger.table().to_pylist()
    return [(row["status"], row["code"]) for row in rows]
