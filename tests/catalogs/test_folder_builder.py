"""A folder of images as a catalog: nothing is lost without a word."""

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from catalogs.builders import build_folder
from catalogs.builders.probing import PROXY_SHA256
from catalogs.catalog import open_source
from catalogs.errors import ConfigError
from catalogs.images import read_image


def draw(path, size=(320, 300), colour="teal", **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **save)
    return path


def by_name(result):
    return {row["image_uri"].rpartition("/")[2]: row for row in result.table.to_pylist()}


def test_names_describe_images_without_metadata(tmp_path):
    draw(tmp_path / "vincent-van-gogh_the-starry-night-1889.jpg")
    draw(tmp_path / "landscape" / "boat.PNG", colour="red")
    draw(tmp_path / "IMG_1234.jpg", colour="blue")
    rows = by_name(build_folder(tmp_path))
    night = rows["vincent-van-gogh_the-starry-night-1889.jpg"]
    assert (night["artist"], night["title"], night["year_begin"]) == (
        "Vincent van Gogh",
        "the starry night",
        1889,
    )
    assert (night["width"], night["height"], night["image_format"]) == (320, 300, "JPEG")
    assert night["id"] == f"file:{night['image_sha256'][:16]}"
    assert rows["boat.PNG"]["title"] == "boat"
    assert rows["boat.PNG"]["genre"] == "landscape"
    assert rows["IMG_1234.jpg"]["artist"] is None
    assert rows["IMG_1234.jpg"]["year_begin"] is None
    plain = by_name(build_folder(tmp_path, pattern="none"))
    assert all(row["title"] is None for row in plain.values())


def test_sizes_are_as_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(tmp_path / "turned.jpg", size=(640, 320), exif=exif)
    row = by_name(build_folder(tmp_path))["turned.jpg"]
    assert (row["width"], row["height"]) == (320, 640)


def test_unreadable_images_keep_a_row(tmp_path):
    whole = draw(tmp_path / "whole.jpg")
    (tmp_path / "text.jpg").write_text("this is no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.jpg").write_bytes(whole.read_bytes())
    result = build_folder(tmp_path)
    rows = by_name(result)
    assert set(rows) == {"whole.jpg", "text.jpg", "empty.png"}
    assert rows["text.jpg"]["width"] is None
    assert rows["text.jpg"]["image_sha256"]
    assert result.report.flagged["unreadable"] == 2
    assert any("ignored" in name and n == 2 for name, n in result.report.counts.items())


@pytest.mark.parametrize("other", ["EPS", "ICO", "TGA", "PCX"])
def test_formats_that_no_run_decodes_are_not_read(tmp_path, other):
    draw(tmp_path / "whole.jpg")
    draw(tmp_path / "disguised.jpg", format=other)
    result = build_folder(tmp_path)
    assert by_name(result)["disguised.jpg"]["image_format"] is None
    assert result.report.flagged["unreadable"] == 1


def test_a_two_picture_jpeg_is_read(tmp_path):
    beside = Image.new("RGB", (320, 300))
    draw(tmp_path / "two.jpg", format="MPO", save_all=True, append_images=[beside])
    assert by_name(build_folder(tmp_path))["two.jpg"]["width"] == 320


def test_a_bomb_keeps_a_row(tmp_path, monkeypatch):
    draw(tmp_path / "a.png", size=(400, 400))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    result = build_folder(tmp_path)
    assert result.report.flagged["too_large"] == 1
    assert result.table.num_rows == 1


