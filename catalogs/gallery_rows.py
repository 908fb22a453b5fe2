"""What the gallery tells of a work: manifest rows as plain values, addresses and names."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any
from urllib.parse import quote, urlsplit

from catalogs.choice import tried_text
from catalogs.rows import REJECTED
from catalogs.safe_text import directions_shown, undirected

STATES = ("done", "failed", "skipped", "quarantined", REJECTED)

LIST_FIELDS = (
    "id",
    "key",
    "cell",
    "variant",
    "title",
    "artist",
    "year",
    "style",
    "prompt",
    "status",
    "code",
    "message",
    "flag",
    "motion",
    "width",
    "height",
    "model",
    "base",
    "video",
    "poster",
)
DETAIL_FIELDS = (
    "genre",
    "model",
    "proxy",
    "seed",
    "candidates",
    "tried",
    "frames",
    "fps",
    "duration",
    "motion_top5",
    "first_frame_ssim",
    "blend_share",
    "flicker",
    "drift",
    "loop_seam",
    "prompt_source",
    "prompt_rule",
    "stage_failed",
    "attempt",
    "retryable",
    "rights",
    "license",
    "source_uri",
    "source_sha256",
    "frames_sha256",
    "finished_at",
    "outputs",
    "review",
    "earlier",
)


def relative_url(path: str) -> str | None:
    """Return the percent-encoded relative URL of an object path; None where it is no such path.

    An empty, `.` or `..` component would lead out of the collection and is refused.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return None
    return "/".join(quote(part, safe="", errors="replace") for part in parts)


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it, shown without harm.

    NaN and infinities become None, unknown types text; texts lose their marks of direction.
    """
    if isinstance(value, str):
        return undirected(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {undirected(str(name)): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return undirected(str(value))


def entry_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card shows of one manifest row."""
    entry = {field: plain(row.get(field)) for field in LIST_FIELDS}
    urls = {file["name"]: file["url"] for file in _files(row) if file["url"]}
    video, poster = urls.get("video.mp4"), urls.get("poster.jpg")
    base = _common_folder([url for url in (video, poster) if url])
    return entry | {
        "id": directions_shown(str(row.get("item_id") or "")),
        "title": text_of(row.get("title")),
        "artist": text_of(row.get("artist")),
        "style": [_label(name) for name in _names(row.get("style"))],
        "status": status_of(row),
        "base": base,
        "video": video[len(base) :] if video else None,
        "poster": poster[len(base) :] if poster else None,
    }


def detail_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the detail view shows beyond the card."""
    entry = {field: plain(row.get(field)) for field in DETAIL_FIELDS}
    # Seeds have 63 bits and JavaScript's numbers 53: as text no digit is lost.
    seed = None if row.get("seed") is None else str(row["seed"])
    genre = [_label(name) for name in _names(row.get("genre"))]
    source = plain(public_source(str(row.get("source_uri") or "")))
    own = {"seed": seed, "genre": genre, "source_uri": source, "outputs": list(_files(row))}
    review = row.get("review") or {}
    told = {name: text_of(review.get(name)) for name in ("verdict", "note", "reviewed_at")}
    earlier = [_earlier(version) for version in row.get("earlier") or ()]
    chosen = {"tried": plain(tried_text(row)) or None}
    return entry | own | chosen | {"review": told if review else None, "earlier": earlier or None}


def _earlier(version: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a version that a curator wanted redone."""
    urls = {file["name"]: file["url"] for file in _files(version)}
    shown = {name: text_of(version.get(name)) for name in ("prompt", "note", "finished_at")}
    return {**shown, "video": urls.get("video.mp4"), "poster": urls.get("poster.jpg")}


def public_source(uri: str) -> str | None:
    """Return what a public page may say of a source: no local folder, no credentials, no query."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.netloc and parts.scheme not in ("file", "parquet"):
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return PureWindowsPath(uri).name or None  # knows both kinds of slashes


def _files(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for output in row.get("outputs") or ():
        path = str(output.get("path") or "")
        yield {
            "name": undirected(str(output.get("name") or path.rpartition("/")[2])),
            "url": relative_url(path),
            "bytes": plain(output.get("bytes")),
            "sha256": plain(output.get("sha256")),
        }


def _common_folder(urls: list[str]) -> str:
    folders = {url.rpartition("/")[0] + "/" for url in urls if "/" in url}
    return folders.pop() if len(folders) == 1 and all("/" in url for url in urls) else ""


def status_of(row: Mapping[str, Any]) -> str:
    """Return the state of a row; anything unknown counts as failed, a rejected one as that."""
    status = str(row.get("status") or "")
    if status == "skipped" and row.get("code") == REJECTED:
        return REJECTED
    return status if status in STATES else "failed"


def text_of(value: Any) -> str | None:
    """Return a value as text without space around it; None for nothing."""
    return None if value is None else undirected(str(value)).strip() or None


def _names(value: Any) -> list[str]:
    """Return the names in a string or list field, without repeats, in their order."""
    values = [value] if isinstance(value, str) else value or []
    names = (text_of(name) for name in values)
    return list(dict.fromkeys(name for name in names if name))


def _label(name: str) -> str:
    """Return a class label as people read it: WikiArt writes `Post_Impressionism`."""
    return "Ukiyo-e" if name == "Ukiyo_e" else name.replace("_", " ")
