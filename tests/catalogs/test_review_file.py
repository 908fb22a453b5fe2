"""review.csv: what is understood, and one clear sentence for what is not."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import fsspec
import pytest

from catalogs.errors import ConfigError
from catalogs.review_file import COLUMNS, read_review
from catalogs.safe_text import from_cell

KEY = "0" * 32
IDS = ["a/b", "=1+1", "+x", "'=x", "tab\tid", "esc\x1b[31m\u202e", 'née; #1, "q"', "-5"]


def row(**cells: str) -> dict[str, str]:
    return {"id": "a/b", "key": KEY, "verdict": "keep", **cells}


def text(*rows: dict[str, str], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def read(folder: Path, content: str | bytes, name: str = "review.csv") -> list[Any]:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_review(str(file), IDS, 20)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_spreadsheets_make_of_it(tmp_path: Path, delimiter: str, mark: str) -> None:
    good = row(verdict=" Redo ", note="two\nlines; and, more", prompt=" waves ", reviewed_at="t")
    content = mark + text(good, row(id="-5"), delimiter=delimiter) + delimiter * 5 + "\r\n\r\n"
    first, second = read(tmp_path, content, "review (1).CSV")
    assert (first.id, first.verdict, first.prompt) == ("a/b", "redo", "waves")
    assert (first.note, first.reviewed_at) == ("two\nlines; and, more", "t")
    assert (second.id, second.note) == ("-5", "")


def test_ids_and_notes_survive_being_made_safe(tmp_path: Path) -> None:
    cells = ["a/b", "'=1+1", "'+x", "''=x", "tab\tid", r"esc\x1b[31m\u202e", IDS[6], "-5"]
    decisions = read(tmp_path, text(*(row(id=cell, note="'=cmd") for cell in cells)))
    assert [decision.id for decision in decisions] == IDS
    assert {decision.note for decision in decisions} == {"=cmd"}


@pytest.mark.parametrize(
    ("cell", "meant"),
    [("'=x", "=x"), ("'' @x", "' @x"), ("'x", "'x"), ("=x", "=x"), ("'\tx", "\tx"), ("''", "''")],
)
def test_a_quote_before_a_formula_is_taken_away(cell: str, meant: str) -> None:
    assert from_cell(cell) == meant


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (text(row(id="a/c")), r"row 2: there is no work 'a/c' \(did you mean 'a/b'\?\)"),
        (text(row(id="\x1b[2J\x1b")), r"there is no work '\\\\x1b"),
        (text(row(), row()), "row 3: the work 'a/b' is in row 2, too"),
        (text(row(verdict="nice")), "verdict is 'nice', allowed are keep, redo, reject"),
        (text(row(prompt="waves")), "a new prompt goes with redo, not with keep"),
        (text(row(key="")), "key is empty"),
        (text(row(verdict="redo", prompt="x" * 21)), "prompt has 21 characters, at most 20"),
        (text(row(note="x" * 2001)), "note has 2001 characters, at most 2000"),
        (text(row(note="née")).encode("latin-1"), "line 2 is not UTF-8; save it as CSV UTF-8"),
        (text(row()).encode("utf-16"), "line 1 is not UTF-8"),
        (text(row()).replace("verdict", "opinion"), "there is no column 'verdict'; it has id, key"),
        (text(row()).replace("prompt", "promt"), r"'promt' is unknown \(did you mean 'prompt'\?\)"),
        (text(row()).replace("note", "id"), "more than one column is named 'id'"),
        (text(), "there are no decisions in it"),
        (text(row()) + "a,b,c,d,e,f,g\n", "row 3 has 7 cells, the header 6"),
        (text(row()) + '"a,b\n', "line 3 is no CSV"),
        ("", "the table is empty"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        read(tmp_path, content)
    assert str(caught.value).isprintable()


def test_the_first_wrong_rows_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"row 6: .*; and 4 more\. Nothing was taken in\."):
        read(tmp_path, text(*(row(id=f"no {n}") for n in range(9))))


def test_a_review_lies_in_a_store_too() -> None:
    fsspec.filesystem("memory").pipe("/reviews/review.csv", text(row()).encode())
    assert [d.id for d in read_review("memory://reviews/review.csv", IDS, 20)] == ["a/b"]


def test_a_missing_file_and_the_web(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_review(str(tmp_path / "no.csv"), IDS, 20)
    with pytest.raises(ConfigError, match="on the web"):
        read_review("https://museum.example/review.csv", IDS, 20)