def test_the_same_bytes_twice_are_one_work(tmp_path):
    first = draw(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(first.read_bytes())
    result = build_folder(tmp_path)
    assert result.table.num_rows == 1
    assert result.report.dropped == {"duplicate_bytes": 1}
    assert "b.jpg" in result.report.examples["duplicate_bytes"][0]
    assert "a.jpg" in result.report.examples["duplicate_bytes"][0]


def test_of_equal_files_the_one_with_metadata_stays(tmp_path):
    first = draw(tmp_path / "-dash.jpg").read_bytes()
    for name in ("good1.jpg", "zz.jpg", "good2.jpg"):
        (tmp_path / name).write_bytes(first)
    metadata = tmp_path / "metadata.csv"
    metadata.write_text("file_name,title\ngood1.jpg,Night\ngood2.jpg,Day\n")
    result = build_folder(tmp_path)
    (row,) = result.table.to_pylist()
    assert (row["title"], row["image_uri"]) == ("Night", str(tmp_path / "good1.jpg"))
    assert result.report.dropped == {"duplicate_bytes": 3}
    assert f"{tmp_path}/-dash.jpg = {tmp_path}/good1.jpg" in result.report.first("duplicate_bytes")
    metadata.write_text("file_name,title,id\ngood1.jpg,Night,night\n")
    assert build_folder(tmp_path).table["id"].to_pylist() == ["night"]
    metadata.unlink()
    assert build_folder(tmp_path).table["image_uri"].to_pylist() == [str(tmp_path / "-dash.jpg")]


def test_metadata_is_joined_and_missing_files_are_kept(tmp_path):
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "deep" / "b.jpg", colour="red")
    draw(tmp_path / "c_loose-1900.jpg", colour="blue")
    (tmp_path / "metadata.csv").write_text(
        "file_name,title,artist,year,style,genre,prompt,department\n"
        'a.jpg,"A, quoted",Jane Doe,c. 1880,Cubism,Still life,  ,Prints\n'
        "deep/b.jpg,,,,,,Waves roll,\n"
        "gone.jpg,Gone,,,,,,\n"
    )
    result = build_folder(tmp_path)
    rows = by_name(result)
    a = rows["a.jpg"]
    assert (a["title"], a["artist"], a["year_begin"]) == ("A, quoted", "Jane Doe", 1880)
    assert (a["styles"], a["genres"], a["genre"]) == (["Cubism"], ["Still life"], "still_life")
    assert a["prompt"] is None
    assert a["extra"] == [("department", "Prints")]
    assert a["year_text"] == "c. 1880"
    assert rows["b.jpg"]["prompt"] == "Waves roll"
    assert rows["b.jpg"]["title"] is None
    assert rows["c_loose-1900.jpg"]["year_begin"] == 1900
    assert rows["gone.jpg"]["title"] == "Gone"
    assert rows["gone.jpg"]["width"] is None
    assert result.report.flagged["missing_file"] == 1
    assert result.report.rows_in == result.report.rows_out == 4


def test_ids_from_metadata_are_kept_as_they_are(tmp_path):
    ids = ["../../x", "a/b", "<script>alert(1)</script>", "🖼️", "dup", "dup"]
    lines = ["file_name,id"]
    for number, work in enumerate(ids):
        draw(tmp_path / f"{number}.png", size=(300, 300 + number))
        lines.append(f"{number}.png,{work}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    result = build_folder(tmp_path)
    assert sorted(result.table["id"].to_pylist()) == sorted(set(ids))
    assert result.report.dropped == {"duplicate_id": 1}
    kept = next(r for r in result.table.to_pylist() if r["id"] == "dup")
    assert kept["image_uri"].endswith("4.png")


def test_equal_bytes_with_own_ids_are_two_works(tmp_path):
    first = draw(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(first.read_bytes())
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "id": "one"}\n{"file_name": "b.png", "id": 2}\n'
    )
    assert build_folder(tmp_path).table["id"].to_pylist() == ["2", "one"]


