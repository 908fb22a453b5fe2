"""Stage 5: frames become the files a museum can use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tasks.base import Params as _Params

if TYPE_CHECKING:
    import numpy as np

    from epa_core.media.video import Clip

VERSION = 1


class Params(_Params):
    """How the frames are written."""

    fps: int | None = Field(None, ge=1, le=240, description="frames per second; model's if empty")
    crf: int = Field(18, ge=1, le=51, description="H.264 quality, lower is better")
    preset: Literal["ultrafast", "veryfast", "medium", "slow"] = "veryfast"
    loop: Literal["none", "ping-pong", "cross-fade"] = "none"
    cross_fade_frames: int = Field(4, ge=1, le=64)
    archive: bool = Field(False, description="also write lossless frames.mkv (FFV1)")
    gif: bool = Field(False, description="also write video.gif (delays in hundredths of a second)")
    preview_side: int = Field(256, ge=16, le=4096, description="longer side of preview.webp")
    mark_ai: bool = Field(True, description="mark files as made by an algorithm (IPTC)")


def run(frames: np.ndarray, params: Params, tags: Mapping[str, str]) -> Clip:
    """Encode ``frames`` (uint8 [F, H, W, 3]); the written file has been reopened and checked."""
    from epa_core.media.video import EncodeSettings, VideoTags, encode_clip

    settings: dict[str, Any] = params.model_dump()
    return encode_clip(frames, EncodeSettings(**settings), VideoTags(**tags))
