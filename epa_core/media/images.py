"""Paintings in: bytes nobody vouches for become plain 8-bit sRGB pictures, or a named refusal."""

import io
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from epa_core.errors import ItemError
from epa_core.media.containers import MOST_EXIF, check_attached, check_parts

# Decoders that run in this process. Left out on purpose: EPS and PDF start ghostscript, WMF asks
# the system, the rest no museum delivers. MPO (two-picture JPEG) is read as its first JPEG.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF", "PPM")

# Raised where a format announces a second size behind its header (a GIF frame, a tile).
_BOMBS: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# What Pillow's parsers let escape on malformed bytes; MemoryError is not the file's fault alone.
_DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_EXIF_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


# How Pillow says that compressed text grows beyond its limits (PngImagePlugin.MAX_TEXT_CHUNK).
_TEXT_BOMBS: Final = ("MAX_TEXT_CHUNK", "Too much memory used in text chunks")
# How its readers refuse kinds of pixels: JPEG of 12 bits, TIFF of three floats.
_MODES_REFUSED: Final = (
    "unknown pixel mode",
    "cannot handle ",
    "unable to determine J2K image mode",
    "Unsupported BMP pixel depth",
    "conversion from ",
)
# Modes that Pillow's own conversion to RGB shows as they are meant.
_CONVERTED: Final = ("L", "RGB", "CMYK", "LAB", "P", "RGBX", "RGBa", "YCbCr", "HSV")


@dataclass(frozen=True)
class ImageLimits:
    """What counts as a usable painting.

    Bytes of its file, pixels in all, shorter side (px), longer side over shorter.
    """

    max_bytes: int = 1_000_000_000
    max_pixels: int = 100_000_000
    min_side: int = 16
    max_aspect: float = 3.0


DEFAULT_LIMITS: Final = ImageLimits()


def decode_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode untrusted bytes to an upright 8-bit sRGB picture of mode RGB, first frame only.

    Transparency is laid on white, embedded ICC profiles are applied, 16-bit and float samples are
    scaled. The size is judged from the header, before any pixel is decoded, and what lies in front
    of the pixels before that. Raises ItemError decode_failed, truncated, too_small, too_large,
    extreme_aspect, unsupported_mode, and MemoryError.
    """
    if len(data) > limits.max_bytes:
        raise ItemError(
            "too_large",
            f"The image file has {len(data)} bytes; {limits.max_bytes} are allowed.",
        )
    check_parts(data, limits.max_pixels)
    source = _open(data)
    _check_size(source.width, source.height, limits)
    _check_mode(source)
    check_attached("profile", source.info.get("icc_profile"))
    check_attached("Exif block", source.info.get("exif"), MOST_EXIF)
    try:
        source.load()
        orientation = _orientation(source)
        image = _to_rgb(source)
    except (*_BOMBS, *_DECODE_ERRORS) as error:
        raise _refusal(data, error) from error
    image = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image.copy()
    image.info = {}  # a profile or comment left here would travel into every file saved from it
    return image


def canvas_size(width: int, height: int, area: int, multiple: int = 8) -> tuple[int, int]:
    """Return the (width, height) in px nearest to ``area`` px that keeps the aspect.

    Both are multiples of ``multiple``; the area exceeds ``area`` by no more than that rounding.
    """
    if min(width, height, area, multiple) < 1:
        raise ValueError(f"canvas_size needs positive numbers, got {width, height, area, multiple}")
    scale = math.sqrt(area / (width * height))
    fitted = [max(1, round(side * scale / multiple)) * multiple for side in (width, height)]
    return fitted[0], fitted[1]


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to exactly ``size`` (width, height) px with the Lanczos filter."""
    return image.copy() if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def from_png(data: bytes) -> Image.Image:
    """Decode a PNG of our own (mode RGB); any changed byte raises ItemError decode_failed."""
    _check_png_chunks(data)  # Pillow skips the checksums of the pixel chunks
    try:
        image = _open(data, ("PNG",)).convert("RGB")
    except _DECODE_ERRORS as error:
        raise ItemError("decode_failed", f"The stored PNG cannot be decoded: {error}.") from error
    image.info = {}
    return image


def _open(data: bytes, formats: tuple[str, ...] = FORMATS) -> ImageFile:
    """Read the header; the decoder is called directly so that only our own pixel limit holds.

    ``Image.open`` would compare with Pillow's process-wide limit, which belongs to the host.
    """
    if not data:
        raise ItemError("decode_failed", "The image file is empty.")
    Image.init()
    error: Exception | None = None
    for name in formats:
        if name not in Image.OPEN:  # a Pillow built without that codec
            continue
        factory, accept = Image.OPEN[name]
        verdict = accept is None or accept(data[:16])
        if not verdict or isinstance(verdict, str):  # a string says why not
            continue
        try:
            # The registered JPEG factory prefers MPO and reads the index of all its pictures.
            return (
                JpegImageFile(io.BytesIO(data)) if name == "JPEG" else factory(io.BytesIO(data), "")
            )
        except (*_BOMBS, *_DECODE_ERRORS) as raised:
            error = raised
    raise _refusal(data, error)


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    """Refuse by size alone; the aspect reads the same whichever way up the picture is."""
    if width * height > limits.max_pixels:
        raise ItemError(
            "too_large",
            f"The image has {width} x {height} pixels; {limits.max_pixels} in all are allowed.",
        )
    if min(width, height) < limits.min_side:
        raise ItemError(
            "too_small",
            f"The image has {width} x {height} pixels; each side needs {limits.min_side}.",
        )
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ItemError(
            "extreme_aspect",
            f"The image has {width} x {height} pixels; at most {limits.max_aspect:g}:1 is allowed.",
        )


