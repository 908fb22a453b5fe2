"""What an image file says of itself: its digest, size and format, wherever it lies."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from catalogs.addresses import local_path, open_url, plain_stat
from catalogs.builders.listing import Listing
from catalogs.errors import ConfigError, StoreError
from catalogs.images import read_file
from catalogs.validation import ValidationReport

_Bytes = io.BytesIO | io.BufferedReader
# Pillow's names of what may be read here: the formats that a run decodes. Left to itself, Pillow
# tries every reader it has, some of which start programs.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF", "PPM")
# The key in `extra` that holds the SHA-256 of a local proxy file, in hex.
PROXY_SHA256 = "proxy_sha256"
MASK_SHA256 = "mask_sha256"
_ORIENTATION_TAG = 0x0112
_SILENT = 2.0  # seconds before a bar is shown
_WHOLE = 16 << 20  # bytes of a store's object that is read in one request, not block by block


def probe_rows(
    rows: list[dict[str, Any]], report: ValidationReport, listing: Listing | None = None
) -> None:
    """Fill sha256, size and format of rows whose image is a local file; flag what is wrong.

    So of the images of a store's `listing`. The digests of proxies and masks that lie there go to
    `extra`, as PROXY_SHA256 or MASK_SHA256. StoreError where the store does not answer.
    """
    sizes = listing.sizes if listing else {}
    below = f"{listing.root}/" if listing and not listing.is_local else None

    def can_be_probed(place: object) -> bool:
        text = str(place or "")
        local = bool(text) and local_path(text) is not None
        return local or (below is not None and text.startswith(below))

    def facts_of(place: str) -> dict[str, Any]:
        return _facts(lambda: _open(place, sizes))

    def digest_of(place: str) -> str | None:
        return _sha256(lambda: _open(place, sizes))

    workers = min(8, (os.cpu_count() or 1) + 2) if below is None else 8
    with ThreadPoolExecutor(workers) as pool:
        found = [(row, str(row["image_uri"])) for row in rows if can_be_probed(row["image_uri"])]
        probed = pool.map(facts_of, [place for _, place in found])
        for (row, place), facts in zip(found, _shown(probed, len(found)), strict=True):
            problem = facts.pop("problem", None)
            row.update(facts)
            if problem:
                report.flag(problem, place)
        for column, name in (("proxy_uri", PROXY_SHA256), ("mask_uri", MASK_SHA256)):
            given = [(row, str(row[column])) for row in rows if can_be_probed(row.get(column))]
            digests = pool.map(digest_of, [place for _, place in given])
            for (row, _), digest in zip(given, digests, strict=True):
                if digest:
                    others = [pair for pair in row.get("extra") or () if pair[0] != name]
                    row["extra"] = [*others, (name, digest)]


def _shown(probed: Iterable[dict[str, Any]], total: int) -> Iterable[dict[str, Any]]:
    """The same, with a bar in a terminal: every picture is read whole, which a store takes time."""
    from tqdm import tqdm

    bar: Iterable[dict[str, Any]] = tqdm(
        probed, "pictures read", total, unit="", delay=_SILENT, disable=None, leave=False
    )
    return bar


def _open(place: str, sizes: Mapping[str, int]) -> _Bytes:
    """A local file, or an object of a store's listing; FileNotFoundError for one not listed."""
    path = local_path(place)
    if path is not None:
        plain_stat(path)
        return path.open("rb")
    size = sizes.get(place)
    if size is None:
        raise FileNotFoundError(place)
    stream: _Bytes = io.BytesIO(read_file(place)) if size <= _WHOLE else open_url(place)
    return stream


def _sha256(opened: Callable[[], _Bytes]) -> str | None:
    try:
        with opened() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except StoreError:
        raise
    except (OSError, ValueError):
        return None


def _facts(opened: Callable[[], _Bytes]) -> dict[str, Any]:
    """Columns image_sha256, image_bytes, width, height, image_format of an image file.

    Reads the header, decodes no pixel; the size is as seen, after the EXIF orientation. `problem`
    is `missing_file` or `unreadable` where the file gives less.
    """
    try:
        with opened() as file:
            facts = {"image_sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return {**facts, "image_bytes": size, **_probe(file)}
    except StoreError:
        raise
    except ConfigError:
        return {"problem": "unreadable"}
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        gone = isinstance(error, FileNotFoundError | NotADirectoryError | ValueError)
        return {"problem": "missing_file" if gone else "unreadable"}


def probe_bytes(data: bytes) -> dict[str, Any]:
    """Columns width, height, image_format from an image's header, or the problem `unreadable`."""
    return _probe(io.BytesIO(data))


def _probe(file: _Bytes) -> dict[str, Any]:
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
