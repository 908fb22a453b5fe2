"""File names for people: any text, any disk."""

from __future__ import annotations

import unicodedata

import pytest
from exports import works
from hypothesis import given, settings
from hypothesis import strategies as st
from pathvalidate import is_valid_filename

from catalogs.exports.names import file_stems, plain_name, same_name, whole_name

HOSTILE = {
    "up": "../../../up",
    "up-windows": "..\\..\\up",
    "absolute": "/tmp/absolute",
    "drive": "C:\\Windows\\x",
    "stream": "title:stream:$DATA",
    "wildcards": 'a*b?"<>|c',
    "device": "CON",
    "device-dot": "con.",
    "device-ending": "Nul.tar.gz",
    "device-space": "aux .txt",
    "device-number": "COM1",
    "device-superscript": "LPT²",
    "console": "CONIN$",
    "dots": "...",
    "hidden": ".hidden",
    "home": "~root",
    "option": "-rf",
    "formula": "=cmd|' /C calc'!A0",
    "wide-formula": "\uff1d1+1",
    "nul": "before\0after",
    "ansi": "\x1b[31mred\x1b]0;owned\x07",
    "c1": "\x9b31m",
    "bidi": "\u202egpj.exe\u2066x",
    "newlines": "first\nsecond\r\nthird\u2028fourth",
    "end": "trailing dots and spaces. . ",
    "combining": "Z" + "\u0310\u0311\u0312" * 200,
    "long": "long " * 4000,
    "wide": "日本の絵" * 100,
    "emoji": "👩\u200d🎨" * 50,
    "private": "\ue000\uffff",
    "empty": "",
    "spaces": "  \t ",
}


def stems(*rows: dict) -> list[str]:
    return file_stems(works([{"id": f"w{n}", **row} for n, row in enumerate(rows)]))


def check(path: str) -> None:
    """A path that Linux, macOS and Windows take, and a terminal and a spreadsheet may see."""
    parts = path.split("/")
    assert len(parts) == 2
    assert len(path.encode("utf-16-le")) / 2 <= 200  # of Windows' 260, the place included
    for part in parts:
        assert is_valid_filename(part, platform="universal", check_reserved=True), part
        assert len(part.encode()) <= 200
        assert unicodedata.is_normalized("NFC", part)
        assert not set(map(unicodedata.category, part)) & {"Cc", "Cs", "Co", "Cn"}
        assert not set(part) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
        assert part[0] not in " .-~=+@'\uff1d"
        assert part[-1] not in " ."
        base = part.partition(".")[0].rstrip().lower()
        assert base not in {"con", "prn", "aux", "nul", "conin$", "conout$", "com1", "lpt²"}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("column", ["title", "artist", "cell"])
def test_any_text(name: str, column: str) -> None:
    (stem,) = stems({column: HOSTILE[name]})
    check(stem + ".mp4")


@pytest.mark.parametrize("name", [name for name, text in HOSTILE.items() if text])
def test_any_id(name: str) -> None:
    (stem,) = file_stems(works([{"id": HOSTILE[name], "title": "T"}]))
    check(stem + ".mp4")


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(), st.text(min_size=1).filter(lambda t: "\0" not in t))
def test_any_text_at_all(artist: str, title: str, item: str) -> None:
    found = [text.encode("utf-8", "replace").decode() for text in (artist, title, item)]
    (stem,) = file_stems(works([{"id": found[2], "artist": found[0], "title": found[1]}]))
    check(stem + ".mp4")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Der Wanderer über dem Nebelmeer", "Der Wanderer über dem Nebelmeer"),
        ("u\u0308ber", "über"),
        ("a/b\\c:d", "a_b_c_d"),
        ("two  spaces\nand lines", "two spaces and lines"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner that Persian is written with
        ("日本の絵" * 100, ("日本の絵" * 8)[:30]),
    ],
)
def test_what_is_harmless_stays(text: str, name: str) -> None:
    assert plain_name(text, 90) == name


def test_names_read_as_artist_title_id() -> None:
    rows = [
        {"artist": "Claude Monet", "title": "Boats"},
        {"artist": None, "title": None},
        {"artist": "Con", "title": "Nul", "cell": "variant=V, distill.p=0.4"},
    ]
    assert stems(*rows) == [
        "Claude Monet/Boats (w0)",
        "Unknown artist/Untitled (w1)",
        "Con_/Nul (w2, variant=V, distill.p=0.4)",
    ]


def test_names_that_some_disk_takes_for_one_are_told_apart() -> None:
    ids = ["a:b", "a?b", "A_B", "other"]
    rows = [{"id": name, "artist": "X", "title": "T"} for name in ids]
    found = file_stems(works(rows))
    assert len({same_name(stem) for stem in found}) == 4
    assert found[3] == "X/T (other)"  # nobody else's clash renames it
    assert all(stem.startswith("X/T (") for stem in found)
    # A work's own name does not depend on where in the list it is.
    assert file_stems(works(rows[::-1])) == found[::-1]


def test_one_artist_has_one_folder() -> None:
    rows = [{"artist": name, "title": "T"} for name in ("Böcklin", "BÖCKLIN", "Bo\u0308cklin")]
    assert {stem.partition("/")[0] for stem in stems(*rows)} == {"Böcklin"}


def test_cells_of_a_painting_have_names_of_their_own() -> None:
    rows = [
        {"id": "w", "title": "T", "cell": f"p={p}", "fps_of_key": n} for n, p in ((1, 4), (2, 6))
    ]
    assert file_stems(works(rows)) == [
        "Unknown artist/T (w, p=4)",
        "Unknown artist/T (w, p=6)",
    ]


def test_devices() -> None:
    assert [whole_name(name) for name in ("CON", "con.", "Lpt9", "CONOUT$", "Connie")] == [
        "CON_",
        "con_",
        "Lpt9_",
        "_CONOUT$",
        "Connie",
    ]
