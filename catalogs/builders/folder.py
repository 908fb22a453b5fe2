"""A folder of images as a catalog, with an optional metadata file beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import basename, normpath, splitext
from typing import Any

from catalogs.addresses import absolute, check_address
from catalogs.builders.columns import artist, complete, known_genre
from catalogs.builders.listing import Listing, list_files
from catalogs.builders.names import display_name, parse_stem
from catalogs.builders.probing import probe_rows
from catalogs.credentials import redact
from catalogs.errors import ConfigError
from catalogs.validation import BuildResult, ValidationReport, finish

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".avif",
        ".jp2",
        ".ppm",
    ]
)
METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "catalog.csv")
PATTERNS = ("artist_title-year", "none")
# Beside boat.jpg, boat.proxy.jpg is its proxy image and boat.mask.png where it may move.
COMPANIONS = {".proxy": "proxy_uri", ".mask": "mask_uri"}
# What cameras and scanners call their files: no artist's name.
_CAMERA = frozenset(
    [
        "img",
        "image",
        "dsc",
        "dscn",
        "dscf",
        "pict",
        "photo",
        "picture",
        "scan",
        "p",
        "pxl",
        "screenshot",
    ]
)


def build_folder(
    root: str | Path,
    *,
    pattern: str = "artist_title-year",
    metadata: str | Path | None = None,
    mapping: Mapping[str, str] | None = None,
    listing: Listing | None = None,
) -> BuildResult:
    """Catalog of all images below a folder or a store's URL, each probed by its bytes and header.

    A metadata file (given, or metadata.csv, metadata.jsonl or catalog.csv in the folder) names its
    images in a `file_name` column; images it does not name are described by `pattern`, one of
    PATTERNS. Unreadable images and missing files keep a row. `listing` is what lies there, where
    that is known already. Raises ConfigError for a folder that is missing or without any image,
    StoreError where its store does not answer.
    """
    listing = listing or list_files(root)
    if pattern not in PATTERNS:
        raise ConfigError(f"pattern: {pattern!r} is unknown; allowed are {', '.join(PATTERNS)}.")
    report = ValidationReport(source=listing.root or "/")
    images = list(_image_places(listing, report))
    companions = _companions(images)
    described = _described(listing, metadata, mapping, report)
    named = set(described)
    for name in named & set(companions):
        del companions[name]
    rows: list[dict[str, Any]] = []
    for place in images:
        if place not in companions:
            rows.extend(described.pop(place, []) or [_from_name(place, pattern)])
    rows.extend(row for missing in described.values() for row in missing)
    if not rows:
        raise ConfigError(_no_image(listing))
    for companion, (column, work) in companions.items():
        for row in rows:
            if row["image_uri"] == work and not row.get(column):
                row[column] = companion
    report.rows_in += len(rows)
    _flag_orphans(rows, named, report)
    probe_rows(rows, report, listing)
    return finish(
        _identified(rows, named, report), report, {"source": f"folder:{listing.root or '/'}"}
    )


def _no_image(listing: Listing) -> str:
    endings = f"file endings read are {', '.join(sorted(IMAGE_SUFFIXES))}"
    if listing.is_local:
        return f"{listing.root or '/'}: no image in this folder; {endings}."
    count = len(listing.names)
    return (
        f"{listing.root}: no image and no Parquet file among the files here ({count}); {endings}."
    )


def is_image_name(name: str) -> bool:
    """Whether a file's ending is an image's, and neither it nor a folder above it is hidden."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and splitext(name)[1].lower() in IMAGE_SUFFIXES


def _image_places(listing: Listing, report: ValidationReport) -> Iterator[str]:
    ignored = 0
    for name in listing.names:
        place = listing.place(name)
        if not is_image_name(name):
            ignored += basename(name) not in METADATA_NAMES
        elif not _is_text(place):
            report.rows_in += 1
            report.drop("undecodable_name", repr(place))
        elif not (listing.is_local or _may_be_opened(place)):
            report.rows_in += 1
            report.drop("bad_reference", redact(place))
        else:
            yield place
    if ignored:
        report.counts["files ignored (no image by their ending, or hidden)"] = ignored


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _may_be_opened(place: str) -> bool:
    """Whether an object's name makes an address that is read: not one like a chain or a key."""
    try:
        check_address(place)
    except ConfigError:
        return False
    return True


