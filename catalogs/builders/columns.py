"""From the columns of any table to the catalog's: names, aliases and values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from catalogs.builders.cells import boolean, identity, positive, stripped, text, texts, year
from catalogs.builders.names import display_name, repair_text
from catalogs.errors import ConfigError
from catalogs.schema import ARTIST, GENRES, SCHEMA
from catalogs.validation import printable

# Common names of a column in other people's tables, as `normalise` writes them.
ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("object_id", "objectid", "work_id", "item_id", "accession_number", "object_number"),
    "image_uri": (
        "file_name",
        "filename",
        "file",
        "path",
        "file_path",
        "filepath",
        "image",
        "image_path",
        "image_file",
        "image_url",
        "img",
        "uri",
        "url",
        "primaryimage",
    ),
    "proxy_uri": ("proxy", "proxy_path", "proxy_file", "proxy_file_name", "proxy_image"),
    "mask_uri": ("mask", "mask_path", "mask_file", "mask_file_name", "mask_image"),
    "image_sha256": ("sha256",),
    "title": ("work_title", "object_title"),
    "artist": (
        "artist_name",
        "artistname",
        "artist_title",
        "artist_display_name",
        "creator",
        "painter",
        "author",
        "attribution",
    ),
    "year_begin": (
        "year",
        "date_start",
        "object_begin_date",
        "beginyear",
        "creation_date_earliest",
        "completitionyear",
        "completion_year",
    ),
    "year_end": ("date_end", "object_end_date", "endyear", "creation_date_latest"),
    "year_text": ("date", "object_date", "displaydate", "date_display", "yearasstring"),
    "styles": ("style", "style_titles"),
    "genres": ("genre", "category"),
    "subjects": ("subject", "subject_titles", "tags"),
    "classification": ("classification_title",),
    "place": ("place_of_origin", "culture"),
    "license": ("licence", "share_license_status"),
    "rights_statement": ("rights", "rights_and_reproduction", "copyright_notice", "copyright"),
    "is_public_domain": ("public_domain",),
    "credit_line": ("credit", "creditline"),
    "landing_url": ("link_resource", "object_url", "page_url"),
    "alt_text": ("alt", "assistivetext"),
    "prompt": ("motion_prompt",),
}
# Filled by the builder or the prompt stage from other columns; never looked up by an alias.
_TAKEN = {alias: ours for ours, aliases in ALIASES.items() for alias in aliases}
_GENRE_NAMES = {
    "abstract": "abstract_painting",
    "nude": "nude_painting",
    "nudes": "nude_painting",
    "religious": "religious_painting",
    "genre": "genre_painting",
    "sketch": "sketch_and_study",
    "study": "sketch_and_study",
    "portraits": "portrait",
    "self_portrait": "portrait",
    "landscapes": "landscape",
    "marina": "landscape",
    "seascape": "landscape",
    "townscape": "cityscape",
    "veduta": "cityscape",
}
_PLAIN_NUMBER = re.compile(r"\s*-?\d+(\.0+)?\s*")


def normalise(name: str) -> str:
    """A column name in lower case with underscores: `Object ID` -> `object_id`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def nearest(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the known name closest to this one, or nothing."""
    names = {known_name.lower(): known_name for known_name in known}
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def listed(names: Iterable[str]) -> str:
    """Names of a table's columns for a message: nothing in them reaches a terminal."""
    return printable(", ".join(names), 1000)


def resolve(theirs: list[str], mapping: Mapping[str, str] | None, source: str) -> dict[str, str]:
    """Which of their columns fills which of ours: the mapping, then equal names, then aliases.

    Raises ConfigError for a column of ours or of theirs that does not exist.
    """
    chosen: dict[str, str] = {}
    for ours, their in (mapping or {}).items():
        if ours not in SCHEMA.names:
            raise ConfigError(
                f"column mapping: {ours!r} is not a catalog column{nearest(ours, SCHEMA.names)}; "
                f"allowed are {', '.join(SCHEMA.names)}."
            )
        if their not in theirs:
            raise ConfigError(
                f"column mapping: {source} has no column {their!r}{nearest(their, theirs)}; "
                f"it has {listed(theirs)}."
            )
        chosen[ours] = their
    by_name = {normalise(their): their for their in reversed(theirs)}
    used = set(chosen.values())
    for ours in SCHEMA.names:
        for name in (ours, *ALIASES.get(ours, ())):
            their = by_name.get(name, "")
            # An exact name belongs to its own column: `artists` of ours beats an alias of another.
            foreign = name != ours and name in SCHEMA.names
            if their and their not in used and ours not in chosen and not foreign:
                chosen[ours] = their
                used.add(their)
    return chosen


class RowReader:
    """Turns one row of a foreign table, as a dictionary, into a row of the catalog."""

    def __init__(self, theirs: list[str], chosen: Mapping[str, str]) -> None:
        self.extra = [name for name in theirs if name not in set(chosen.values())]
        self.columns: list[tuple[str, str, Callable[[Any], Any]]] = [
            (ours, their, _converter(ours)) for ours, their in chosen.items()
        ]

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The catalog's columns of this row; columns without a home go to `extra`."""
        out = {ours: convert(row.get(their)) for ours, their, convert in self.columns}
        if "year_begin" in out and not out.get("year_text"):
            written = text(self._raw(row, "year_begin"))
            out["year_text"] = None if _PLAIN_NUMBER.fullmatch(written or "") else written
        if out.get("year_begin") is None and out.get("year_text"):
            out["year_begin"] = year(out["year_text"])
        complete(out)
        extra = ((text(name) or "", text(row.get(name))) for name in self.extra)
        out["extra"] = out.get("extra") or [(name, value) for name, value in extra if value] or None
        return out

    def _raw(self, row: Mapping[str, Any], ours: str) -> Any:
        return next(row.get(their) for name, their, _ in self.columns if name == ours)


def complete(row: dict[str, Any]) -> None:
    """Fill in place what follows from other columns: artists and artist, genres and genre."""
    if row.get("artist") and not row.get("artists"):
        row["artists"] = artists(row["artist"])
    if row.get("artists"):
        row["artist"] = row["artists"][0].get("name") or row.get("artist")
    genres = row.get("genres") or texts(row.get("genre"))
    row["genres"] = genres
    row["genre"] = next((g for g in map(known_genre, genres or ()) if g), None)


def known_genre(name: str) -> str | None:
    """The WikiArt genre that a genre's name means, or null."""
    plain = normalise(name)
    return plain if plain in GENRES else _GENRE_NAMES.get(plain)


def artists(names: str) -> list[dict[str, Any]]:
    """Artists of a cell; several are joined by `|` as museums do."""
    return [artist(name.strip()) for name in names.split("|") if name.strip()]


def artist(name: str) -> dict[str, Any]:
    """An artist from a name or a WikiArt slug (all lower case, hyphens, no spaces)."""
    is_slug = " " not in name and "-" in name and name == name.lower()
    slug = repair_text(name) if is_slug else re.sub(r"\s+", "-", name.lower())
    return {"name": display_name(slug) if is_slug else name, "name_raw": name, "slug": slug}


def _as_artists(value: Any) -> list[dict[str, Any]] | None:
    if isinstance(value, list):
        return [found for found in map(_as_artist, value) if found] or None
    return artists(stripped(value) or "") or None


def _as_artist(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        name = stripped(value)
        return artist(name) if name else None
    fields = {
        field.name: (year if pa.types.is_integer(field.type) else stripped)(value.get(field.name))
        for field in ARTIST
    }
    return fields if any(fields.values()) else None


def _as_pairs(value: Any) -> list[tuple[str, str | None]] | None:
    if isinstance(value, dict):
        return [(text(key) or "", text(item)) for key, item in value.items()] or None
    shown = text(value)
    return [("extra", shown)] if shown else None


def _converter(column: str) -> Callable[[Any], Any]:
    kind = SCHEMA.field(column).type
    if column == "id":
        return identity
    if column == "artists":
        return _as_artists
    if pa.types.is_map(kind):
        return _as_pairs
    if pa.types.is_list(kind):
        return texts
    if pa.types.is_boolean(kind):
        return boolean
    if kind == pa.int16():
        return year
    if pa.types.is_integer(kind):
        return positive
    return text if column in ("image_uri", "proxy_uri", "mask_uri", "year_text") else stripped
