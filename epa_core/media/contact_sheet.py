"""Many small pictures on one: a sheet to judge a run by at a glance."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

SIDE = 168  # pixels of a picture's longer side on the sheet
_GAP, _LINE = 10, 16
_CELL = (SIDE + _GAP, SIDE + 2 * _LINE + _GAP)
_PAPER, _INK, _NOTE = "#f7f5f2", "#1d1b19", "#a3341f"
_QUALITIES = (82, 70, 55, 40, 25, 10)


class Tile(NamedTuple):
    """One picture of a sheet, the line beneath it and a second one in another colour."""

    picture: Image.Image
    title: str
    note: str = ""


def thumbnail(data: bytes) -> Image.Image:
    """A JPEG or PNG at the size it has on a sheet. Raises what Pillow raises (OSError)."""
    with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as picture:
        return ImageOps.contain(picture.convert("RGB"), (SIDE, SIDE))


def contact_sheet(tiles: Sequence[Tile], columns: int = 6, most: int = 300_000) -> bytes:
    """The tiles in rows, as a JPEG of at most ``most`` bytes: its quality gives way, then its size.

    Raises ValueError without tiles.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one picture")
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * _CELL[0] + _GAP, rows * _CELL[1] + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, tile in enumerate(tiles):
        _paint(sheet, draw, tile, number % columns, number // columns)
    while True:
        for quality in _QUALITIES:
            data = _jpeg(sheet, quality)
            if len(data) <= most or min(sheet.size) <= SIDE // 4:
                return data
        sheet = sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS)


def _paint(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, column: int, row: int
) -> None:
    left, top = _GAP + column * _CELL[0], _GAP + row * _CELL[1]
    width, height = tile.picture.size
    # At the bottom of its place, so that the lines stand right beneath it.
    sheet.paste(tile.picture, (left + (SIDE - width) // 2, top + SIDE - height))
    for text, line, colour in ((tile.title, 0, _INK), (tile.note, 1, _NOTE)):
        shown = _cut(text)
        place = (left + (SIDE - _font().getlength(shown)) / 2, top + SIDE + 2 + line * _LINE)
        draw.text(place, shown, fill=colour, font=_font())


def _cut(text: str) -> str:
    """The text on one line, as much of it as a tile is wide."""
    text = " ".join(text[:200].split())
    if _font().getlength(text) <= SIDE:
        return text
    while text and _font().getlength(text + "…") > SIDE:
        text = text[:-1]
    return text + "…"


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu where the system has it, for it knows more scripts; Pillow's own otherwise."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", 12)
    except OSError:
        return ImageFont.load_default(12)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=quality, optimize=True)
    return sink.getvalue()
