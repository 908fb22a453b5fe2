"""Clips out: frames become an H.264 file for players, a looping preview, a poster, an archive.

Formats: MP4 (ISO 14496-14) with H.264 High 4:2:0, BT.709 limited range, all four colour tags, the
index before the data; animated WebP; JPEG; FFV1 level 3 (RFC 9043) in Matroska; GIF.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.filter
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray
from PIL import Image

from epa_core.errors import ItemError
from epa_core.media.gif import check_gif, encode_gif
from epa_core.media.loops import LOOPS, Loop, loop_frames
from epa_core.media.tags import (
    VideoTags,
    append_xmp_box,
    container_metadata,
    mp4_boxes,
    xmp_packet,
)

__all__ = ["Clip", "EncodeSettings", "VideoTags", "encode_clip", "frames_sha256"]

Frames = NDArray[np.uint8]

_BT709: Final = 1  # the code of BT.709 in all of matrix, primaries, transfer (ITU-T H.273)
_LIMITED: Final = 1  # AVCOL_RANGE_MPEG
_CONVERSION: Final = (
    "in_range=full:out_range=limited:out_color_matrix=bt709:out_chroma_loc=left:threads=1"
)
# Mean luma difference, in levels, between frame 0 before and after H.264. At crf 18 it is below 2,
# at crf 51 about 10; beyond this the file shows something else than what was given.
_MAX_LUMA_ERROR: Final = 24.0


@dataclass(frozen=True)
class EncodeSettings:
    """How a clip is written; sides in px, ``cross_fade_frames`` counts the blended frames.

    ValueError for a rate, quality or side out of range.
    """

    fps: int = 8
    crf: int = 18  # 1..51; 41 dB on paintings at a twentieth of the lossless size
    preset: str = "veryfast"  # half the time of "medium" for 7 % more bytes
    loop: Loop = "none"
    cross_fade_frames: int = 4
    archive: bool = False
    gif: bool = False
    preview_side: int = 256
    mark_ai: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("fps", 1, 240), ("crf", 1, 51), ("preview_side", 16, 4096)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is {low} to {high}")
        if self.loop not in LOOPS:
            raise ValueError(f"loop is {self.loop!r}; allowed are {', '.join(LOOPS)}")


@dataclass(frozen=True)
class Clip:
    """The written files by name, and what is known about them."""

    files: dict[str, bytes]
    info: dict[str, Any]


def frames_sha256(frames: Frames) -> str:
    """Digest of the pictures themselves: SHA-256 over dtype, shape and bytes, hexadecimal."""
    head = f"{frames.dtype.name} {'x'.join(map(str, frames.shape))}\n".encode()
    digest = hashlib.sha256(head)
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


def encode_clip(frames: Frames, settings: EncodeSettings, tags: VideoTags) -> Clip:
    """Encode frames, uint8 [F, H, W, 3], to video.mp4, preview.webp and poster.jpg.

    ``settings`` may ask for frames.mkv and for video.gif, of the MP4's size. MP4, archive and GIF
    are reopened, decoded and compared before this returns. An odd side is padded by one copied edge
    column or row; ``info["crop"]`` (x, y, width, height) is the picture without it. The archive
    holds the frames as given, before looping. ItemError encode_failed on any failure but
    MemoryError.
    """
    _check_frames(frames)
    shown = loop_frames(frames, settings.loop, settings.cross_fade_frames)
    xmp = xmp_packet(tags) if settings.mark_ai else None
    metadata = container_metadata(tags, mark_ai=settings.mark_ai)
    try:
        mp4 = _encode_mp4(_even(shown), settings, metadata)
        if xmp is not None:
            mp4 = append_xmp_box(mp4, xmp)
        files = {
            "video.mp4": mp4,
            "preview.webp": _encode_webp(shown, settings, xmp),
            "poster.jpg": _encode_jpeg(frames[0], xmp),
        }
        if settings.archive:
            files["frames.mkv"] = _encode_ffv1(frames, settings, metadata, tags.source_uri)
        if settings.gif:
            files["video.gif"] = encode_gif(_even(shown), settings.fps, xmp)
            check_gif(files["video.gif"], _even(shown), settings.fps)
        info = _check_mp4(mp4, _even(shown), settings)
        if settings.archive:
            _check_ffv1(files["frames.mkv"], frames)
    except MemoryError:  # PyAV's is an FFmpegError, too, and says nothing of the clip
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ItemError("encode_failed", f"The clip could not be encoded: {error}.") from error
    info |= {
        "crop": (0, 0, frames.shape[2], frames.shape[1]),
        "source_frames": len(frames),
        "loop": settings.loop,
        "marked_ai": settings.mark_ai,
        "frames_sha256": frames_sha256(frames),
    }
    return Clip(files, info)


def _check_frames(frames: Frames) -> None:
    """Refuse anything but a non-empty uint8 [F, H, W, 3]."""
    dtype, shape = (
        getattr(frames, "dtype", type(frames).__name__),
        tuple(getattr(frames, "shape", ())),
    )
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        wrong = f"{dtype} {list(shape)}"
        raise ItemError("encode_failed", f"Frames must be uint8 [F, H, W, 3], not {wrong}.")


def _even(frames: Frames) -> Frames:
    """Pad odd sides by one copied edge: 4:2:0 chroma needs even ones."""
    _, height, width, _ = frames.shape
    if height % 2 == 0 and width % 2 == 0:
        return frames
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encode_mp4(frames: Frames, settings: EncodeSettings, metadata: Mapping[str, str]) -> bytes:
    """H.264 in MP4; one thread and bit-exact flags, so one build gives the same bytes again."""
    with tempfile.TemporaryDirectory(prefix="epa-") as folder:
        path = Path(folder) / "video.mp4"  # moving the index forward needs a file to go back in
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(path), "w", format="mp4", options=options) as container:
            container.metadata.update(metadata)
            stream = container.add_stream("libx264", rate=settings.fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.options = {
                "preset": settings.preset,
                "crf": str(settings.crf),
                "profile": "high",
                "mbtree": "0",  # its outcome depends on leftover memory: other bytes each time
            }
            context = stream.codec_context
            context.thread_count = 1
            context.flags |= Flags.bitexact
            context.color_range, context.colorspace = _LIMITED, _BT709
            context.color_primaries = context.color_trc = _BT709
            for frame in _to_yuv(frames, settings.fps):
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path.read_bytes()


def _to_yuv(frames: Frames, fps: int) -> Iterator[av.VideoFrame]:
    """RGB (full range) to 4:2:0 BT.709 limited range, one integer time step per frame.

    Chroma samples lie on the left luma column, as H.264 decoders expect; the plain conversion puts
    them between two columns, half a pixel off (ITU-T H.264, figure E-1).
    """
    graph = av.filter.Graph()
    step = Fraction(1, fps)
    height, width = frames.shape[1:3]
    graph.link_nodes(
        graph.add_buffer(width=width, height=height, format="rgb24", time_base=step),
        graph.add("scale", _CONVERSION),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ).configure()
    for index, rgb in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts, frame.time_base = index, step
        graph.push(frame)
        yield graph.pull()


def _encode_ffv1(
    frames: Frames, settings: EncodeSettings, metadata: Mapping[str, str], source_uri: str
) -> bytes:
    """FFV1 level 3 with a checksum per slice, every frame a key frame, in Matroska."""
    buffer = io.BytesIO()
    options = {"fflags": "+bitexact"}
    with av.open(buffer, "w", format="matroska", options=options) as container:
        container.metadata.update(metadata)
        if settings.mark_ai:
            container.metadata["DIGITAL_SOURCE_TYPE"] = source_uri
        stream = container.add_stream("ffv1", rate=settings.fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        stream.options = {"level": "3", "slicecrc": "1", "g": "1"}
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        for index, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame = frame.reformat(format="bgr0", threads=1)
            frame.pts, frame.time_base = index, Fraction(1, settings.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def _encode_webp(frames: Frames, settings: EncodeSettings, xmp: bytes | None) -> bytes:
    """Endless animated WebP, quality 75, longer side at most ``preview_side`` px."""
    height, width = frames.shape[1:3]
    scale = min(1.0, settings.preview_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = [Image.fromarray(frame) for frame in frames]
    if scale < 1:
        pictures = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    # WebP counts in milliseconds; rounding the end times keeps the sum right at any rate.
    ends = [round(1000 * (index + 1) / settings.fps) for index in range(len(frames))]
    durations = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        quality=75,
        method=1,  # a third of the time of the default for a fifth more bytes
        kmin=len(frames),
        kmax=len(frames) + 1,  # no key frames in between: nobody seeks in a preview
        xmp=xmp or b"",
    )
    return buffer.getvalue()


def _encode_jpeg(frame: Frames, xmp: bytes | None) -> bytes:
    buffer = io.BytesIO()
    extra = {"xmp": xmp} if xmp else {}
    Image.fromarray(frame).save(buffer, format="JPEG", quality=90, **extra)
    return buffer.getvalue()


def _check_mp4(data: bytes, frames: Frames, settings: EncodeSettings) -> dict[str, Any]:
    """Reopen the file and compare everything a player relies on; ValueError names what is wrong."""
    kinds = [kind for kind, _ in mp4_boxes(data)]
    _expect("index before data", kinds.index(b"moov") < kinds.index(b"mdat"), True)
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1
        pictures = list(container.decode(stream))
        times = [float(p.pts * p.time_base) for p in pictures if p.pts is not None]
        info = {
            "width": context.width,
            "height": context.height,
            "frames": len(pictures),
            "fps": float(stream.average_rate or 0),
            "codec": context.name,
            "pix_fmt": context.pix_fmt,
            "profile": context.profile,
        }
        names = ("color_range", "colorspace", "color_primaries", "color_trc")
        colours = tuple(int(getattr(context, name)) for name in names)
    count, height, width, _ = frames.shape
    _expect("frame count", info["frames"], count)
    _expect("frame rate", info["fps"], float(settings.fps))
    _expect("size", (info["width"], info["height"]), (width, height))
    _expect("pixel format", info["pix_fmt"], "yuv420p")
    _expect("colour tags", colours, (_LIMITED, _BT709, _BT709, _BT709))
    _expect("time stamps", times, [index / settings.fps for index in range(count)])
    error = _luma_error(frames[0], pictures[0])
    if error > _MAX_LUMA_ERROR:
        raise ValueError(f"the first frame came back different by {error:.0f} levels on average")
    return info | {"duration": count / settings.fps}


def _luma_error(rgb: Frames, decoded: av.VideoFrame) -> float:
    """Mean absolute luma difference in levels, BT.709 limited range; read from the Y plane."""
    plane = decoded.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32) * np.float32(219 / 255)
    return float(np.abs(rgb @ weights + np.float32(16) - luma).mean())


def _check_ffv1(data: bytes, frames: Frames) -> None:
    """Decode the archive and compare bit by bit."""
    with av.open(io.BytesIO(data), "r") as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    same = len(decoded) == len(frames) and all(map(np.array_equal, decoded, frames))
    _expect("archive equal to the frames", same, True)


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise ValueError(f"the written file has {what} {found!r} in place of {wanted!r}")
