"""Paintings in: every kind of file people have, and every kind that must be refused."""

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from epa_core.errors import ItemError
from epa_core.media.images import (
    ImageLimits,
    canvas_size,
    decode_image,
    fit,
    from_png,
)


def drawn(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth colour picture that no flip or rotation maps onto itself."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / width, 255 * y / height
    blue = 255 * (x / width) * (1 - y / height) ** 2
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, fmt: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=fmt, **options)
    return buffer.getvalue()


def difference(first: Image.Image, second: Image.Image) -> float:
    assert first.size == second.size
    return float(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).mean())


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def refused(data: bytes, limits: ImageLimits | None = None) -> str:
    with pytest.raises(ItemError) as caught:
        decode_image(data, limits or ImageLimits())
    assert caught.value.message.endswith(".")
    return caught.value.code


@pytest.mark.parametrize(
    ("fmt", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("BMP", {}, 0),
        ("PPM", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 2),
        ("JPEG2000", {}, 1),
        ("GIF", {}, 8),
    ],
)
def test_common_formats(fmt: str, options: dict[str, Any], tolerance: float) -> None:
    image = decode_image(encoded(drawn(), fmt, **options))
    assert image.mode == "RGB"
    assert difference(image, drawn()) <= tolerance


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP"])
def test_a_cut_file_is_truncated(fmt: str) -> None:
    options = {"compression": "tiff_lzw"} if fmt == "TIFF" else {}
    data = encoded(drawn(), fmt, **options)
    assert refused(data[: len(data) // 2]) == "truncated"


def test_a_cut_jpeg_is_not_padded_with_grey() -> None:
    data = encoded(drawn(640, 480), "JPEG", quality=95)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert refused(data[: int(len(data) * share)]) == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_what_is_no_image() -> None:
    assert refused(b"") == "decode_failed"
    assert refused(b"This is a text file named portrait.jpg\n" * 20) == "decode_failed"
    assert refused(b"\x00" * 1000) == "decode_failed"
    assert refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n") == "decode_failed"
    assert refused(b"%PDF-1.7\n") == "decode_failed"


def test_sizes_and_aspects() -> None:
    assert refused(encoded(drawn(1, 1), "PNG")) == "too_small"
    assert refused(encoded(drawn(15, 40), "PNG")) == "too_small"
    assert refused(encoded(drawn(193, 64), "PNG")) == "extreme_aspect"
    assert refused(encoded(drawn(64, 193), "PNG")) == "extreme_aspect"
    assert decode_image(encoded(drawn(192, 64), "PNG")).size == (192, 64)
    assert decode_image(encoded(drawn(16, 16), "PNG")).size == (16, 16)
    assert refused(encoded(drawn(), "PNG"), ImageLimits(max_pixels=96 * 64 - 1)) == "too_large"
    assert decode_image(encoded(drawn(), "PNG"), ImageLimits(max_pixels=96 * 64)).size == (96, 64)


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Any) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    assert refused(png_header(50_000, 50_000)) == "too_large"
    assert refused(png_header(20_000, 10_000)) == "too_large"


def test_pillows_own_limit_is_neither_met_nor_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(drawn(), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as a host application might set it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(data).size == (96, 64)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_gif_frame_larger_than_its_header_says() -> None:
    data = bytearray(encoded(drawn(), "GIF"))
    descriptor = data.index(b"\x2c\x00\x00\x00\x00" + struct.pack("<HH", 96, 64))
    data[descriptor + 5 : descriptor + 9] = struct.pack("<HH", 65000, 65000)
    assert refused(bytes(data)) == "too_large"


def test_cmyk_with_and_without_adobe_inversion() -> None:
    cmyk = drawn().convert("CMYK")
    assert difference(decode_image(encoded(cmyk, "JPEG", quality=98)), drawn()) < 3
    assert difference(decode_image(encoded(cmyk, "TIFF")), drawn()) < 1


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(fmt: str) -> None:
    grey = np.asarray(drawn().convert("L"))
    image = decode_image(encoded(Image.fromarray(grey.astype(np.uint16) * 257), fmt))
    assert np.array_equal(np.asarray(image), np.repeat(grey[..., None], 3, axis=2))


def test_16_bit_rgb_png() -> None:
    rows = np.asarray(drawn()).astype(">u2") * 257
    packed = b"".join(b"\0" + row.tobytes() for row in rows)
    data = png_header(96, 64, packed)
    data = data.replace(
        data[8:33],
        struct.pack(">I", 13)
        + (header := b"IHDR" + struct.pack(">IIBBBBB", 96, 64, 16, 2, 0, 0, 0))
        + struct.pack(">I", zlib.crc32(header)),
    )
    assert difference(decode_image(data), drawn()) == 0


def test_float_and_32_bit_tiff() -> None:
    grey = np.asarray(drawn().convert("L"))
    wanted = drawn().convert("L").convert("RGB")
    for samples in (grey.astype(np.float32) / 255, grey.astype(np.float32), grey.astype(np.int32)):
        assert difference(decode_image(encoded(Image.fromarray(samples), "TIFF")), wanted) == 0
    broken = grey.astype(np.float32) / 255
    broken[0, 0], broken[1, 1], broken[2, 2] = np.nan, np.inf, -5
    assert difference(decode_image(encoded(Image.fromarray(broken), "TIFF")), wanted) < 0.1


def test_transparency_lies_on_white() -> None:
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:, 48:] = 255
    see_through = drawn().convert("RGBA")
    see_through.putalpha(Image.fromarray(alpha))
    files = [
        encoded(see_through, "PNG"),
        encoded(see_through.convert("LA"), "PNG"),
        encoded(see_through.quantize(32), "PNG"),
        encoded(see_through, "WEBP", lossless=True),
        encoded(see_through, "GIF"),
    ]
    for data in files:
        pixels = np.asarray(decode_image(data))
        assert (pixels[:, :48] == 255).all()
        assert pixels[:, 48:].mean() < 200


def test_a_transparent_colour_of_a_palette_or_grey_picture() -> None:
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    palette.paste(1, (0, 0, 16, 32))
    pixels = np.asarray(decode_image(encoded(palette, "PNG", transparency=0)))
    assert (pixels[:, 16:] == 255).all()
    assert (pixels[:, :16] == (200, 10, 10)).all()
    grey = Image.new("L", (32, 32), 7)
    assert (np.asarray(decode_image(encoded(grey, "PNG", transparency=7))) == 255).all()


def test_one_bit() -> None:
    pixels = np.asarray(decode_image(encoded(drawn().convert("1"), "PNG")))
    assert set(np.unique(pixels)) == {0, 255}


@pytest.mark.parametrize("fmt", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_only_the_first_frame(fmt: str) -> None:
    others = [drawn().rotate(180), Image.new("RGB", (96, 64), "red")]
    data = encoded(drawn(), fmt, save_all=True, append_images=others)
    assert difference(decode_image(data), drawn()) < 8


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(fmt: str, orientation: int) -> None:
    turn = Image.Transpose
    stored_by = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }
    stored = drawn() if orientation == 1 else drawn().transpose(stored_by[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if fmt == "WEBP" else {}
    image = decode_image(encoded(stored, fmt, exif=exif, **options))
    assert difference(image, drawn()) < 3


def test_broken_exif_is_ignored() -> None:
    image = decode_image(
        encoded(drawn(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    )
    assert difference(image, drawn()) < 2


def linear_profile() -> bytes:
    """A display profile with sRGB primaries and gamma 1: its pixels look too dark as they are."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(struct.unpack_from(">I", data, 128)[0]):
        tag, offset, _ = struct.unpack_from(">4sII", data, 132 + 12 * index)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):  # a parametric curve: make it type 0 with gamma 1
            struct.pack_into(">HHi", data, offset + 8, 0, 0, 1 << 16)
        if tag == b"desc":  # the name is no longer true
            data[offset : offset + 200] = data[offset : offset + 200].replace(
                "sRGB".encode("utf-16-be"), "flat".encode("utf-16-be")
            )
    return bytes(data)


def test_an_embedded_profile_is_applied() -> None:
    linear = Image.new("RGB", (32, 32), (55, 55, 55))  # 0.216 of full light
    image = decode_image(encoded(linear, "PNG", icc_profile=linear_profile()))
    assert np.abs(np.asarray(image, int) - 128).max() <= 2
    assert image.info == {}


def test_an_srgb_profile_changes_nothing_and_a_broken_one_is_ignored() -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (own, b"not a profile", own[:200]):
        for image in (drawn(), drawn().convert("L")):
            decoded = decode_image(encoded(image, "PNG", icc_profile=profile))
            assert difference(decoded, image.convert("RGB")) < 1


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
)
def test_no_bytes_escape_the_refusals(
    kind: int, changes: list[tuple[int, int]], kept: float
) -> None:
    fmt = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "JPEG2000")[kind]
    data = bytearray(encoded(drawn(48, 32), fmt))
    for position, value in changes:
        data[position % len(data)] = value
    code = "none"
    try:
        assert decode_image(bytes(data[: int(len(data) * max(kept, 0.2))])).mode == "RGB"
    except ItemError as refusal:
        code = refusal.code
    others = {"too_small", "too_large", "extreme_aspect", "unsupported_mode"}
    assert code in {"none", "decode_failed", "truncated"} | others


@given(
    st.integers(16, 8000),
    st.integers(16, 8000),
    st.integers(32**2, 1280**2),
    st.sampled_from([8, 16, 32]),
)
def test_canvas_size(width: int, height: int, area: int, multiple: int) -> None:
    w, h = canvas_size(width, height, area, multiple)
    assert w % multiple == 0
    assert h % multiple == 0
    assert min(w, h) >= multiple
    ideal = ((area * width / height) ** 0.5, (area * height / width) ** 0.5)
    assert abs(w - ideal[0]) <= max(multiple / 2, multiple - ideal[0]) + 1e-6
    assert abs(h - ideal[1]) <= max(multiple / 2, multiple - ideal[1]) + 1e-6


def test_canvas_size_of_the_models() -> None:
    assert canvas_size(1600, 1200, 512 * 512) == (592, 440)
    assert canvas_size(500, 500, 64 * 64) == (64, 64)
    with pytest.raises(ValueError, match="positive"):
        canvas_size(0, 10, 100)


def test_fit_is_exact() -> None:
    assert fit(drawn(), (40, 24)).size == (40, 24)
    assert difference(fit(drawn(), (96, 64)), drawn()) == 0


def test_png_round_trip_notices_any_changed_byte() -> None:
    data = encoded(drawn(24, 16), "PNG", compress_level=1)
    assert difference(from_png(data), drawn(24, 16)) == 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        with pytest.raises(ItemError) as caught:
            from_png(bytes(damaged))
        assert caught.value.code == "decode_failed"
    for damaged_length in (data[:-1], data + b"\0", b""):
        with pytest.raises(ItemError):
            from_png(damaged_length)
