"""Reading a work's artist, title and year from a file name, as WikiArt writes them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# Title, then "-YEAR" (or the year alone), then "-N" only after a year, then "(N)".
_REST = re.compile(
    r"(?P<title>.*?)"
    r"(?:(?:^|-)(?P<year>1[0-9]{3}|20[0-2][0-9])(?:-(?P<index>[0-9]{1,2}))?)?"
    r"(?:\((?P<copy>[0-9]{1,9})\))?",
    re.DOTALL,
)
# What WikiArt writes for a work without a title.
_UNTITLED = re.compile(r"not[-_]detected(?![^\W_])")
_PARTICLES = frozenset(
    [
        "van",
        "von",
        "der",
        "den",
        "de",
        "del",
        "della",
        "di",
        "da",
        "du",
        "la",
        "le",
        "of",
        "the",
        "ten",
        "ter",
    ]
)
_CASE_LOST = str.maketrans("ãâ", "ÃÂ")


@dataclass(frozen=True)
class ParsedName:
    """The parts of `artist_title-year-index(copy)`; what is not there is null or empty."""

    artist_slug: str | None
    title_slug: str
    title: str | None
    year: int | None
    index: int | None
    copy: int | None


def parse_stem(stem: str) -> ParsedName:
    """Parts of a file name without its ending; never raises, whatever the text.

    The artist ends at the first underscore (later ones belong to the title); without an underscore
    there is no artist. A trailing number is an index only behind a year; years are 1000-2029.
    """
    before, underscore, rest = stem.partition("_")
    if not underscore:
        before, rest = "", stem
    match = _REST.fullmatch(rest)
    if match is None:  # not reached: the title takes any text
        return ParsedName(before or None, rest, rest or None, None, None, None)
    slug = match["title"]
    title = slug.replace("-", " ").replace("_", " ").strip()
    if _UNTITLED.match(slug):
        title = ""
    year, index, copy = (int(match[k]) if match[k] else None for k in ("year", "index", "copy"))
    return ParsedName(before or None, slug, title or None, year, index, copy)


def repair_text(text: str) -> str:
    """Undo UTF-8 read as Latin-1 and then lower-cased; other text comes back unchanged.

    `arnold-bã¶cklin` -> `arnold-böcklin`. Plain encode/decode fails because lower-casing turned
    the lead bytes Ã and Â into ã and â; no-break spaces that were left over are removed.
    """
    if text.isascii():
        return text
    try:
        fixed = text.translate(_CASE_LOST).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
    return fixed.lower().replace("\u00a0", "")


def canonical(name: str) -> str:
    """One form for a file name whichever way it was damaged or normalised: for look-ups only."""
    head, underscore, rest = unicodedata.normalize("NFC", name).partition("_")
    return repair_text(head) + underscore + rest


@lru_cache(maxsize=10_000)
def display_name(slug: str) -> str:
    """A person's name from a slug: `vincent-van-gogh` -> `Vincent van Gogh`."""
    words = [word for word in re.split(r"[-_\s]+", slug) if word]
    shown = [
        word if i and word.lower() in _PARTICLES else _capital(word) for i, word in enumerate(words)
    ]
    return " ".join(shown)


def _capital(word: str) -> str:
    # m.c. -> M.C., o'keeffe -> O'Keeffe, (elder) -> (Elder)
    return re.sub(r"(^|[.'’(])(\w)", lambda m: m[1] + m[2].upper(), word)
