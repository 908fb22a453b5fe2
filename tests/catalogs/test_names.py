"""Reading artist, title and year from file names; repairing damaged names."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.builders.names import canonical, display_name, parse_stem, repair_text

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "wikiart_rows.json").read_text())[
    "rows"
]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["file"])
def test_golden_names(row):
    parsed = parse_stem(row["file"].removesuffix(".jpg"))
    artist = repair_text(parsed.artist_slug)
    assert (artist, parsed.title_slug, parsed.title, parsed.year, parsed.index, parsed.copy) == (
        row["artist_slug"],
        row["title_slug"],
        row["title"],
        row["year"],
        row["index"],
        row["copy"],
    )


@settings(deadline=None)
@given(st.text())
def test_any_text_parses(stem):
    parsed = parse_stem(stem)
    assert parsed.year is None or 1000 <= parsed.year <= 2029
    assert parsed.title is None or parsed.title.strip() == parsed.title != ""
    repair_text(stem)
    canonical(stem)
    display_name(stem)


words = st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1), min_size=1).map("-".join)


@settings(deadline=None)
@given(
    words,
    words,
    st.integers(1000, 2029),
    st.none() | st.integers(0, 99),
    st.none() | st.integers(1, 9),
)
def test_written_parts_are_read_back(artist, title, year, index, copy):
    stem = f"{artist}_{title}-{year}"
    stem += f"-{index}" if index is not None else ""
    stem += f"({copy})" if copy else ""
    parsed = parse_stem(stem)
    assert parsed.artist_slug == artist
    assert parsed.title == title.replace("-", " ")
    assert (parsed.year, parsed.index, parsed.copy) == (year, index, copy)


def test_without_underscore_there_is_no_artist():
    assert parse_stem("boat").artist_slug is None
    assert parse_stem("boat").title == "boat"
    assert parse_stem("boat-1880").year == 1880
    assert parse_stem("boat-2029").year == 2029
    assert parse_stem("boat-2030").year is None


@settings(deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyzéèêöüóíãâß-' ", min_size=1))
def test_repair_undoes_the_damage(name):
    damaged = name.encode("utf-8").decode("latin-1").lower()
    # Lower-casing keeps ã and â apart from nothing else: text that had them is not restored.
    if "Ã" not in name and name.isascii() is False:
        assert repair_text(damaged) in (name.replace("\u00a0", ""), damaged)
    assert repair_text("pierre-soulages") == "pierre-soulages"


@pytest.mark.parametrize(
    ("slug", "shown"),
    [
        ("vincent-van-gogh", "Vincent van Gogh"),
        ("m.c.-escher", "M.C. Escher"),
        ("georgia-o'keeffe", "Georgia O'Keeffe"),
        ("petro-kholodny-(elder)", "Petro Kholodny (Elder)"),
        ("joaquín-sorolla", "Joaquín Sorolla"),
        ("", ""),
    ],
)
def test_display_names(slug, shown):
    assert display_name(slug) == shown


def test_intact_accents_stay():
    assert repair_text("joão-côrte") == "joão-côrte"


def test_canonical_meets_every_spelling_of_a_file():
    intact = "arnold-böcklin_war-1896.jpg"
    for spelling in (
        "arnold-bã¶cklin_war-1896.jpg",
        "arnold-bÃ¶cklin_war-1896.jpg",
        "arnold-bo\u0308cklin_war-1896.jpg",
    ):
        assert canonical(spelling) == intact