def _companions(images: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Companion file -> (the column it fills, the work's file), where that work is there."""
    works = {splitext(place)[0]: place for place in reversed(images)}
    found = {}
    for place in images:
        work, kind = splitext(splitext(place)[0])
        if kind.lower() in COMPANIONS and work in works:
            found[place] = (COMPANIONS[kind.lower()], works[work])
    return found


def _flag_orphans(
    rows: Iterable[Mapping[str, Any]], named: Collection[str], report: ValidationReport
) -> None:
    """Flag paintings called like the proxy or mask of a work that is not there."""
    for row in rows:
        place = str(row["image_uri"])
        kind = splitext(splitext(place)[0])[1].lower()
        if kind in COMPANIONS and place not in named:
            report.flag(f"a_painting_named_like_a{kind.replace('.', '_')}", place)


def _described(
    listing: Listing,
    metadata: str | Path | None,
    mapping: Mapping[str, str] | None,
    report: ValidationReport,
) -> dict[str, list[dict[str, Any]]]:
    """Rows of the metadata file by the place of their image."""
    from catalogs.builders.table import read_rows

    found = next((name for name in METADATA_NAMES if name in listing.names), None)
    if metadata:
        source = str(metadata) if "://" in str(metadata) else str(absolute(metadata))
    elif found:
        source = listing.place(found)
    else:
        return {}
    base, _, name = source.rpartition("/")
    out: dict[str, list[dict[str, Any]]] = {}
    for row in read_rows(source, mapping, base=base or "/"):
        if row.get("image_uri"):
            row["image_uri"] = _listed_place(row["image_uri"], listing)
            out.setdefault(row["image_uri"], []).append(row)
        else:
            report.drop("no_image", f"{name}: a row without file name")
    report.notes.append(f"metadata: {name}")
    return out


def _listed_place(place: str, listing: Listing) -> str:
    """The place without `.` and `..`, which are names like others in a store, where that is one."""
    if listing.is_local or place in listing.sizes or not place.startswith(f"{listing.root}/"):
        return place
    plain = listing.place(normpath(place[len(listing.root) + 1 :]))
    return plain if plain in listing.sizes else place


def _from_name(place: str, pattern: str) -> dict[str, Any]:
    row: dict[str, Any] = {"image_uri": place}
    if pattern == "none":
        return row
    parsed = parse_stem(splitext(basename(place))[0])
    # "work_005" is no artist's: a name has a given and a family part, or the work has its year.
    evident = "-" in (parsed.artist_slug or "") or parsed.year is not None
    if parsed.artist_slug and evident and parsed.artist_slug.lower() not in _CAMERA:
        slug = parsed.artist_slug
        row["artists"] = [{**artist(slug), "name": display_name(slug), "slug": slug.lower()}]
        row["title"], row["year_begin"] = parsed.title, parsed.year
    elif not parsed.artist_slug:
        row["title"], row["year_begin"] = parsed.title, parsed.year
    genre = known_genre(basename(place.rpartition("/")[0]))
    row["genre"] = genre
    complete(row)
    return row


def _identified(
    rows: Iterable[dict[str, Any]], named: Collection[str], report: ValidationReport
) -> Iterator[dict[str, Any]]:
    """Give rows without an id one from their bytes; a second row of the same bytes is left out.

    Of equal files the first stays, one that the metadata names before all others.
    """
    first: dict[str, str] = {}  # file of each digest whose id comes from its bytes
    described: dict[str, str] = {}  # likewise of those the metadata names, whatever their id
    for row in sorted(rows, key=lambda row: row["image_uri"] not in named):
        uri, digest = str(row["image_uri"]), row.get("image_sha256")
        name = str(digest or hashlib.sha256(uri.encode()).hexdigest())
        if uri in named:
            described.setdefault(name, uri)
        if not row.get("id"):
            same = first.get(name) or (described.get(name) if uri not in named else None)
            if same:
                report.drop("duplicate_bytes", f"{uri} = {same}")
                continue
            first[name] = uri
            row["id"] = f"{'file' if digest else 'missing'}:{name[:16]}"
        row.setdefault("source", "folder")
        yield row
