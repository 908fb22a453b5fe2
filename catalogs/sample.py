"""The sample catalog: six works drawn by the code itself, for demonstrations and tests.

Each is painted as a painter would lay it in: areas of colour, then thousands of brush strokes
that follow the forms and take their colour from what lies under them, then a canvas grain.
Everything derives from fixed seeds; nothing is read from anywhere.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from catalogs.sample_brush import (
    Colour,
    Field,
    Point,
    brush,
    curve,
    finish,
    glaze,
    gradient,
    grid,
    noise,
    scaled,
    smooth_step,
)

ARTIST = "epa sample"
COLUMNS = ("file_name", "title", "artist", "year", "style", "genre", "prompt")


@dataclass(frozen=True)
class Work:
    """One work of the sample: its catalog row and the function that draws it."""

    file_name: str
    title: str
    style: str
    genre: str
    prompt: str
    draw: Callable[[], Image.Image]


def write_sample(folder: str | Path) -> Path:
    """Draw the six works and their `metadata.csv` into a folder, made where missing; return it.

    The files are the same at every call (JPEG, about 900 px on the longer side).
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for work in WORKS:
        work.draw().save(target / work.file_name, quality=92, subsampling=0)
    with (target / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for work in WORKS:
            row = (work.file_name, work.title, ARTIST, 2025, work.style, work.genre, work.prompt)
            writer.writerow(row)
    return target


def seascape() -> Image.Image:
    """Draw three boats on a swell under drifting clouds."""
    rng, size = np.random.default_rng(1), (900, 600)
    x, y = grid(size)
    stops = [(0.0, (74, 118, 168)), (0.30, (150, 184, 205)), (0.47, (240, 214, 172))]
    stops += [(0.48, (62, 116, 132)), (0.7, (36, 92, 112)), (1.0, (18, 52, 76))]
    image = gradient(size, stops)
    cloud = noise(rng, size, 4, 5)
    sky = smooth_step(0.47, 0.30, y)
    image = glaze(image, (252, 240, 222), smooth_step(0.50, 0.68, cloud) * sky * 0.95)
    image = glaze(
        image, (122, 128, 152), smooth_step(0.62, 0.84, np.roll(cloud, 16, 0)) * sky * 0.6
    )
    near = np.clip((y - 0.48) / 0.52, 0, 1)
    phase = 46 * np.log1p(6 * near) + 2.2 * np.sin(5 * x + 9 * near) + 7 * noise(rng, size, 3, 2)
    crest = np.clip(np.sin(phase), 0, 1) ** 5 * (y > 0.485)
    image = glaze(image, (178, 212, 206), crest * (0.25 + 0.5 * near))
    glitter = np.exp(-(((x - 0.64) / (0.05 + 0.16 * near)) ** 2)) * (y > 0.482)
    image = glaze(image, (250, 222, 170), glitter * (0.25 + 0.4 * np.clip(np.sin(phase * 2), 0, 1)))
    _sun(image, (0.64, 0.40), 0.035)
    for cx, cy, s in ((0.24, 0.60, 1.0), (0.80, 0.53, 0.55), (0.46, 0.505, 0.3)):
        _boat(image, cx, cy, s)

    def along(u: Field, v: Field) -> Field:
        sea = 0.28 * np.sin(5 * u + 24 * v)
        return np.where(v > 0.48, sea, -0.12 + 0.5 * np.sin(3 * u + 5 * v))

    image = brush(image, rng, along, passes=((2200, 44, 9), (6000, 22, 5), (9000, 11, 2)))
    for cx, cy, s in ((0.24, 0.60, 1.0), (0.80, 0.53, 0.55), (0.46, 0.505, 0.3)):
        _boat(image, cx, cy, s)
    image = brush(image, rng, along, base_blur=0.5, passes=((2600, 11, 2),))
    return finish(image, rng)


def _sun(image: Image.Image, centre: Point, radius: float) -> None:
    """Draw the sun with its glow, in place."""
    x, y = grid(image.size)
    ratio = image.width / image.height
    distance = np.hypot((x - centre[0]) * ratio, y - centre[1]) / radius
    image.paste(glaze(image, (255, 236, 190), np.exp(-distance / 2.2) * 0.8))
    image.paste(glaze(image, (255, 247, 220), smooth_step(1.05, 0.95, distance)))


def _boat(image: Image.Image, cx: float, cy: float, s: float) -> None:
    """Draw a sailing boat with its keel's middle at (cx, cy), in place."""
    pen = ImageDraw.Draw(image)

    def at(*points: Point) -> list[Point]:
        return [(image.width * (cx + px * s), image.height * (cy + py * s)) for px, py in points]

    pen.polygon(at((-0.07, 0.05), (0.075, 0.05), (0.055, 0.092), (-0.052, 0.092)), (24, 52, 66))
    pen.line(at((0, 0.03), (0, -0.29)), (66, 44, 32), max(1, round(5 * s)))
    pen.polygon(at((0.006, -0.27), (0.008, 0.0), (0.095, 0.0), (0.06, -0.10)), (238, 222, 190))
    pen.polygon(at((-0.006, -0.25), (-0.006, 0.0), (-0.07, 0.0)), (190, 96, 62))
    pen.polygon(at((-0.085, 0.012), (0.10, 0.0), (0.07, 0.055), (-0.06, 0.06)), (92, 46, 34))
    pen.line(at((-0.085, 0.012), (0.10, 0.0)), (222, 178, 112), max(1, round(4 * s)))


def night() -> Image.Image:
    """Draw stars with halos over hills and a sleeping village."""
    rng, size = np.random.default_rng(2), (900, 640)
    x, y = grid(size)
    image = gradient(size, [(0, (14, 24, 66)), (0.4, (32, 64, 128)), (0.72, (96, 132, 166))])
    band = np.exp(-(((y - 0.34 - 0.10 * np.sin(5.2 * x + 0.6)) / 0.09) ** 2))
    image = glaze(image, (142, 176, 204), band * (0.35 + 0.5 * noise(rng, size, 6)))
    stars = [(0.09, 0.16, 0.9), (0.23, 0.33, 1.2), (0.34, 0.11, 0.8), (0.47, 0.27, 1.5)]
    stars += [(0.60, 0.09, 0.9), (0.68, 0.40, 0.9), (0.95, 0.40, 0.7), (0.06, 0.47, 0.7)]
    stars += [(0.42, 0.48, 0.6), (0.54, 0.46, 0.5), (0.20, 0.07, 0.5), (0.73, 0.20, 0.7)]
    for cx, cy, s in [*stars, (0.85, 0.18, 2.6)]:
        d = np.hypot((x - cx) * 1.4, y - cy) / (0.018 * s)
        rings = np.exp(-d / 2.6) * (0.75 + 0.25 * np.cos(d * 2.6))
        image = glaze(image, (240, 214, 120), rings)
        image = glaze(image, (255, 247, 206), smooth_step(1.0, 0.6, d))
    hills: list[tuple[float, float, float, Colour]] = [
        (0.60, 0.050, 3.1, (58, 92, 122)),
        (0.69, 0.055, 4.4, (38, 70, 90)),
        (0.80, 0.045, 3.4, (24, 50, 58)),
        (0.91, 0.030, 5.0, (16, 34, 40)),
    ]
    for level, height, waves, colour in hills:
        ridge = level + height * np.sin(waves * x + 17 * level)
        image = glaze(image, colour, smooth_step(ridge, ridge + 0.004, y) * 0.96)
    _village(image, np.random.default_rng(21))

    def along(u: Field, v: Field) -> Field:
        pull = np.zeros_like(u)
        for cx, cy, s in [*stars, (0.85, 0.18, 2.6)]:
            near = np.exp(-(((u - cx) * 1.4) ** 2 + (v - cy) ** 2) / (0.05 * s) ** 2)
            turn = np.arctan2(v - cy, (u - cx) * 1.4) + math.pi / 2
            pull = np.where(near > 0.12, turn, pull)
        sky = np.where(pull == 0, 0.5 * np.cos(5.2 * u + 0.6 + 2 * v), pull)
        return np.where(v > 0.60, 0.22 * np.cos(4 * u + 17 * v), sky)

    image = brush(image, rng, along, passes=((2200, 40, 9), (7000, 20, 5), (9000, 11, 2)), vary=13)
    _village(image, np.random.default_rng(21))
    image = brush(image, rng, along, base_blur=0.5, passes=((2500, 9, 2),), vary=13)
    return finish(image, rng)


def _village(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw small houses with lit windows and one spire in the valley, in place."""
    pen = ImageDraw.Draw(image)
    width, height = image.size
    for i, left in enumerate(np.linspace(0.30, 0.66, 10) + rng.normal(0, 0.008, 10)):
        w, h = 0.034, 0.034 + 0.016 * rng.random()
        top = 0.80 - h + 0.012 * math.sin(i)
        wall = [(left, 0.815), (left, top), (left + w, top), (left + w, 0.815)]
        roof = [(left - 0.005, top), (left + w / 2, top - 0.03), (left + w + 0.005, top)]
        pen.polygon(scaled(wall, image.size), (52, 70, 92))
        pen.polygon(scaled(roof, image.size), (30, 40, 58))
        cx, cy = (left + w * 0.5) * width, (top + h * 0.45) * height
        pen.rectangle((cx - 4, cy - 4, cx + 4, cy + 5), (250, 206, 96))
    spire = [(0.476, 0.80), (0.487, 0.60), (0.498, 0.80)]
    pen.polygon(scaled(spire, image.size), (26, 36, 54))


def flowers() -> Image.Image:
    """Draw a bunch of flowers in a blue vase on a table."""
    rng, size = np.random.default_rng(3), (720, 900)
    x, y = grid(size)
    image = gradient(size, [(0, (196, 178, 132)), (0.72, (158, 136, 96)), (1, (120, 92, 66))])
    image = glaze(image, (226, 206, 152), noise(rng, size, 3) * smooth_step(0.9, 0.2, x + y / 2))
    table = smooth_step(0.775, 0.78, y + 0.015 * x)
    image = glaze(image, (126, 62, 48), table)
    image = glaze(image, (166, 92, 64), table * noise(rng, size, 5) * 0.8)
    shadow = np.exp(-(((x - 0.64) / 0.24) ** 2) - (((y - 0.895) / 0.03) ** 2))
    image = glaze(image, (66, 30, 30), shadow * 0.75)
    pen = ImageDraw.Draw(image)
    blooms = _bunch(rng)
    for bx, by, *_ in blooms:
        middle = (0.5 + (bx - 0.5) * 0.45, 0.5)
        stem = scaled([(bx, by), middle, (0.5 + (bx - 0.5) * 0.12, 0.63)], size)
        pen.line(stem, (62, 92, 52), 6, joint="curve")
    for _ in range(80):
        turn = rng.uniform(-math.pi, 0.15)
        start = (0.5 + 0.22 * math.cos(turn) * rng.random() ** 0.5, 0.44 + 0.2 * math.sin(turn))
        green = int(rng.integers(70, 132))
        _leaf(image, start, rng.uniform(0, 2 * math.pi), 0.085, (46 + green // 4, green, 48))
    _vase(image)
    for bx, by, r, colour in sorted(blooms, key=lambda bloom: bloom[1]):
        _bloom(image, rng, (bx, by), r, colour)

    def along(u: Field, v: Field) -> Field:
        around = np.arctan2(v - 0.40, u - 0.5)
        vase = np.where(v > 0.60, math.pi / 2 + (u - 0.5) * 2, around)
        inside = (np.abs(u - 0.5) < 0.19) & (v < 0.9)
        plain = np.where(v > 0.77, 0.05, 0.9 + 0.5 * np.sin(5 * u))
        return np.where(
            (v < 0.62) & (np.hypot(u - 0.5, v - 0.38) < 0.36), around, np.where(inside, vase, plain)
        )

    image = brush(image, rng, along, passes=((1500, 34, 9), (6000, 17, 4), (9000, 9, 2)), vary=12)
    return finish(image, rng)


def _bunch(rng: np.random.Generator) -> list[tuple[float, float, float, Colour]]:
    """Return (x, y, radius, colour) of the blooms, spread so that none hides another."""
    colours: list[Colour] = [(214, 72, 60), (238, 176, 64), (240, 228, 208), (196, 92, 140)]
    colours += [(228, 118, 62), (120, 96, 168)]
    spots: list[tuple[float, float, float, Colour]] = []
    for _ in range(600):
        turn, far = rng.uniform(0, 2 * math.pi), rng.random() ** 0.6
        spot = (0.5 + 0.31 * far * math.cos(turn), 0.34 + 0.235 * far * math.sin(turn))
        if all(math.hypot(spot[0] - s[0], (spot[1] - s[1]) * 1.25) > 0.105 for s in spots):
            radius = rng.uniform(0.05, 0.078)
            spots.append((*spot, radius, colours[len(spots) % len(colours)]))
    return spots


def _bloom(
    image: Image.Image, rng: np.random.Generator, at: Point, radius: float, colour: Colour
) -> None:
    """Draw one bloom: three rings of petals around a dark eye, in place."""
    for ring, petals in ((1.0, 11), (0.7, 8), (0.42, 6)):
        turn = rng.random() * 6
        for i in range(petals):
            shade = int(rng.normal(0, 13) + (1 - ring) * 34 - 10)
            red, green, blue = (min(255, max(0, c + shade)) for c in colour)
            angle = turn + i * 2 * math.pi / petals
            _leaf(image, at, angle, radius * ring * 1.35, (red, green, blue), 0.36)
    width, height = image.size
    eye = radius * width * 0.17
    cx, cy = at[0] * width, at[1] * height
    ImageDraw.Draw(image).ellipse((cx - eye, cy - eye, cx + eye, cy + eye), (92, 58, 34))


def _leaf(
    image: Image.Image, at: Point, angle: float, length: float, colour: Colour, plump: float = 0.2
) -> None:
    """Draw a leaf or petal from a point along an angle; lengths in image widths, in place."""
    cx, cy = at[0] * image.width, at[1] * image.height
    reach = length * image.width
    dx, dy = math.cos(angle) * reach, math.sin(angle) * reach
    ox, oy = -dy * plump, dx * plump
    shape = [(cx, cy), (cx + dx * 0.5 + ox, cy + dy * 0.5 + oy), (cx + dx, cy + dy)]
    shape.append((cx + dx * 0.5 - ox, cy + dy * 0.5 - oy))
    ImageDraw.Draw(image).polygon(curve(shape, 5), colour)


def _vase(image: Image.Image) -> None:
    """Draw a round blue vase with its light, in place."""
    left = [(0.43, 0.60), (0.42, 0.645), (0.36, 0.73), (0.365, 0.82), (0.43, 0.89)]
    outline = left + [(1 - px, py) for px, py in reversed(left)]
    ImageDraw.Draw(image).polygon(curve(scaled(outline, image.size)), (44, 84, 138))
    x, y = grid(image.size)
    inside = (np.asarray(image) == (44, 84, 138)).all(axis=-1)
    image.paste(glaze(image, (16, 34, 72), inside * smooth_step(0.46, 0.66, x)))
    light = np.exp(-(((x - 0.435) / 0.028) ** 2) - (((y - 0.745) / 0.06) ** 2))
    image.paste(glaze(image, (214, 230, 240), inside * light * 0.9))
    bands = inside * np.exp(-(((y - 0.665 + 0.05 * (x - 0.5) ** 2) / 0.006) ** 2))
    image.paste(glaze(image, (226, 206, 150), bands * 0.85))


def poplar() -> Image.Image:
    """Draw a tall tree leaning in the wind over a field."""
    rng, size = np.random.default_rng(4), (580, 900)
    x, y = grid(size)
    stops = [(0.0, (92, 142, 186)), (0.45, (176, 204, 206)), (0.74, (240, 220, 176))]
    stops += [(0.755, (196, 176, 84)), (0.86, (164, 144, 62)), (1.0, (94, 100, 46))]
    image = gradient(size, stops)
    cloud = noise(rng, size, 3, 4)
    image = glaze(
        image, (250, 244, 230), smooth_step(0.52, 0.74, cloud) * smooth_step(0.72, 0.5, y)
    )
    far = smooth_step(0.715, 0.72, y + 0.012 * np.sin(9 * x)) * smooth_step(0.765, 0.76, y)
    image = glaze(image, (104, 134, 128), far)
    field = smooth_step(0.755, 0.76, y)
    image = glaze(image, (222, 196, 96), field * noise(rng, size, 6) * 0.7)
    path = np.exp(-(((x - 0.34 - 0.9 * (y - 0.76)) / (0.012 + 0.32 * (y - 0.755))) ** 2))
    image = glaze(image, (226, 204, 160), path * field * 0.85)
    shade = np.exp(-(((x - 0.66) / 0.22) ** 2) - (((y - 0.875) / 0.018) ** 2))
    image = glaze(image, (78, 84, 44), shade * 0.8)
    pen = ImageDraw.Draw(image)
    trunk = [(0.485, 0.875), (0.50, 0.62), (0.53, 0.30), (0.545, 0.30), (0.53, 0.62), (0.55, 0.88)]
    pen.polygon(scaled(trunk, size), (74, 54, 42))

    def along(u: Field, v: Field) -> Field:
        ground = np.where(
            v > 0.755, -1.2 + 0.3 * np.sin(20 * u), -0.1 + 0.4 * np.sin(4 * u + 5 * v)
        )
        return ground

    image = brush(image, rng, along, passes=((1500, 38, 9), (5000, 18, 4), (5000, 10, 2)))
    _foliage(image, rng)
    return finish(image, rng)


def _foliage(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw the tree's leaves from the shaded inside to the lit rim, in place."""
    for i in range(5200):
        t = rng.random() ** 0.85
        # A flame-shaped crown whose tip bends with the wind.
        spine = 0.515 + 0.13 * (1 - t) ** 2
        half = 0.205 * math.sin(math.pi * min(1.0, 0.06 + 0.9 * t)) ** 0.8
        side = rng.normal(0, 0.45)
        clump = math.sin(21 * t + 3 * side) * 0.16
        lit = 0.5 - 0.42 * side + clump + rng.normal(0, 0.16) + 0.24 * (i / 5200 - 0.5)
        lit = min(1.0, max(0.0, lit))
        colour = (int(34 + 142 * lit), int(66 + 112 * lit), int(46 + 26 * lit))
        spot = (spine + side * half, 0.05 + 0.73 * t)
        angle = -0.75 + rng.normal(0, 0.45) + 0.7 * side
        _leaf(image, spot, angle, 0.042, colour, 0.26)


def reader() -> Image.Image:
    """Draw a seated figure in a green robe, reading by a window's light."""
    rng, size = np.random.default_rng(5), (700, 900)
    x, y = grid(size)
    image = gradient(size, [(0, (78, 60, 52)), (0.6, (104, 80, 62)), (1, (58, 42, 38))])
    image = glaze(image, (190, 150, 98), smooth_step(1.05, 0.1, x + 0.6 * y) * 0.75)
    image = glaze(image, (60, 44, 44), noise(rng, size, 3) * 0.35)
    pen = ImageDraw.Draw(image)

    def shape(points: list[Point], colour: Colour) -> None:
        pen.polygon(curve(scaled(points, size)), colour)

    chair = [(0.70, 0.30), (0.86, 0.33), (0.90, 0.62), (0.90, 1.03), (0.66, 1.03), (0.66, 0.6)]
    shape(chair, (88, 36, 34))
    robe = [(0.42, 0.395), (0.60, 0.385), (0.72, 0.45), (0.79, 0.64), (0.83, 0.86), (0.90, 1.05)]
    robe += [(0.5, 1.1), (0.06, 1.05), (0.15, 0.84), (0.29, 0.72), (0.30, 0.52)]
    shape(robe, (40, 96, 84))
    mask = (np.asarray(image) == (40, 96, 84)).all(axis=-1)
    folds = np.sin(26 * (x - 0.5) / (0.35 + y) + 5 * y + 3 * noise(rng, size, 3))
    image.paste(glaze(image, (134, 184, 148), mask * np.clip(folds, 0, 1) ** 2 * 0.6))
    image.paste(glaze(image, (14, 44, 46), mask * np.clip(-folds, 0, 1) ** 1.5 * 0.7))
    image.paste(glaze(image, (12, 36, 40), mask * smooth_step(0.45, 0.85, x) * 0.6))
    shape(
        [(0.455, 0.34), (0.56, 0.33), (0.575, 0.41), (0.50, 0.455), (0.44, 0.41)], (196, 142, 108)
    )
    head = [(0.50, 0.145), (0.59, 0.18), (0.605, 0.27), (0.55, 0.355), (0.475, 0.365)]
    head += [(0.425, 0.31), (0.42, 0.215)]
    shape(head, (222, 174, 136))
    _head(image, shape)
    sleeve = [(0.31, 0.50), (0.40, 0.49), (0.45, 0.62), (0.42, 0.71), (0.31, 0.725), (0.27, 0.64)]
    shape(sleeve, (66, 128, 106))
    sleeve = [(0.66, 0.48), (0.74, 0.55), (0.74, 0.68), (0.60, 0.745), (0.535, 0.72), (0.60, 0.63)]
    shape(sleeve, (34, 84, 76))
    _book(image, shape)

    def along(u: Field, v: Field) -> Field:
        robe_way = math.pi / 2 + 0.9 * (u - 0.5)
        back = 0.8 + 0.4 * np.sin(4 * u + 3 * v)
        face = np.arctan2(v - 0.26, u - 0.5) + math.pi / 2
        way = np.where((v > 0.40) & (np.abs(u - 0.5) < 0.15 + 0.45 * (v - 0.35)), robe_way, back)
        return np.where(np.hypot(u - 0.51, (v - 0.25) * 1.28) < 0.17, face, way)

    image = brush(image, rng, along, passes=((1300, 30, 8), (5000, 16, 4), (11000, 8, 2)), vary=9)
    _features(image)
    image = brush(image, rng, along, base_blur=0.8, passes=((1500, 6, 2),), vary=7)
    return finish(image, rng)


def _head(image: Image.Image, shape: Callable[[list[Point], Colour], None]) -> None:
    """Draw the lit face and the hair, in place."""
    x, y = grid(image.size)
    skin = (np.asarray(image) == (222, 174, 136)).all(axis=-1)
    image.paste(glaze(image, (150, 92, 74), skin * smooth_step(0.49, 0.60, x) * 0.75))
    image.paste(
        glaze(
            image,
            (214, 128, 104),
            skin * np.exp(-(((x - 0.462) / 0.03) ** 2) - (((y - 0.295) / 0.02) ** 2)) * 0.6,
        )
    )
    hair = [(0.42, 0.235), (0.445, 0.145), (0.53, 0.105), (0.625, 0.155), (0.645, 0.26)]
    hair += [(0.60, 0.345), (0.575, 0.30), (0.575, 0.225), (0.51, 0.185), (0.455, 0.20)]
    shape(hair, (58, 36, 32))
    shape([(0.60, 0.11), (0.66, 0.115), (0.68, 0.165), (0.64, 0.195), (0.595, 0.165)], (66, 42, 36))


def _features(image: Image.Image) -> None:
    """Draw eyes, brows, nose and mouth, in place."""
    pen = ImageDraw.Draw(image)
    for left, right, top in ((0.433, 0.467, 0.262), (0.495, 0.532, 0.262)):
        box = scaled([(left, top - 0.012), (right, top + 0.012)], image.size)
        pen.arc((*box[0], *box[1]), 20, 160, (72, 44, 38), 4)
        brow = scaled([(left - 0.004, top - 0.022), (right, top - 0.026)], image.size)
        pen.line(brow, (86, 54, 42), 4)
    nose = scaled([(0.479, 0.262), (0.466, 0.305), (0.484, 0.309)], image.size)
    pen.line(nose, (166, 108, 84), 4, joint="curve")
    pen.line(scaled([(0.463, 0.333), (0.481, 0.329), (0.502, 0.333)], image.size), (164, 70, 66), 6)


def _book(image: Image.Image, shape: Callable[[list[Point], Colour], None]) -> None:
    """Draw the open book and the two hands that hold it, in place."""
    pen = ImageDraw.Draw(image)
    cover = [
        (0.345, 0.645),
        (0.475, 0.685),
        (0.61, 0.635),
        (0.625, 0.735),
        (0.478, 0.79),
        (0.335, 0.745),
    ]
    pen.polygon(scaled(cover, image.size), (120, 40, 36))
    left = [(0.355, 0.635), (0.475, 0.675), (0.477, 0.775), (0.347, 0.73)]
    right = [(0.475, 0.675), (0.60, 0.625), (0.613, 0.72), (0.477, 0.775)]
    pen.polygon(scaled(left, image.size), (244, 232, 204))
    pen.polygon(scaled(right, image.size), (216, 198, 164))
    for i in range(5):
        drop = 0.017 * i
        ends = [(0.372, 0.655 + drop), (0.462, 0.685 + drop)]
        pen.line(scaled(ends, image.size), (164, 150, 126), 2)
        ends = [(0.492, 0.685 + drop), (0.588, 0.648 + drop)]
        pen.line(scaled(ends, image.size), (146, 130, 106), 2)
    shape(
        [(0.32, 0.70), (0.37, 0.705), (0.385, 0.735), (0.35, 0.762), (0.315, 0.745)],
        (220, 170, 132),
    )
    shape(
        [(0.575, 0.695), (0.63, 0.68), (0.645, 0.72), (0.60, 0.75), (0.57, 0.73)], (196, 142, 108)
    )


def composition() -> Image.Image:
    """Draw an abstract composition of discs, arcs and bars."""
    rng, size = np.random.default_rng(6), (880, 880)
    image = gradient(size, [(0, (236, 226, 204)), (1, (218, 202, 172))])
    image = glaze(image, (196, 176, 140), noise(rng, size, 4) * 0.45)
    x, y = grid(size)

    def disc(cx: float, cy: float, r: float, colour: Colour, amount: float = 0.92) -> None:
        d = np.hypot(x - cx, y - cy)
        image.paste(glaze(image, colour, smooth_step(r, r - 0.004, d) * amount))

    def ring(cx: float, cy: float, r: float, thick: float, colour: Colour, span: Point) -> None:
        d, turn = np.hypot(x - cx, y - cy), np.mod(np.arctan2(y - cy, x - cx), 2 * math.pi)
        inside = (
            smooth_step(thick, thick * 0.7, np.abs(d - r)) * (turn > span[0]) * (turn < span[1])
        )
        image.paste(glaze(image, colour, inside * 0.95))

    disc(0.36, 0.36, 0.25, (206, 72, 48))
    disc(0.41, 0.41, 0.15, (238, 170, 58))
    disc(0.44, 0.44, 0.06, (28, 40, 62))
    disc(0.71, 0.64, 0.19, (42, 92, 132), 0.88)
    disc(0.76, 0.60, 0.09, (228, 214, 182))
    disc(0.20, 0.78, 0.085, (64, 122, 98))
    disc(0.83, 0.18, 0.06, (34, 38, 48))
    for i, colour in enumerate([(28, 40, 62), (206, 72, 48), (42, 92, 132), (238, 170, 58)]):
        ring(0.36, 0.36, 0.31 + 0.052 * i, 0.012 + 0.003 * i, colour, (0.2 * i, 1.9 + 0.5 * i))
        ring(0.71, 0.64, 0.235 + 0.03 * i, 0.007, colour, (3.2 - 0.3 * i, 5.2 + 0.2 * i))
    _bars(image)

    def along(u: Field, v: Field) -> Field:
        first = np.arctan2(v - 0.36, u - 0.36) + math.pi / 2
        second = np.arctan2(v - 0.64, u - 0.71) + math.pi / 2
        return np.where(np.hypot(u - 0.36, v - 0.36) < np.hypot(u - 0.71, v - 0.64), first, second)

    image = brush(image, rng, along, passes=((1800, 30, 7), (8000, 15, 3), (9000, 9, 2)), vary=9)
    _bars(image)
    image = brush(image, rng, along, base_blur=0.4, passes=((3000, 9, 2),), vary=9)
    return finish(image, rng)


def _bars(image: Image.Image) -> None:
    """Draw the straight parts of the composition, in place."""
    size = image.size
    pen = ImageDraw.Draw(image)
    bars: list[tuple[Point, Point, int, Colour]] = [
        ((0.06, 0.62), (0.92, 0.30), 12, (28, 40, 62)),
        ((0.10, 0.93), (0.60, 0.52), 20, (188, 130, 60)),
        ((0.52, 0.05), (0.66, 0.95), 7, (120, 44, 40)),
    ]
    for start, end, width, colour in bars:
        pen.line(scaled([start, end], size), colour, width)
    for i in range(7):
        left = 0.07 + 0.034 * i
        box = scaled([(left, 0.06), (left + 0.017, 0.12 + 0.015 * i)], size)
        pen.rectangle((*box[0], *box[1]), (42, 92, 132) if i % 2 else (28, 40, 62))
    triangle = scaled([(0.80, 0.97), (0.96, 0.97), (0.90, 0.80)], size)
    pen.polygon(triangle, (206, 72, 48))


WORKS = (
    Work(
        "boats-under-a-wide-sky.jpg",
        "Boats under a Wide Sky",
        "Impressionism",
        "marina",
        "The waves roll and the clouds drift to the right",
        seascape,
    ),
    Work(
        "night-over-the-hills.jpg",
        "Night over the Hills",
        "Post_Impressionism",
        "landscape",
        "The stars flicker and the night sky swirls",
        night,
    ),
    Work(
        "flowers-in-a-blue-vase.jpg",
        "Flowers in a Blue Vase",
        "Post_Impressionism",
        "flower painting",
        "The flowers sway in a light breeze",
        flowers,
    ),
    Work(
        "poplar-in-the-wind.jpg",
        "Poplar in the Wind",
        "Impressionism",
        "landscape",
        "The leaves flutter in the wind",
        poplar,
    ),
    Work(
        "reader-in-a-green-robe.jpg",
        "Reader in a Green Robe",
        "Realism",
        "portrait",
        "The figure breathes and sways slowly",
        reader,
    ),
    Work(
        "composition-with-two-discs.jpg",
        "Composition with Two Discs",
        "Abstract Art",
        "abstract",
        "",
        composition,
    ),
)