def test_one_image_may_be_described_twice(tmp_path):
    draw(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text(
        "file_name,id,prompt\na.png,slow,Clouds drift\na.png,fast,Clouds race\n"
    )
    assert build_folder(tmp_path).table["id"].to_pylist() == ["fast", "slow"]


def test_companions_belong_to_their_work(tmp_path):
    draw(tmp_path / "boat.jpg")
    proxy = draw(tmp_path / "boat.proxy.jpg", colour="red")
    mask = draw(tmp_path / "boat.mask.png", colour="white")
    draw(tmp_path / "alone.proxy.jpg", colour="blue")
    rows = by_name(build_folder(tmp_path))
    assert set(rows) == {"boat.jpg", "alone.proxy.jpg"}
    assert rows["boat.jpg"]["proxy_uri"] == str(proxy)
    assert rows["boat.jpg"]["mask_uri"] == str(mask)


def test_a_mask_without_its_painting_is_told(tmp_path):
    draw(tmp_path / "boat.jpg")
    draw(tmp_path / "boat.mask.png", colour="white")
    draw(tmp_path / "typo.mask.png", colour="red")
    draw(tmp_path / "typo.proxy.jpg", colour="blue")
    draw(tmp_path / "meant.mask.png", colour="green")
    (tmp_path / "metadata.csv").write_text("file_name,title\nmeant.mask.png,Mask\n")
    report = build_folder(tmp_path).report
    assert report.rows_out == 4
    assert report.flagged == {"a_painting_named_like_a_mask": 1, "a_painting_named_like_a_proxy": 1}
    assert any("typo.mask.png" in line for line in report.lines())


def test_a_proxy_is_known_by_its_bytes(tmp_path):
    draw(tmp_path / "boat.jpg")
    draw(tmp_path / "sea.jpg", colour="blue")
    proxy = draw(tmp_path / "boat.proxy.jpg", colour="red")

    def extras():
        rows = by_name(build_folder(tmp_path))
        return {name: dict(row["extra"] or ()) for name, row in rows.items()}

    first = hashlib.sha256(proxy.read_bytes()).hexdigest()
    assert extras() == {"boat.jpg": {PROXY_SHA256: first}, "sea.jpg": {}}
    draw(proxy, colour="green")
    assert extras()["boat.jpg"][PROXY_SHA256] not in ("", first)


@pytest.mark.timeout(20)  # whoever opens a pipe waits for its other end
def test_pipes_are_not_opened(tmp_path):
    draw(tmp_path / "boat.jpg")
    for name in ("boat.mask.png", "boat.proxy.png", "painting.png"):
        os.mkfifo(tmp_path / name)
    result = build_folder(tmp_path)
    rows = by_name(result)
    assert rows["boat.jpg"]["mask_uri"].endswith("boat.mask.png")
    assert not rows["boat.jpg"]["extra"]
    assert rows["painting.png"]["image_sha256"] is None
    assert result.report.flagged == {"unreadable": 1}


def test_addresses_have_no_dots(tmp_path):
    draw(tmp_path / "in" / "a.jpg")
    draw(tmp_path / "b.jpg", colour="blue")
    (tmp_path / "in" / "metadata.csv").write_text("file_name,title\nx/../a.jpg,A\n../b.jpg,B\n")
    rows = by_name(build_folder(tmp_path / "out" / ".." / "in"))
    assert {row["image_uri"]: row["title"] for row in rows.values()} == {
        str(tmp_path / "in" / "a.jpg"): "A",
        str(tmp_path / "b.jpg"): "B",
    }


def test_image_uris_read_back(tmp_path, monkeypatch):
    path = draw(tmp_path / "späße #1.jpg")
    monkeypatch.chdir(tmp_path)
    uri = build_folder(".").table["image_uri"].to_pylist()[0]
    assert read_image(uri) == path.read_bytes()


def test_the_catalog_does_not_depend_on_the_order_of_files(tmp_path):
    for name in ("z.png", "a.png", "m.png"):
        draw(tmp_path / name, size=(300, 300 + ord(name[0])))
    ids = build_folder(tmp_path).table["id"].to_pylist()
    assert ids == sorted(ids)
    assert open_source(tmp_path)["id"].to_pylist() == ids


@pytest.mark.skipif(os.name != "posix", reason="names that are no text exist on POSIX only")
def test_a_name_that_is_no_text_is_reported(tmp_path):
    draw(tmp_path / "a.png")
    try:
        with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as stream:
            stream.write(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    result = build_folder(tmp_path)
    assert result.table.num_rows == 1
    assert result.report.dropped == {"undecodable_name": 1}
    assert result.report.rows_in == 2
    assert "".join(result.report.lines()).isprintable()


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="this folder does not exist"):
        build_folder(tmp_path / "none")
    with pytest.raises(ConfigError, match="no image in this folder"):
        build_folder(tmp_path)
    path = draw(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="a file, not a folder"):
        build_folder(path)
    with pytest.raises(ConfigError, match="pattern: 'x' is unknown"):
        build_folder(tmp_path, pattern="x")
    with pytest.raises(ConfigError, match=r"none\.csv: this table does not exist"):
        build_folder(tmp_path, metadata=tmp_path / "none.csv")
    (tmp_path / "metadata.csv").write_text("name,title\na.png,A\n")
    with pytest.raises(ConfigError, match="no column names an image file"):
        build_folder(tmp_path)


def test_report_reads_well(tmp_path):
    draw(tmp_path / "small_work-1900.png", size=(20, 20))
    draw(tmp_path / "wide_work-1900.png", size=(2000, 300))
    report = build_folder(tmp_path).report
    assert report.flagged == {"small": 1, "extreme_aspect": 1}
    text = "\n".join(report.lines())
    assert "2 in, 2 in the catalog" in text
    assert "extreme_aspect: 1" in text
    assert '"rows_out": 2' in report.to_json()


@pytest.mark.parametrize(
    ("name", "artist", "title"),
    [
        ("vincent-van-gogh_the-starry-night.png", "Vincent van Gogh", "the starry night"),
        ("rembrandt_the-night-watch-1642.png", "Rembrandt", "the night watch"),
        ("work_005.png", None, None),
        ("palette_alpha.png", None, None),
        ("IMG_1234.png", None, None),
    ],
)
def test_names_without_evidence_name_no_artist(
    tmp_path: Path, name: str, artist: str | None, title: str | None
) -> None:
    Image.new("RGB", (20, 20), "teal").save(tmp_path / name)
    [row] = build_folder(tmp_path).table.to_pylist()
    assert row["artist"] == artist
    if title:
        assert row["title"].lower() == title
