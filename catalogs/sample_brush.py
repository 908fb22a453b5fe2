"""Paint for the sample works: colour fields, strokes that follow a direction, canvas grain."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
Field = NDArray[np.float64]
Angles = Callable[[Field, Field], Field]


def noise(rng: np.random.Generator, size: tuple[int, int], cells: int, octaves: int = 4) -> Field:
    """Return smooth noise [H, W] in 0..1 with about `cells` blobs across (value noise)."""
    width, height = size
    total = np.zeros((height, width))
    for octave in range(octaves):
        across = cells * 2**octave
        down = max(2, round(across * height / width))
        coarse = Image.fromarray(rng.random((down, across), dtype=np.float32))
        total += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) / 2**octave
    low, high = total.min(), total.max()
    return (total - low) / (high - low)


def gradient(size: tuple[int, int], stops: Sequence[tuple[float, Colour]]) -> Image.Image:
    """Return an image that blends the colours of (position 0..1, colour) stops from top down."""
    width, height = size
    at = np.linspace(0, 1, height)
    where = [stop for stop, _ in stops]
    channels = [np.interp(at, where, [colour[c] for _, colour in stops]) for c in range(3)]
    column = np.stack(channels, axis=-1)[:, None, :]
    return Image.fromarray(np.repeat(column, width, axis=1).astype(np.uint8))


def glaze(image: Image.Image, colour: Colour, amount: Field) -> Image.Image:
    """Return the image with a colour laid over it by amount [H, W] in 0..1."""
    base = np.asarray(image, dtype=np.float64)
    weight = np.clip(amount, 0, 1)[..., None]
    return Image.fromarray((base * (1 - weight) + np.array(colour) * weight).astype(np.uint8))


def grid(size: tuple[int, int]) -> tuple[Field, Field]:
    """Return the pixel coordinates x and y [H, W], each in 0..1."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return x, y


def brush(
    image: Image.Image,
    rng: np.random.Generator,
    angles: Angles,
    *,
    passes: Sequence[tuple[int, float, float]] = ((2600, 46, 11), (5200, 26, 6), (5200, 13, 3)),
    vary: float = 11.0,
    base_blur: float = 3.0,
) -> Image.Image:
    """Return the image repainted in strokes that follow `angles(x, y)` (radians, x, y in 0..1).

    `passes` are (strokes, length in px, width in px), coarse first; `vary` is the spread of a
    stroke's lightness in levels; `base_blur` (px) softens what the strokes leave uncovered.
    """
    width, height = image.size
    under = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), dtype=np.int64)
    canvas = image.filter(ImageFilter.GaussianBlur(base_blur))
    pen = ImageDraw.Draw(canvas)
    for count, length, thick in passes:
        x, y = rng.random(count), rng.random(count)
        angle = angles(x, y) + rng.normal(0, 0.16, count)
        reach = length * rng.uniform(0.5, 1.1, count) / 2
        light = rng.normal(0, vary, count)
        tint = rng.normal(0, vary / 3, (count, 3))
        px, py = x * (width - 1), y * (height - 1)
        colours = under[py.astype(int), px.astype(int)] + light[:, None] + tint
        colours = np.clip(colours, 0, 255).astype(int)
        dx, dy = np.cos(angle) * reach, np.sin(angle) * reach
        sizes = np.maximum(1, thick * rng.uniform(0.5, 1.2, count)).astype(int)
        strokes = zip(px, py, dx, dy, sizes, colours.tolist(), strict=True)
        for cx, cy, ax, ay, size, colour in strokes:
            ends = (cx - ax, cy - ay, cx + ax, cy + ay)
            pen.line(ends, fill=tuple(colour), width=size)
    return canvas


def finish(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image softened a little, with the grain of a canvas."""
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), dtype=np.float64)
    height, width = soft.shape[:2]
    y, x = np.mgrid[:height, :width]
    weave = 2.2 * (np.sin(x * 2.1) + np.sin(y * 2.1))
    grain = rng.normal(0, 2.6, (height, width))
    return Image.fromarray(np.clip(soft + (weave + grain)[..., None], 0, 255).astype(np.uint8))


def smooth_step(start: Field | float, end: Field | float, value: Field) -> Field:
    """Return 0 before `start`, 1 after `end` and a smooth rise between (either may be larger)."""
    t = np.clip((value - start) / (np.asarray(end) - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def scaled(points: Sequence[Point], size: tuple[int, int]) -> list[Point]:
    """Return points given in 0..1 of the image in pixels."""
    return [(px * size[0], py * size[1]) for px, py in points]


def curve(points: Sequence[Point], steps: int = 12) -> list[Point]:
    """Return a closed smooth outline through the points (Catmull-Rom)."""
    outline: list[Point] = []
    n = len(points)
    for i in range(n):
        p0, p1, p2, p3 = (points[(i + k - 1) % n] for k in range(4))
        for step in range(steps):
            t = step / steps
            outline.append(
                (_spline(p0[0], p1[0], p2[0], p3[0], t), _spline(p0[1], p1[1], p2[1], p3[1], t))
            )
    return outline


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )


def leaf(
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
