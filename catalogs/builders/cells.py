"""One cell of a foreign table as a value of the catalog: text, list, number, year, yes or no."""

from __future__ import annotations

import json
import re
from typing import Any

_TRUE = frozenset(("true", "1", "yes", "y", "t", "cc0"))
_FALSE = frozenset(("false", "0", "no", "n", "f", "copyrighted"))


def text(value: Any) -> str | None:
    """A cell as text; null when empty or blank; nested values as JSON; always valid Unicode."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii():
        return value if value.strip() else None
    if isinstance(value, float):
        if value != value:
            return None
        value = int(value) if value.is_integer() else value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool | list | tuple | dict):
        if not value and not isinstance(value, bool):
            return None
        value = json.dumps(value, ensure_ascii=False, default=str)
    shown = str(value)
    if not shown.strip():
        return None
    # Lone surrogates (JSON's "\ud83d") are no Unicode text; Arrow and UTF-8 refuse them.
    return shown.encode("utf-8", "replace").decode("utf-8")


def stripped(value: Any) -> str | None:
    """A cell as text without surrounding white space."""
    shown = text(value)
    return shown.strip() if shown else None


def identity(value: Any) -> str | None:
    """An id exactly as given; null when empty or when it is not valid Unicode."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return None
    return text(value)


def texts(value: Any) -> list[str] | None:
    """A cell as a list of texts: a list as it is, a text split at `|` or `;`."""
    if isinstance(value, str):
        value = re.split(r"[|;]", value)
    elif not isinstance(value, list | tuple):
        value = [value]
    return [item for item in map(stripped, value) if item] or None


def integer(value: Any) -> int | None:
    """A cell as a whole number, or null."""
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return None


def positive(value: Any) -> int | None:
    """A cell as a count above zero that fits 32 bits, or null."""
    number = integer(value)
    return number if number is not None and 0 < number < 2**31 else None


def year(value: Any) -> int | None:
    """The first year in a cell: 1889, `c. 1889`, `1503-1506` -> 1503, `-44` and `44 BC` -> -44."""
    match = re.search(r"(?<!\d)(?P<sign>-)?(?P<year>\d{1,4})(?:\.0+)?(?!\d)", str(value or ""))
    if not match:
        return None
    number = int(match["year"])
    whole = re.fullmatch(r"\s*-?\d{1,4}(\.0+)?\s*", str(value))
    if re.search(r"\bB\.?C", str(value)) or (match["sign"] and match.start() == 0 and whole):
        return -number
    # Inside a longer text only a four- or three-digit number can be a year.
    if not whole and number < 100:
        found = re.search(r"(?<!\d)\d{3,4}(?!\d)", str(value))
        return int(found[0]) if found else None
    return number


def boolean(value: Any) -> bool | None:
    """A cell as yes, no or unknown."""
    word = str(value).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None
