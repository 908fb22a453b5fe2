"""Clips as animated GIF (GIF89a), for pages and slides that take no video.

GIF has 256 colours and counts time in hundredths of a second. All frames share one palette, so that
what stands still keeps its colours, and are dithered, because painted skies show steps otherwise.
"""

import io
import math
from fractions import Fraction
from itertools import pairwise
from typing import Final

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray
from PIL import Image

__all__ = ["check_gif", "encode_gif"]

Frames = NDArray[np.uint8]

_COLOURS: Final = 255  # the last place of the palette is for "as in the frame before"
_PALETTE_PIXELS: Final = 2**23  # at most so many pixels, spread over all frames, choose the palette
# Browsers take a delay of one hundredth for a mistake and show the frame for ten.
_SHORTEST: Final = 2
# Mean difference, in levels, of 8x8 px means before and after: below 1 on paintings, 3 on noise.
_MAX_ERROR: Final = 24.0
# The end of a data block that is not cut into sub-blocks (XMP specification, part 3, GIF): from
# whichever of these bytes a reader steps by as many bytes as it says, it lands on the last one.
_XMP_TRAILER: Final = bytes([1, *range(255, -1, -1), 0])


def encode_gif(frames: Frames, fps: int, xmp: bytes | None = None) -> bytes:
    """Encode frames, uint8 [F, H, W, 3], to an endless GIF of as many frames.

    Delays are whole hundredths whose sums stay within half a hundredth of the true time (8 fps: 12
    and 13 by turns); beyond 50 fps every frame is shown for two. ``xmp`` is put before the trailer.
    """
    height, width = frames.shape[1:3]
    palette = _palette(frames)
    colours = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue; the last one transparent
    chosen = np.array(palette.getpalette("RGB"), np.uint8).reshape(-1, 3)[:_COLOURS]
    colours[: len(chosen), 1:] = chosen
    colours[:_COLOURS, 0] = 255
    delays = _delays(len(frames), fps)
    starts = np.cumsum([0, *delays])
    buffer = io.BytesIO()
    options = {"loop": "0", "final_delay": str(delays[-1]), "fflags": "+bitexact"}
    with av.open(buffer, "w", format="gif", options=options) as container:
        stream = container.add_stream("gif", rate=fps)
        stream.height, stream.width = height, width
        stream.pix_fmt = "pal8"
        stream.codec_context.time_base = Fraction(1, 100)
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        for rgb, start in zip(frames, starts, strict=False):
            picture = Image.fromarray(rgb).quantize(palette=palette)  # Floyd-Steinberg
            frame = av.VideoFrame.from_ndarray((np.asarray(picture), colours), format="pal8")
            frame.pts, frame.time_base = int(start), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = buffer.getvalue()
    if xmp is None:
        return data
    return data[:-1] + b"\x21\xff\x0bXMP DataXMP" + xmp + _XMP_TRAILER + data[-1:]


def check_gif(data: bytes, frames: Frames, fps: int) -> None:
    """Reopen the file with another reader and compare; ValueError names what is wrong."""
    with Image.open(io.BytesIO(data), formats=("GIF",)) as gif:
        found = (getattr(gif, "n_frames", 1), *gif.size)
        wanted = (len(frames), frames.shape[2], frames.shape[1])
        if found != wanted:
            raise ValueError(f"the GIF has {found} frames, width, height in place of {wanted}")
        if len(frames) > 1 and gif.info.get("loop") != 0:
            raise ValueError("the GIF does not loop for ever")
        for index, delay in enumerate(_delays(len(frames), fps)):
            gif.seek(index)
            shown = gif.convert("RGB")
            if gif.info.get("duration") != 10 * delay:
                stored = gif.info.get("duration")
                raise ValueError(f"frame {index} of the GIF lasts {stored} ms, not {10 * delay}")
            error = _error(Image.fromarray(frames[index]), shown)
            if error > _MAX_ERROR:
                raise ValueError(f"frame {index} of the GIF is off by {error:.0f} levels")


def _delays(count: int, fps: int) -> list[int]:
    """How long each frame is shown, in hundredths of a second."""
    ends = [round(100 * index / fps) for index in range(count + 1)]
    return [max(_SHORTEST, end - start) for start, end in pairwise(ends)]


def _palette(frames: Frames) -> Image.Image:
    """A picture that carries the colours for all frames."""
    step = math.ceil(math.sqrt(frames.size / (3 * _PALETTE_PIXELS)))
    some = frames[:, ::step, ::step]
    below = Image.fromarray(np.ascontiguousarray(some).reshape(-1, *some.shape[2:]))
    # The fast octree beats the median cut on skies: 52 against 43 dB once the dither is blurred.
    return below.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _error(given: Image.Image, shown: Image.Image) -> float:
    """Mean absolute difference in levels of the means of 8x8 px, which dithering keeps."""
    first, second = (np.asarray(picture.reduce(8), np.int16) for picture in (given, shown))
    return float(np.abs(first - second).mean())
