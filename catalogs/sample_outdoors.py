"""The sample's works from outdoors: a seascape, a night and a tall tree."""

import math

import numpy as np
from PIL import Image, ImageDraw

from catalogs.sample_brush import (
    Colour,
    Field,
    Point,
    brush,
    finish,
    glaze,
    gradient,
    grid,
    leaf,
    noise,
    scaled,
    smooth_step,
)


def seascape() -> Image.Image:
    """Draw three boats on a swell under drifting clouds."""
    rng, size = np.random.default_rng(11), (900, 600)
    x, y = grid(size)
    stops = [(0.0, (74, 118, 168)), (0.30, (150, 184, 205)), (0.47, (240, 214, 172))]
    stops += [(0.48, (62, 116, 132)), (0.7, (36, 92, 112)), (1.0, (18, 52, 76))]
    image = gradient(size, stops)
    cloud = noise(rng, size, 6, 5)
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
        colour = (int(24 + 128 * lit), int(58 + 112 * lit), int(40 + 16 * lit))
        spot = (spine + side * half, 0.17 + 0.61 * t)
        angle = -0.75 + rng.normal(0, 0.45) + 0.7 * side
        leaf(image, spot, angle, 0.042, colour, 0.26)
