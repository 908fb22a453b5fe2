"""Names for people, of files on any disk: Linux, macOS and Windows take all of them, and as one.

No two differ in case or in Unicode form alone, so that a folder can move from any system to any.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from pathvalidate import sanitize_filename

from catalogs.exports.works import VIDEO, Work
from catalogs.keys import digest_bytes

UNKNOWN_ARTIST, UNTITLED = "Unknown artist", "Untitled"
ENDINGS = {VIDEO: ".mp4", "poster.jpg": ".jpg", "preview.webp": ".webp"}
# Bytes of UTF-8, at most 180 in all: disks stop at 255 a name, and Windows at 260 units a path.
_ARTIST, _TITLE, _ID, _CELL = 60, 90, 32, 32
_REPLACEMENT = "_"
_DROPPED = {"Cc", "Cs", "Co", "Cn"}
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# At the front: hidden files, options of programs, home folders, formulas in a list of names.
_FRONT = " .-~=+@'\uff1d\uff0b\uff0d\uff20_"
_CONSOLES = {"conin$", "conout$"}  # reserved on Windows, too


@lru_cache(maxsize=4096)  # artists come again and again
def plain_name(text: str, most: int) -> str:
    """The text as a part of a file's name of at most so many bytes; empty where nothing is left."""
    shown = unicodedata.normalize("NFC", " ".join(text.split()))
    shown = _DIRECTIONS.sub("", shown)
    shown = "".join(c for c in shown if unicodedata.category(c) not in _DROPPED)
    shown = sanitize_filename(shown, _REPLACEMENT, platform="universal", check_reserved=False)
    shown = re.sub(r" +\.", ".", shown).lstrip(_FRONT)  # Windows reads "con .x" as "con"
    return shown.encode()[:most].decode(errors="ignore").rstrip(" .")


@lru_cache(maxsize=4096)
def whole_name(stem: str) -> str:
    """A name that has its ending or is a folder's: not one that Windows keeps for devices."""
    found = sanitize_filename(stem.rstrip(" ."), _REPLACEMENT, platform="universal")
    return f"{_REPLACEMENT}{found}" if found.partition(".")[0].lower() in _CONSOLES else found


def same_name(name: str) -> str:
    """What two names have in common that some disk takes for one."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())


def file_stems(works: Sequence[Work]) -> list[str]:
    """`Artist/Title (id)` of each work, its cell beside the id; all that would clash with a digest.

    One artist written in several ways has one folder, called as by the first.
    """
    spelling: dict[str, str] = {}
    folders = []
    for work in works:
        artist = whole_name(plain_name(work.artist or "", _ARTIST) or UNKNOWN_ARTIST)
        folders.append(spelling.setdefault(same_name(artist), artist))
    stems = [f"{f}/{whole_name(_stem(work))}" for f, work in zip(folders, works, strict=True)]
    shared = Counter(map(same_name, stems))
    return [
        stem if shared[same_name(stem)] == 1 else f"{stem} {_digest(work)}"
        for stem, work in zip(stems, works, strict=True)
    ]


def _stem(work: Work) -> str:
    title = plain_name(work.title or "", _TITLE) or UNTITLED
    named = [plain_name(work.item_id, _ID) or _digest(work)]
    if work.cell:
        named.append(plain_name(work.cell, _CELL))
    return f"{title} ({', '.join(named)})"


def _digest(work: Work) -> str:
    return digest_bytes(work.key.encode())[:12]