def _refusal(data: bytes, error: Exception | None) -> ItemError:
    """Name the failure: a size hidden from the header, a file cut short, or an unreadable one."""
    if isinstance(error, _BOMBS):
        return ItemError("too_large", f"The image is larger than its header says: {error}.")
    reason = str(error).rstrip(".") if error else "not a known image format"
    if "out of memory" in reason:
        raise MemoryError(reason) from error
    if any(said in reason for said in _TEXT_BOMBS):
        return ItemError("too_large", f"The image holds too much text: {reason}.")
    if any(said in reason for said in _MODES_REFUSED):
        return ItemError("unsupported_mode", f"The image's kind of pixels is not read: {reason}.")
    if "truncated" in reason.lower() or _is_cut(data):
        return ItemError("truncated", f"The image file is cut short: {reason}.")
    return ItemError("decode_failed", f"The file cannot be read as an image: {reason}.")


def _is_cut(data: bytes) -> bool:
    """Say whether the bytes end before the end that their own format announces."""
    if data.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in data[-4096:]
    if data.startswith(_PNG_SIGNATURE):
        return b"IEND" not in data[-4096:]
    if data.startswith(b"RIFF"):
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data[:4] in (b"II*\0", b"MM\0*"):
        return len(data) < int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big")
    return False


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation (1-8), 1 where there is none or the block is broken."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _DECODE_ERRORS:
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Bring any mode to RGB: depth, then profile, then transparency on white."""
    icc = image.info.get("icc_profile")
    alpha: Image.Image | None = None
    if image.mode.startswith(("I", "F")):
        image = _eight_bit(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("RGB")
    rgb = _to_srgb(image, icc)
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _check_mode(image: ImageFile) -> None:
    """Refuse pixels whose conversion would drop a part of them."""
    tile = image.tile[0].args if image.tile else ()
    raw = str(tile[0] if isinstance(tile, tuple) and tile else tile)
    known = image.mode in _CONVERTED or image.has_transparency_data or image.mode[0] in "1IF"
    if not known or raw.startswith("CMYKX"):  # TIFF with inks beside the four
        raise ItemError(
            "unsupported_mode", f"The image's kind of pixels is not read: {image.mode} ({raw})."
        )


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale integer or float samples to 8-bit grey; Pillow's own conversion would clip them.

    16-bit modes span 0..65535. Modes I and F do not say their range: the smallest of 1 (F only),
    255, 65535, 2^31 - 1 that holds the largest sample is taken. Negative and NaN become 0.
    """
    samples = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    if image.mode.startswith("I;16"):
        span = 65535.0
    else:
        spans = ((1.0,) if image.mode == "F" else ()) + (255.0, 65535.0, 2.0**31 - 1)
        peak = float(samples.max())
        span = next((s for s in spans if peak <= s), peak)
    return Image.fromarray(np.clip(np.rint(samples * (255.0 / span)), 0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert L, RGB, CMYK or LAB to RGB in sRGB; a profile that is broken or unfit is ignored."""
    try:
        if icc:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            if "sRGB" in ImageCms.getProfileDescription(profile) and image.mode == "RGB":
                return image
            if image.mode == "L" and profile.profile.xcolor_space.strip() == "RGB":
                image = image.convert("RGB")
            return _convert(image, profile)
        if image.mode == "LAB":
            return _convert(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    except (ImageCms.PyCMSError, *_DECODE_ERRORS):
        pass
    return image.convert("RGB")


def _convert(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if converted is None:  # only when converting in place
        raise ValueError("the profile gave no picture")
    return converted


def _check_png_chunks(data: bytes) -> None:
    """Check signature, every chunk's CRC-32 and the end (PNG 3rd edition, section 5)."""
    position = len(_PNG_SIGNATURE)
    kind = b""
    intact = data[:position] == _PNG_SIGNATURE
    while intact and kind != b"IEND":
        length = int.from_bytes(data[position : position + 4])
        end = position + 12 + length
        kind = data[position + 4 : position + 8]
        checksum = zlib.crc32(memoryview(data)[position + 4 : end - 4])
        intact = end <= len(data) and checksum == int.from_bytes(data[end - 4 : end])
        position = end
    if not intact or position != len(data):
        raise ItemError("decode_failed", "The stored PNG is damaged.")
