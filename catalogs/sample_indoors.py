"""The sample's works from indoors: flowers, a reader and an abstract composition."""

import math
from collections.abc import Callable

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
    leaf,
    noise,
    scaled,
    smooth_step,
)


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
        leaf(image, start, rng.uniform(0, 2 * math.pi), 0.085, (46 + green // 4, green, 48))
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
            leaf(image, at, angle, radius * ring * 1.35, (red, green, blue), 0.36)
    width, height = image.size
    eye = radius * width * 0.17
    cx, cy = at[0] * width, at[1] * height
    ImageDraw.Draw(image).ellipse((cx - eye, cy - eye, cx + eye, cy + eye), (92, 58, 34))


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
    pen.line(scaled([(0.463, 0.329), (0.481, 0.335), (0.502, 0.328)], image.size), (164, 70, 66), 6)


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
