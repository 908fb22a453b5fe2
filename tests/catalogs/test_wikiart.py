"""WikiArt from an excerpt of the ArtGAN lists (all lines of the 241 golden works)."""

import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from catalogs.builders.wikiart import build_wikiart, read_works
from catalogs.errors import ConfigError
from catalogs.validation import ValidationReport

TESTS = Path(__file__).parents[1]
LISTS = TESTS / "data" / "wikiart"
GOLDEN = json.loads((TESTS / "golden" / "wikiart_rows.json").read_text())["rows"]


@pytest.fixture(scope="module")
def result():
    return build_wikiart(LISTS)


def test_golden_rows_exactly():
    works = {work.file: work for work in read_works(LISTS, ValidationReport("x"))}
    assert len(works) == len(GOLDEN) == 241
    for row in GOLDEN:
        assert {name: getattr(works[row["file"]], name) for name in row} == row


def test_rows_count_and_ids(result):
    assert result.report.rows_in == 258
    assert result.report.rows_out == 241
    ids = result.table["id"].to_pylist()
    assert len(set(ids)) == 241
    assert ids == sorted(ids)
    # sha256 of the file name, whatever the folder.
    rows = {row["source_id"]: row["id"] for row in result.table.to_pylist()}
    assert rows["vincent-van-gogh_head-of-a-man-bareheaded-1885-1(1).jpg"] == (
        "wikiart:df01b27286fe7077"
    )


def test_class_name_differs_from_the_folder(result):
    rows = [row for row in result.table.to_pylist() if "Art_Nouveau_Modern" in row["image_uri"]]
    assert rows
    assert all("Art_Nouveau" in row["styles"] for row in rows)


def test_genre_is_joined_by_file_name(result):
    both = [row for row in result.table.to_pylist() if len(row["styles"]) > 1]
    assert len(both) == 17
    assert all(row["genre"] for row in both)
    village = next(row for row in result.table.to_pylist() if row["title"] == "the village")
    assert village["genres"] == ["cityscape", "landscape"]
    assert village["genre"] == "cityscape"


def test_artist_names_are_repaired_and_the_raw_path_kept(result):
    row = next(r for r in result.table.to_pylist() if r["artist"] == "Georges Lacombe")
    assert row["artists"][0]["slug"] == "georges-lacombe"
    assert "georges-lacombeâ\u00a0_" in row["image_uri"]


def test_metadata_names_the_inputs(result):
    metadata = result.table.schema.metadata
    assert metadata[b"source"] == b"wikiart"
    assert metadata[b"row_count"] == b"241"
    assert len(metadata[b"sha256:style_train.csv"]) == 64


def test_images_are_found_in_every_spelling(tmp_path):
    names = {
        "Symbolism/arnold-bã¶cklin_war-1896.jpg": "Symbolism/arnold-böcklin_war-1896.jpg",
        "Cubism/andrã©-lhote_mirmande-1930.jpg": unicodedata.normalize(
            "NFD", "Cubism/andré-lhote_mirmande-1930.jpg"
        ),
        "Expressionism/paul-klee_tale-of-hoffmann-1925(1).jpg": None,
        "Symbolism/georges-lacombeâ\u00a0_the-green-wave-vorhor.jpg": None,
    }
    for raw, on_disk in names.items():
        path = tmp_path / (on_disk or raw)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    built = build_wikiart(LISTS, tmp_path)
    found = {row["image_uri"] for row in built.table.to_pylist() if row["image_bytes"] == 5}
    assert found == {str(tmp_path / (on_disk or raw)) for raw, on_disk in names.items()}
    assert built.report.flagged["missing_file"] == 241 - 4
    assert built.report.rows_out == 241


def test_a_work_is_found_in_its_second_folder(tmp_path):
    path = tmp_path / "Symbolism" / "kimon-loghi_springtime.jpg"
    path.parent.mkdir()
    path.write_bytes(b"1")
    table = build_wikiart(LISTS, tmp_path).table
    assert str(path) in table["image_uri"].to_pylist()


def test_a_url_root_is_put_before_the_path():
    uris = build_wikiart(LISTS, "s3://art/wikiart/").table["image_uri"].to_pylist()
    assert all(uri.startswith("s3://art/wikiart/") and uri.count("//") == 1 for uri in uris)


def test_hostile_lists_lose_only_their_bad_lines(tmp_path):
    shutil.copytree(LISTS, tmp_path / "lists")
    lists = tmp_path / "lists"
    with (lists / "Style" / "style_val.csv").open("ab") as stream:
        stream.write(
            b"Baroque/\xc2\x85odd_name.jpg,4\r\nno-folder.jpg,4\r\nBaroque/x.jpg,99\r\n,\r\n"
        )
    with (lists / "Genre" / "genre_val.csv").open("ab") as stream:
        stream.write(b"Baroque/not-in-the-style-list_1600.jpg,4\r\n")
    report = build_wikiart(lists).report
    assert report.rows_out == 242
    assert report.dropped["malformed_line"] == 3
    assert report.dropped["genre_without_style"] == 1


def test_genre_and_artist_lists_may_be_absent(tmp_path):
    shutil.copytree(LISTS / "Style", tmp_path / "Style")
    result = build_wikiart(tmp_path)
    assert result.report.rows_out == 241
    assert result.table["genre"].null_count == 241
    assert any("no genre lists" in note for note in result.report.notes)


def test_missing_lists_and_folders_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no ArtGAN lists here"):
        build_wikiart(tmp_path)
    shutil.copytree(LISTS, tmp_path / "lists")
    (tmp_path / "lists" / "Style" / "style_val.csv").unlink()
    with pytest.raises(ConfigError, match=r"style_val\.csv: this list is missing"):
        build_wikiart(tmp_path / "lists")
    with pytest.raises(ConfigError, match="this folder of images does not exist"):
        build_wikiart(LISTS, tmp_path / "none")


def test_years_far_from_the_artists_others_are_doubtful(tmp_path):
    (tmp_path / "Style").mkdir()
    shutil.copy(LISTS / "Style" / "style_class.txt", tmp_path / "Style")
    years = [1840, 1850, 1850, 1860, 1870, 1280]
    lines = "".join(f"Baroque/a-b_statesmen-{n}x-{y}.jpg,4\r\n" for n, y in enumerate(years))
    lines += "Baroque/c-d_alone-1280.jpg,4\r\nBaroque/c-d_other-1880.jpg,4\r\n"
    (tmp_path / "Style" / "style_train.csv").write_text(lines)
    (tmp_path / "Style" / "style_val.csv").write_text("")
    rows = build_wikiart(tmp_path).table.to_pylist()
    low = [(row["artist"], row["year_begin"]) for row in rows if row["year_confidence"] == "low"]
    assert low == [("A B", 1280)]
