"""Malformed pictures of all formats, made by code, and a run over them: python malformed.py FOLDER.

`malformed()` gives file name -> bytes. The program prints one JSON document: what the works of a
run over all of them and their good neighbours ended in, how long it took, how memory grew.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from failing_works import float_tiff
from paintings import painting, tiny_run
from PIL import Image

FORMATS = {
    "jpg": ("JPEG", {"quality": 95}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {"lossless": True}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("BMP", {}),
    "jp2": ("JPEG2000", {}),
    "avif": ("AVIF", {}),
    "ppm": ("PPM", {}),
}
NEIGHBOURS = 12  # good works among them
MANY = 250_000


def encoded(kind: str, image: Image.Image | None = None, **more: object) -> bytes:
    name, options = FORMATS[kind]
    buffer = io.BytesIO()
    (image or painting(3, 64, 48)).save(buffer, name, **{**options, **more})
    return buffer.getvalue()


def malformed() -> dict[str, bytes]:
    """All of them."""
    kinds = (_cut(), _damaged(), _bombs(), _in_front(), _tiffs(), _empty(), _foreign())
    return {name: data for kind in kinds for name, data in kind}


def _cut() -> Iterator[tuple[str, bytes]]:
    for kind in FORMATS:
        data = encoded(kind)
        for share in (0.02, 0.3, 0.9):
            yield f"cut-{round(100 * share)}.{kind}", data[: max(4, int(len(data) * share))]


def _damaged() -> Iterator[tuple[str, bytes]]:
    dice = random.Random(5)
    for kind in FORMATS:
        data = bytearray(encoded(kind))
        yield f"first-byte.{kind}", bytes([data[0] ^ 0xFF]) + bytes(data[1:])
        for position in dice.sample(range(12, len(data)), 24):
            data[position] = dice.randrange(256)
        yield f"noise.{kind}", bytes(data)
        yield f"doubled.{kind}", encoded(kind)[:40] + encoded(kind)
    jpeg = encoded("jpg")
    at = jpeg.index(b"\xff\xc0")
    yield "twelve-bits.jpg", jpeg[: at + 4] + b"\x0c" + jpeg[at + 5 :]
    yield "no-tables.jpg", jpeg.replace(b"\xff\xdb", b"\xff\xfe").replace(b"\xff\xc4", b"\xff\xfe")
    yield "wrong-checksum.png", _png(64, 48, zlib.compress(bytes(48 * 193)), checksum=1)
    yield "wrong-stream.png", _png(64, 48, b"no deflate stream at all")
    yield "no-pixels.png", _png(64, 48, b"")
    yield "too-few-pixels.png", _png(64, 48, zlib.compress(bytes(100)))


def _bombs() -> Iterator[tuple[str, bytes]]:
    """A few bytes that say they are billions of pixels."""
    yield "bomb.png", _png(50_000, 50_000, zlib.compress(bytes(100)))
    jpeg = encoded("jpg")
    at = jpeg.index(b"\xff\xc0") + 5
    yield "bomb.jpg", jpeg[:at] + struct.pack(">HH", 65_500, 65_500) + jpeg[at + 4 :]
    yield "flat.jpg", jpeg[:at] + struct.pack(">HH", 0, 64) + jpeg[at + 4 :]
    gif = bytearray(encoded("gif"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield "bomb.gif", bytes(gif)
    frame = bytearray(encoded("gif"))
    at = frame.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 64, 48))
    frame[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    yield "frame-bomb.gif", bytes(frame)
    bmp = bytearray(encoded("bmp"))
    bmp[18:26] = struct.pack("<ii", 2**30, 2**30)
    yield "bomb.bmp", bytes(bmp)
    bmp[18:26] = struct.pack("<ii", -5, -(2**31))
    yield "negative.bmp", bytes(bmp)
    yield "bomb.ppm", b"P6 99999 99999 255\n" + bytes(100)
    yield "bomb.pgm", b"P5 20000 20000 65535\n"
    canvas = io.BytesIO()
    Image.new("RGB", (16_000, 16_000)).save(canvas, "WEBP", lossless=True, quality=0, method=0)
    yield "bomb.webp", canvas.getvalue()  # a whole one: 256 megapixels in some kilobytes
    jp2 = bytearray(encoded("jp2"))
    at = jp2.index(b"\xff\x4f\xff\x51") + 8
    jp2[at : at + 8] = struct.pack(">II", 2**31, 2**31)
    at = jp2.index(b"ihdr") + 4
    jp2[at : at + 8] = struct.pack(">II", 2**31, 2**31)
    yield "bomb.jp2", bytes(jp2)
    scans = encoded("jpg", progressive=True)
    last = scans.rindex(b"\xff\xda")
    yield "scans.jpg", scans[:last] + scans[last:-2] * 5_000 + b"\xff\xd9"


def _in_front() -> Iterator[tuple[str, bytes]]:
    """What lies in front of the pixels is endless, or grows when it is unpacked."""
    png, jpeg, gif, jp2 = (encoded(kind) for kind in ("png", "jpg", "gif", "jp2"))
    zeros = zlib.compress(bytes(64 << 20))
    yield "text.png", png[:33] + _chunk(b"zTXt", b"k\0\0" + zeros) + png[33:]
    yield "itext.png", png[:33] + _chunk(b"iTXt", b"k\0\1\0\0\0" + zeros) + png[33:]
    yield (
        "texts.png",
        png[:33] + _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000))) * 90 + png[33:],
    )
    yield "profile.png", png[:33] + _chunk(b"iCCP", b"p\0\0" + zeros) + png[33:]
    yield "chunks.png", png[:33] + _chunk(b"teSt", b"") * MANY + png[33:]
    yield "frames.png", png[:33] + _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + png[33:]
    yield "segments.jpg", jpeg[:2] + b"\xff\xe5\0\2" * MANY + jpeg[2:]
    yield "junk.jpg", jpeg[:2] + bytes(MANY) + jpeg[2:]
    exif = b"Exif\0\0II*\0" + bytes(60_000)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    yield "exif.jpg", jpeg[:2] + segment * 90 + jpeg[2:]
    count = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 3, 2**31, 8) + bytes(4)
    segment = b"\xff\xe1" + struct.pack(">H", len(count) + 2) + count
    yield "orientations.jpg", jpeg[:2] + segment + jpeg[2:]
    loop = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + b"\x08\0\0\0"
    segment = b"\xff\xe1" + struct.pack(">H", len(loop) + 2) + loop
    yield "loop.jpg", jpeg[:2] + segment + jpeg[2:]
    head = 13 + (3 << ((gif[10] & 7) + 1))
    yield "comments.gif", gif[:head] + b"\x21\xfe\1x\0" * MANY + gif[head:]
    yield "comment.gif", gif[:head] + b"\x21\xfe" + b"\1x" * MANY + b"\0" + gif[head:]
    yield "junk.gif", gif[:head] + bytes(MANY) + gif[head:]
    frames = [painting(number, 32, 32) for number in range(40)]
    yield "many-frames.gif", encoded("gif", frames[0], save_all=True, append_images=frames * 30)
    yield "boxes.jp2", jp2[:12] + b"\0\0\0\x08free" * MANY + jp2[12:]
    at = jp2.index(b"\xff\x4f\xff\x51")
    (size,) = struct.unpack_from(">H", jp2, at + 4)
    end = at + 4 + size
    yield "markers.jp2", jp2[:end] + b"\xff\x30\0\2" * MANY + jp2[end:]
    yield "comment.ppm", b"P6\n#" + b"x" * (4 << 20) + b"\n64 48\n255\n" + bytes(64 * 48 * 3)
    yield "comments.ppm", b"P6\n" + b"#\n" * (2 << 20) + b"64 48\n255\n" + bytes(64 * 48 * 3)


def tiff(*entries: tuple[int, int, int, int], tail: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of these tags (tag, type, count, value or offset), 64x48 grey else."""
    usual = {256: (3, 1, 64), 257: (3, 1, 48), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    usual |= {273: (4, 1, 8), 277: (3, 1, 1), 278: (3, 1, 48), 279: (4, 1, 64 * 48)}
    usual |= {tag: rest for tag, *rest in entries}
    head = b"II*\0" + struct.pack("<IH", 8, len(usual))
    body = b"".join(struct.pack("<HHII", tag, *usual[tag]) for tag in sorted(usual))
    return head + body + struct.pack("<I", following) + tail


def _tiffs() -> Iterator[tuple[str, bytes]]:
    yield "floats.tif", float_tiff(64, 48)
    yield "bomb.tif", tiff((256, 4, 1, 2**31), (257, 4, 1, 2**31), tail=bytes(5_000))
    yield "strips.tif", tiff((273, 4, 1_500_000, 200), tail=bytes(6_000_100))
    yield "rationals.tif", tiff((282, 5, 1_500_000, 200), tail=bytes(12_000_100))
    tiles = ((322, 4, 1, 40_000), (323, 4, 1, 40_000), (324, 4, 1, 8), (325, 4, 1, 9))
    yield "tile.tif", tiff(*tiles, tail=bytes(9_000))
    yield "itself.tif", tiff(tail=bytes(64 * 48), following=8)
    yield "tags.tif", b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 300, 3, 1, 1) * 65_535
    yield "far.tif", b"II*\0\xff\xff\xff\x7f"
    big = struct.pack("<HHHQQ", 43, 8, 0, 16, 2**60) + struct.pack("<HHQQ", 300, 3, 1, 1) * MANY
    yield "big.tif", b"II" + big
    yield "compression.tif", tiff((259, 3, 1, 40_000), tail=bytes(5_000))
    yield "samples.tif", tiff((277, 3, 1, 60_000), tail=bytes(5_000))


