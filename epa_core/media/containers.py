"""What lies in front of a picture's pixels: counted before any decoder walks it part by part.

Pillow reads headers, tags, comments and profiles in Python and keeps them, so a small file can ask
for hours or for gigabytes before its first pixel. Sizes in pixels are `images`' business. Layouts:
ITU-T T.81 annex B, PNG 3rd edition section 5, GIF89a, TIFF 6.0 section 2, ISO 15444-1 annex I.
"""

import re
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from epa_core.errors import ItemError

MOST_ATTACHED: Final = 64 << 20  # bytes in front of the pixels: profile, preview, texts
MOST_EXIF: Final = 4 << 20  # Exif bytes, of which Pillow makes Python numbers
MOST_PARTS: Final = 200_000  # 600 MB of pixels in the usual PNG chunks of 8 KiB are 75,000
MOST_VALUES: Final = 1_000_000  # numbers in TIFF tags: 100 megapixels in 390,000 tiles of 16 px
MOST_SCANS: Final = 400  # of a progressive JPEG; each walks the whole picture, 10 are usual
_MOST_JP2_HEADER: Final = 16 << 20  # bytes; mostly a profile
_MOST_TEXT_HEADER: Final = 1 << 16  # bytes, of PNM formats
_TILE_SIDES: Final = (322, 323)
# TIFF's types of numbers (what is bytes or text stays so), with their sizes.
_NUMBERS: Final = {3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8}


def check_parts(data: bytes, max_pixels: int) -> None:
    """ItemError ``too_large`` where the parts beside the pixels are too many or too large.

    What is damaged passes: the decoder says it better.
    """
    for starts, check in _CHECKS:
        if data.startswith(starts):
            with suppress(struct.error, IndexError):
                check(data, max_pixels)
            return


def check_attached(name: str, attached: object, most: int = MOST_ATTACHED) -> None:
    """ItemError ``too_large`` for a profile or an Exif block of more than ``most`` bytes."""
    if isinstance(attached, bytes) and len(attached) > most:
        raise _refused(f"its {name} has {len(attached)} bytes, {most} are allowed")


def _refused(what: str) -> ItemError:
    return ItemError("too_large", f"The file holds more beside its pixels than a picture: {what}.")


def _count(number: int, most: int, what: str) -> None:
    if number > most:
        raise _refused(f"more than {most} {what}")


def _jpeg(data: bytes, _: int) -> None:
    position, parts, exif = 2, 0, 0
    while position + 1 < len(data):
        marker = data[position + 1]
        if data[position] == 0xFF and marker == 0xDA:
            break
        parts += 1
        if data[position] != 0xFF or marker == 0xFF:  # Pillow skips these byte by byte, too
            position += 1
        elif marker == 0x00 or 0xD0 <= marker <= 0xD9:  # without a length
            position += 2
        else:
            (length,) = struct.unpack_from(">H", data, position + 2)
            exif += length if data[position + 4 : position + 8] == b"Exif" else 0
            position += 2 + length
        _count(parts, MOST_PARTS, "segments")
        _count(exif, MOST_EXIF, "bytes of Exif")
        _count(position, MOST_ATTACHED, "bytes")
    if b"\xff\xc2" in data[: position + 2]:  # perhaps progressive
        _count(data.count(b"\xff\xda", position), MOST_SCANS, "scans")


def _png(data: bytes, _: int) -> None:
    position, parts, attached = 8, 0, 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        parts += 1
        attached += length if kind != b"IDAT" else 0
        _count(parts, MOST_PARTS, "chunks")
    _count(attached, MOST_ATTACHED, "bytes")


def _gif(data: bytes, _: int) -> None:
    position, parts = 13, 0
    if data[10] & 0x80:
        position += 3 << ((data[10] & 7) + 1)
    while data[position] not in (0x2C, 0x3B):  # up to the first frame or the end
        extension = data[position] == 0x21
        position += 2 if extension else 1
        while extension and data[position]:
            position += 1 + data[position]
            parts += 1
            _count(parts, MOST_PARTS, "blocks")
        position += 1 if extension else 0
        parts += 1
        _count(parts, MOST_PARTS, "blocks")


def _tiff(data: bytes, max_pixels: int) -> None:
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    number, entry = ("Q", "HHQ") if big else ("H", "HHI")
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (tags,) = struct.unpack_from(order + number, data, start)
    values, tile = 0, 1
    for index in range(tags):
        _count(index, MOST_PARTS, "tags")
        at = start + struct.calcsize(number) + index * (20 if big else 12)
        tag, kind, count = struct.unpack_from(order + entry, data, at)
        if count * _NUMBERS.get(kind, 0) <= len(data):  # others are skipped: they are not there
            values += count if kind in _NUMBERS else 0
        if tag in _TILE_SIDES and kind in (3, 4):
            value = order + ("H" if kind == 3 else "I")
            tile *= struct.unpack_from(value, data, at + struct.calcsize("=" + entry))[0]
    _count(values, MOST_VALUES, "numbers in its tags")
    if tile > max_pixels:
        raise ItemError("too_large", f"A tile of the image has {tile} pixels.")


def _jp2(data: bytes, _: int) -> None:
    position, parts = 0, 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"jp2c":
            return _j2k(data, position + 8)
        if kind == b"jp2h":
            _count(length, _MOST_JP2_HEADER, "bytes")
        position += max(length, 8)
        parts += 1
        _count(parts, MOST_PARTS, "boxes")
    return None


def _j2k(data: bytes, start: int = 0) -> None:
    position, parts = start + 2, 0
    while data[position + 1] not in (0x90, 0xD9):  # a tile, or the end
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + max(length, 2)
        parts += 1
        _count(parts, MOST_PARTS, "segments")


def _pnm(data: bytes, _: int) -> None:
    head = re.sub(rb"#[^\r\n]*", b" ", data[:_MOST_TEXT_HEADER])
    if len(data) > _MOST_TEXT_HEADER and len(head.split(None, 3)) < 4:
        raise _refused("a header of text without end")


_CHECKS: Final[tuple[tuple[tuple[bytes, ...], Callable[[bytes, int], None]], ...]] = (
    ((b"\xff\xd8",), _jpeg),
    ((b"\x89PNG\r\n\x1a\n",), _png),
    ((b"GIF8",), _gif),
    (
        tuple(
            order + mark for order in (b"II", b"MM") for mark in (b"*\0", b"\0*", b"+\0", b"\0+")
        ),
        _tiff,
    ),
    ((b"\0\0\0\x0cjP  ",), _jp2),
    ((b"\xff\x4f\xff\x51",), lambda data, _: _j2k(data)),
    (tuple(b"P" + kind for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"f", b"F")), _pnm),
)
