"""A folder of images as a catalog, with an optional metadata file beside them."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from catalogs.addresses import absolute, local_path, plain_stat
from catalogs.builders.columns import artist, complete, known_genre
from catalogs.builders.names import display_name, parse_stem
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
# Pillow's names of what may be read here: the formats that a run decodes. Left to itself, Pillow
# tries every reader it has, some of which start programs.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF", "PPM")
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
# The key in `extra` that holds the SHA-256 of a local proxy file, in hex.
PROXY_SHA256 = "proxy_sha256"
MASK_SHA256 = "mask_sha256"
_ORIENTATION_TAG = 0x0112


def build_folder(
    root: str | Path,
    *,
    pattern: str = "artist_title-year",
    metadata: str | Path | None = None,
    mapping: Mapping[str, str] | None = None,
) -> BuildResult:
    """Catalog of all images below a local folder, each probed by its bytes and header.

    A metadata file (given, or metadata.csv, metadata.jsonl or catalog.csv in the folder) names its
    images in a `file_name` column; images it does not name are described by `pattern`, one of
    PATTERNS. Unreadable images and missing files keep a row. Raises ConfigError for a folder that
    is missing or without any image.
    """
    folder = _folder(root)
    if pattern not in PATTERNS:
        raise ConfigError(f"pattern: {pattern!r} is unknown; allowed are {', '.join(PATTERNS)}.")
    report = ValidationReport(source=str(folder))
    images = list(_image_files(folder, report))
    companions = _companions(images)
    described = _described(folder, metadata, mapping, report)
    named = set(described)
    for name in named & set(companions):
        del companions[name]
    rows: list[dict[str, Any]] = []
    for path in images:
        if str(path) not in companions:
            rows.extend(described.pop(str(path), []) or [_from_name(path, pattern)])
    rows.extend(row for missing in described.values() for row in missing)
    if not rows:
        raise ConfigError(
            f"{folder}: no image in this folder; file endings read are "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    for companion, (column, work) in companions.items():
        for row in rows:
            if row["image_uri"] == work and not row.get(column):
                row[column] = companion
    report.rows_in = len(rows)
    _flag_orphans(rows, named, report)
    probe_rows(rows, report)
    return finish(_identified(rows, report), report, {"source": f"folder:{folder}"})


def _folder(root: str | Path) -> Path:
    folder = absolute(root)
    if not folder.exists():
        raise ConfigError(f"{folder}: this folder does not exist.")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: this is a file, not a folder of images.")
    return folder


def _image_files(folder: Path, report: ValidationReport) -> Iterator[Path]:
    ignored = 0
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in IMAGE_SUFFIXES:
            ignored += path.name not in METADATA_NAMES
        elif not _is_text(str(path)):
            report.rows_in += 1
            report.drop("undecodable_name", repr(str(path)))
        else:
            yield path
    if ignored:
        report.counts["files ignored (no image by their ending, or hidden)"] = ignored


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _companions(images: list[Path]) -> dict[str, tuple[str, str]]:
    """Companion file -> (the column it fills, the work's file), where that work is there."""
    works = {str(path.with_suffix("")): str(path) for path in reversed(images)}
    found = {}
    for path in images:
        base, kind = path.with_suffix(""), path.with_suffix("").suffix.lower()
        if kind in COMPANIONS and str(base.with_suffix("")) in works:
            found[str(path)] = (COMPANIONS[kind], works[str(base.with_suffix(""))])
    return found


def _flag_orphans(
    rows: Iterable[Mapping[str, Any]], named: Collection[str], report: ValidationReport
) -> None:
    """Flag paintings called like the proxy or mask of a work that is not there."""
    for row in rows:
        place = str(row["image_uri"])
        kind = Path(place).with_suffix("").suffix.lower()
        if kind in COMPANIONS and place not in named:
            report.flag(f"a_painting_named_like_a{kind.replace('.', '_')}", place)


def _described(
    folder: Path,
    metadata: str | Path | None,
    mapping: Mapping[str, str] | None,
    report: ValidationReport,
) -> dict[str, list[dict[str, Any]]]:
    """Rows of the metadata file by the absolute path of their image."""
    from catalogs.builders.table import read_rows

    found = next((folder / name for name in METADATA_NAMES if (folder / name).is_file()), None)
    source = absolute(metadata) if metadata else found
    if source is None:
        return {}
    out: dict[str, list[dict[str, Any]]] = {}
    for row in read_rows(source, mapping, base=str(source.parent)):
        if row.get("image_uri"):
            out.setdefault(row["image_uri"], []).append(row)
        else:
            report.drop("no_image", f"{source.name}: a row without file name")
    report.notes.append(f"metadata: {source.name}")
    return out


def _from_name(path: Path, pattern: str) -> dict[str, Any]:
    row: dict[str, Any] = {"image_uri": str(path)}
    if pattern == "none":
        return row
    parsed = parse_stem(path.stem)
    # "work_005" is no artist's: a name has a given and a family part, or the work has its year.
    evident = "-" in (parsed.artist_slug or "") or parsed.year is not None
    if parsed.artist_slug and evident and parsed.artist_slug.lower() not in _CAMERA:
        slug = parsed.artist_slug
        row["artists"] = [{**artist(slug), "name": display_name(slug), "slug": slug.lower()}]
        row["title"], row["year_begin"] = parsed.title, parsed.year
    elif not parsed.artist_slug:
        row["title"], row["year_begin"] = parsed.title, parsed.year
    genre = known_genre(path.parent.name)
    row["genre"] = genre
    complete(row)
    return row


def _identified(
    rows: Iterable[dict[str, Any]], report: ValidationReport
) -> Iterator[dict[str, Any]]:
    """Give rows without an id one from their bytes; a second row of the same bytes is left out."""
    first: dict[str, str] = {}
    for row in rows:
        uri, digest = str(row["image_uri"]), row.get("image_sha256")
        if not row.get("id"):
            name = digest or hashlib.sha256(uri.encode()).hexdigest()
            row["id"] = f"{'file' if digest else 'missing'}:{str(name)[:16]}"
            if row["id"] in first:
                report.drop("duplicate_bytes", f"{uri} = {first[row['id']]}")
                continue
            first[row["id"]] = uri
        row.setdefault("source", "folder")
        yield row


def probe_rows(rows: list[dict[str, Any]], report: ValidationReport) -> None:
    """Fill sha256, size and format of rows whose image is a local file; flag what is wrong.

    Where the proxy or the mask is a local file its digest goes to `extra`, as PROXY_SHA256 or
    MASK_SHA256.
    """
    found = [(row, local_path(str(row["image_uri"]))) for row in rows if row.get("image_uri")]
    local = [(row, path) for row, path in found if path is not None]
    workers = min(8, (os.cpu_count() or 1) + 2)
    with ThreadPoolExecutor(workers) as pool:
        for (row, _), facts in zip(local, pool.map(probe_file, [p for _, p in local]), strict=True):
            problem = facts.pop("problem", None)
            row.update(facts)
            if problem:
                report.flag(problem, str(row["image_uri"]))
        for column, name in (("proxy_uri", PROXY_SHA256), ("mask_uri", MASK_SHA256)):
            given = [(row, local_path(str(row[column]))) for row in rows if row.get(column)]
            files = [(row, path) for row, path in given if path is not None]
            digests = pool.map(_file_sha256, [path for _, path in files])
            for (row, _), digest in zip(files, digests, strict=True):
                if digest:
                    others = [pair for pair in row.get("extra") or () if pair[0] != name]
                    row["extra"] = [*others, (name, digest)]


def _file_sha256(path: Path) -> str | None:
    try:
        plain_stat(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def probe_file(path: Path) -> dict[str, Any]:
    """Columns image_sha256, image_bytes, width, height, image_format of a local image file.

    Reads the header, decodes no pixel; the size is as seen, after the EXIF orientation. `problem`
    is `missing_file` or `unreadable` where the file gives less. Never holds the whole file.
    """
    try:
        plain_stat(path)
        with path.open("rb") as file:
            facts = {"image_sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return {**facts, "image_bytes": size, **_probe(file)}
    except ConfigError:
        return {"problem": "unreadable"}
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        gone = isinstance(error, FileNotFoundError | NotADirectoryError | ValueError)
        return {"problem": "missing_file" if gone else "unreadable"}


def probe_bytes(data: bytes) -> dict[str, Any]:
    """Columns width, height, image_format from an image's header, or the problem `unreadable`."""
    return _probe(io.BytesIO(data))


def _probe(file: BinaryIO) -> dict[str, Any]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()  # a Pillow built without one of the codecs does not know its name
            known = [name for name in IMAGE_FORMATS if name in Image.OPEN]
            with Image.open(file, formats=known) as image:
                width, height = image.size
                if image.getexif().get(_ORIENTATION_TAG) in (5, 6, 7, 8):
                    width, height = height, width
                return {"width": width, "height": height, "image_format": image.format}
    except Image.DecompressionBombError:
        return {"problem": "too_large"}
    except Exception:  # noqa: BLE001  # Pillow's readers raise most kinds on hostile headers
        return {"problem": "unreadable"}
