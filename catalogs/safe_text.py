"""Catalog text in files that people open elsewhere: no formula, no command to a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

# Control characters but the line's end and the tab, marks that reverse the reading direction, and
# lone surrogates. Joiners stay: Persian and emoji are written with them.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# OWASP, "CSV Injection": what makes a spreadsheet take a cell for a formula, also after white
# space that it skips. A plain number is no formula and stays one.
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


# Embeddings, overrides and isolates: they set the reading direction of all that follows.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def undirected(text: str) -> str:
    """The text without what may write it, and what stands beside it, backwards.

    Arabic and Hebrew need none of it: their letters say how they run.
    """
    return _DIRECTIONS.sub("", text)


def directions_shown(text: str) -> str:
    """The text with the same characters as \\u202e, so that two names stay two."""
    return _DIRECTIONS.sub(lambda found: ascii(found[0])[1:-1], text)


def controls_shown(text: str) -> str:
    """The text with what moves a cursor or turns the text around as \\x1b."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def on_one_line(value: object, limit: int = 200) -> str:
    """The value as text on one line of at most ``limit`` characters, controls as \\x1b."""
    text = controls_shown(" ".join(str(value).split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def as_cell(value: str) -> str:
    """The text as a cell of a CSV file: a quote before what would be a formula, controls as \\x1b.

    Exact texts are in the JSON and the Parquet form of the same table.
    """
    shown = controls_shown(value)
    formula = _FORMULA.match(shown) and not _NUMBER.fullmatch(shown)
    return f"'{shown}" if formula else shown


# What `review.js` puts a quote before, and what then must get one, too, to be told from that.
_DEFUSED = re.compile("'+(?:[\\s\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")


def from_cell(cell: str) -> str:
    """The text that the gallery wrote as this cell of `review.csv`, but for control characters."""
    return cell[1:] if _DEFUSED.match(cell) else cell


def as_json(value: Any) -> str:
    """The value as one line of JSON that keeps its value and moves no cursor when it is shown."""
    # Outside of strings JSON holds none of these characters.
    return _CONTROLS.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False)
    )
