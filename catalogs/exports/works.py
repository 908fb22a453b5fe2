"""What is exported of a work: its files, and what may be told of it in public."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from catalogs.gallery_rows import public_source
from catalogs.safe_text import as_json

VIDEO, POSTER, PREVIEW = "video.mp4", "poster.jpg", "preview.webp"
_BATCH = 1000  # rows that are Python objects at one time

# Columns of metadata, in order. Where a file lies on somebody's disk is none of them. `ai_marking`
# says whether the video's own tags tell what made it; `digital_source_type` tells it in any case.
COLUMNS = (
    *("id", "cell", "title", "artist", "year", "style", "styles", "genre", "split"),
    *("prompt", "negative_prompt", "prompt_source", "seed", "variant"),
    *("model", "model_identity", "proxy", "proxy_identity"),
    *("flag", "motion", "motion_top5", "first_frame_ssim", "blend_share", "flicker", "drift"),
    *("loop_seam", "width", "height", "frames", "fps", "duration", "codec", "loop"),
    *("source", "source_uri", "source_sha256", "landing_url", "credit_line"),
    *("license", "rights", "rights_uri", "is_public_domain"),
    *("ai_marking", "digital_source_type"),
    *("key", "config_digest", "code_version", "frames_sha256", "sha256", "bytes"),
)
_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"


class File(NamedTuple):
    """One file of a result, as its record names it."""

    name: str
    path: str
    sha256: str
    bytes: int


class Work(NamedTuple):
    """One video to export, with the files wanted beside it; `facts` is one object of JSON.

    `files` begin with the video. Facts are kept as bytes, since collections are large.
    """

    item_id: str
    key: str
    cell: str | None
    artist: str | None
    title: str | None
    split: str | None
    files: tuple[File, ...]
    facts: bytes

    def told(self) -> dict[str, Any]:
        """The facts as values by column."""
        told: dict[str, Any] = json.loads(self.facts)
        return told


def works_of(table: Any, names: Sequence[str], source_type: str) -> Iterator[Work | str]:
    """The works of the rows of a joined table, in their order; the id of one without a video.

    `names` are the files wanted beside the video, left out where a work has none of that name.
    `source_type` is IPTC's term for what made the pictures.
    """
    for start in range(0, table.num_rows, _BATCH):
        for row in table.slice(start, _BATCH).to_pylist(maps_as_pydicts="lossy"):
            outputs = {output["name"]: File(**output) for output in row["outputs"] or ()}
            if VIDEO not in outputs:
                yield str(row["id"])
                continue
            files = [outputs[name] for name in (VIDEO, *names) if name in outputs]
            told = facts_of(row, files[0], source_type)
            yield Work(
                item_id=row["id"],
                key=row["key"],
                cell=row["cell"],
                artist=row["artist"],
                title=row["title"],
                split=row.get("split"),
                files=tuple(files),
                facts=as_json(told).encode(),
            )


def facts_of(row: Mapping[str, Any], video: File, source_type: str) -> dict[str, Any]:
    """What is told of a row: COLUMNS, each with a plain value or None."""
    own = {
        "source_uri": public_source(row["source_uri"]) if row["source_uri"] else None,
        "digital_source_type": _VOCABULARY + source_type,
        "sha256": video.sha256,
        "bytes": video.bytes,
    }
    return {name: _plain(own[name] if name in own else row.get(name)) for name in COLUMNS}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