def _empty() -> Iterator[tuple[str, bytes]]:
    yield "nothing.jpg", b""
    yield "one-byte.png", b"\x89"
    yield "nulls.png", bytes(5_000)
    yield "zero.png", _png(0, 0, zlib.compress(b""))
    yield "zero-wide.png", _png(0, 48, zlib.compress(bytes(48)))
    yield "zero.ppm", b"P6 0 0 255\n"
    yield "zero.tif", tiff((256, 3, 1, 0), (257, 3, 1, 0), tail=bytes(100))
    for kind, at in (("gif", 6), ("bmp", 18)):
        data = bytearray(encoded(kind))
        data[at : at + (4 if kind == "gif" else 8)] = bytes(4 if kind == "gif" else 8)
        yield f"zero.{kind}", bytes(data)
    yield "pixel.png", encoded("png", Image.new("RGB", (1, 1)))


def _foreign() -> Iterator[tuple[str, bytes]]:
    """No pictures, pictures inside others, and formats that would start a program."""
    jpeg, svg = encoded("jpg"), b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/x"/></svg>'
    laughs = b'<!DOCTYPE x [<!ENTITY a "ha">' + b"".join(
        b'<!ENTITY a%d "&a%d;&a%d;">' % (n, n - 1, n - 1) for n in range(1, 40)
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("painting.jpg", jpeg)
    yield "drawing.svg", svg
    yield "drawing.svgz", gzip.compress(svg)
    yield "laughs.svg", laughs + b"]><svg>&a39;</svg>"
    yield (
        "drawing.eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage",
    )
    yield "drawing.pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF"
    yield "drawing.wmf", b"\xd7\xcd\xc6\x9a\0\0" + bytes(200)
    yield "icon.ico", _saved("ICO")
    yield "pages.icns", b"icns" + bytes(200)
    yield "archive.jpg", archive.getvalue()
    yield "packed.jpg", gzip.compress(jpeg)
    yield "behind.jpg", b"%PDF-1.4\n" + jpeg
    yield "page.png", b"<html><body><img src='painting.png'></body></html>"
    yield "film.gif", b"\0\0\0\x18ftypmp42" + bytes(400)
    yield "script.png", b"#!/bin/sh\nexit 1\n"
    yield "fits.tif", b"SIMPLE  =                    T" + b" " * 2850


def _saved(name: str) -> bytes:
    buffer = io.BytesIO()
    painting(3, 64, 48).save(buffer, name)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def _png(width: int, height: int, stream: bytes, checksum: int | None = None) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), checksum)
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def main(folder: Path) -> None:
    """Write them all, run over them, print what became of each."""
    import torch
    from local_runner import run_locally

    torch.set_num_threads(1)
    source = folder / "in"
    source.mkdir(parents=True)
    names = []
    for name, data in malformed().items():
        (source / name).write_bytes(data)
        names.append(name)
    (source / "folder.png").mkdir()
    (source / "circle.png").symlink_to("circle.png")
    names += ["folder.png", "circle.png"]
    for number in range(NEIGHBOURS):
        painting(number).save(source / f"good-{number}.png")
        names.append(f"good-{number}.png")
    rows = "".join(f"{name},{name},the water ripples\n" for name in names)
    (source / "works.csv").write_text("id,image,prompt\n" + rows)
    execution = {"max_failure_ratio": None}
    first = {"limit": 1, "where": "id = 'good-0.png'"}
    run_locally(tiny_run(source / "works.csv", folder / "warm", **first))
    before, start = _peak(), time.monotonic()
    run = tiny_run(source / "works.csv", folder / "out", execution=execution)
    _, collection = run_locally(run)
    seconds, grown = time.monotonic() - start, _peak() - before
    columns = ("item_id", "status", "code", "message", "retryable", "t_fetch", "t_prepare")
    works = collection.ledger.table().select(columns).to_pylist()
    print(json.dumps({"names": names, "works": works, "seconds": seconds, "grown": grown}))


def _peak() -> int:
    """Most bytes the process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
