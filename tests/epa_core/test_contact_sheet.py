"""Contact sheets: every picture is on them, and they stay small enough for a page."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from epa_core.media.contact_sheet import SIDE, Tile, contact_sheet, thumbnail


def encoded(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return sink.getvalue()


def noise(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_each_picture_is_in_its_place() -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    pictures = [Image.new("RGB", (300, 300), colour) for colour in colours]
    tiles = [Tile(thumbnail(encoded(p)), f"work {i}", "good") for i, p in enumerate(pictures)]
    pixels = opened(contact_sheet(tiles, columns=2))
    assert pixels.shape[1] < 3 * SIDE < pixels.shape[0] + SIDE  # two columns, two rows
    for place, colour in zip([(0, 0), (0, 1), (1, 0)], colours, strict=True):
        y = place[0] * pixels.shape[0] // 2 + SIDE // 2
        x = place[1] * pixels.shape[1] // 2 + SIDE // 2
        assert np.abs(pixels[y, x] - colour).max() < 25
    # The fourth place is paper.
    assert pixels[pixels.shape[0] // 2 + SIDE // 2, pixels.shape[1] // 2 + SIDE // 2].min() > 230


def test_the_lines_are_written_and_long_ones_cut() -> None:
    plain = thumbnail(encoded(Image.new("RGB", (200, 200), "white")))
    blank, short = (
        opened(contact_sheet([Tile(plain, "")])),
        opened(contact_sheet([Tile(plain, "x")])),
    )
    long = opened(contact_sheet([Tile(plain, "w" * 5000, "static\n\x1b[31m 絵 \u202e")]))
    assert short.shape == long.shape == blank.shape  # the sheet does not grow with its texts
    dark = [(sheet.sum(axis=2) < 400).sum() for sheet in (blank, short, long)]
    assert dark[0] < dark[1] < dark[2]


@pytest.mark.parametrize("most", [300_000, 40_000])
def test_a_sheet_keeps_within_its_bytes(most: int) -> None:
    tiles = [
        Tile(thumbnail(encoded(noise(seed, (400, 250)))), f"noise {seed}") for seed in range(24)
    ]
    data = contact_sheet(tiles, most=most)
    assert 10_000 < len(data) <= most
    assert opened(data).shape[1] > SIDE


def test_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
