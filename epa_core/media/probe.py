"""What a written clip tells of itself: size, timing, codec, and which work it is of."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import av
import numpy as np

from epa_core.media.tags import XMP_UUID, mp4_boxes
from epa_core.media.video import frames_sha256

__all__ = ["ClipFacts", "probe_clip"]

# The end of the comment that tags.container_metadata writes; an item id may hold anything.
_ORIGIN: Final = re.compile(
    r"\[epa (?:item=(?P<item>.*) )?key=(?P<key>[^ ]+) config=(?P<config>[^ ]+)\]$"
)


@dataclass(frozen=True)
class ClipFacts:
    """Facts of one clip; ``item`` is the work's id as far as a tag holds it.

    ``info`` has width, height, frames, fps, duration (seconds), codec, marked_ai, and
    frames_sha256 where there is a lossless archive, else None.
    """

    item: str
    key: str
    config: str
    texts: Mapping[str, str]
    info: Mapping[str, Any]


def probe_clip(files: Mapping[str, bytes]) -> ClipFacts:
    """Facts of the clip in these ``files`` (name -> bytes); ValueError says what is wrong."""
    mp4 = files.get("video.mp4")
    if mp4 is None:
        raise ValueError("there is no video.mp4")
    try:
        with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
            texts = {str(name): str(text) for name, text in container.metadata.items()}
            info = _stream_facts(container)
        archive = files.get("frames.mkv")
        info["frames_sha256"] = _archived_digest(archive) if archive is not None else None
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise ValueError(f"it cannot be opened: {error}") from error
    origin = _ORIGIN.search(texts.get("comment", ""))
    if origin is None:
        raise ValueError("its tags name no work")
    boxes = mp4_boxes(mp4)
    info["marked_ai"] = any(k == b"uuid" and data.startswith(XMP_UUID) for k, data in boxes)
    return ClipFacts(origin["item"] or "", origin["key"], origin["config"], texts, info)


def _stream_facts(container: Any) -> dict[str, Any]:
    stream = container.streams.video[0]
    context = stream.codec_context
    rate = float(stream.average_rate or 0)
    count = stream.frames or sum(1 for _ in container.decode(stream))
    return {
        "width": context.width,
        "height": context.height,
        "frames": count,
        "fps": rate,
        "duration": count / rate if rate else None,
        "codec": context.name,
    }


def _archived_digest(data: bytes) -> str:
    """Digest of the frames before encoding, which the lossless archive holds."""
    with av.open(io.BytesIO(data), "r", format="matroska") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames_sha256(np.stack(frames))
