"""Bodies that leave their place: cut out, carried whole, and the place behind them filled.

Bending a painting cannot move a boat far without dragging the water along. A sprite is the body
with a soft rim of what surrounds it; where it was, the painting continues with what lies beside
it at the same height, joined without a seam by Poisson blending (Perez et al., 2003).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from epa_core.models.regions import Array


@dataclass(frozen=True)
class Sprite:
    """A body [h, w] (soft mask on the grid) and its voyage: over the clip it moves by ``reach``
    (x, y in grid pixels) and grows by the share ``grow`` about its ``centre``.
    """

    body: Array
    centre: tuple[float, float]
    reach: tuple[float, float]
    grow: float


def without(painting: NDArray[np.uint8], sprites: list[Sprite]) -> NDArray[np.uint8]:
    """Return the painting [H, W, 3] with every sprite's place filled from beside it."""
    height, width = painting.shape[:2]
    filled = painting
    for sprite in sprites:
        hole = cv2.resize(sprite.body, (width, height), interpolation=cv2.INTER_LINEAR) > 0.02
        columns, rows = np.flatnonzero(hole.any(0)), np.flatnonzero(hole.any(1))
        if not columns.size:
            continue
        left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        if left < 2 or top < 2 or right > width - 2 or bottom > height - 2:
            continue  # the blend needs a rim all round
        source = _beside(filled, hole, int(left), int(right))
        centre = ((int(left) + int(right)) // 2, (int(top) + int(bottom)) // 2)
        mask = hole.astype(np.uint8) * np.uint8(255)
        filled = cv2.seamlessClone(
            source[top:bottom, left:right],
            filled,
            mask[top:bottom, left:right],
            centre,
            cv2.NORMAL_CLONE,
        )
    return filled


def _beside(
    painting: NDArray[np.uint8], hole: NDArray[np.bool_], left: int, right: int
) -> NDArray[np.uint8]:
    """The painting shifted sideways so that its better neighbour stands over the hole."""
    width = painting.shape[1]
    rim = cv2.dilate(hole.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~hole
    extent = right - left + 4
    best, least = painting, np.inf
    for shift in (extent, -extent):
        if not 0 <= left + shift <= right + shift <= width:
            continue
        moved = np.roll(painting, -shift, axis=1)
        cost = float(np.abs(moved[rim].astype(np.float32) - painting[rim]).mean())
        if cost < least:
            best, least = moved, cost
    return best


def paste(
    frame: Array, painting: Array, sprite: Sprite, time: float, scale: tuple[float, float]
) -> Array:
    """Lay a sprite over a frame [H, W, 3] at a time in 0..1; ``scale``: pixels per grid pixel."""
    height, width = frame.shape[:2]
    eased = time * (0.45 + 0.55 * time * (2 - time))
    size = 1 + sprite.grow * eased
    x, y = sprite.centre[0] * scale[0], sprite.centre[1] * scale[1]
    step = (sprite.reach[0] * eased * scale[0], sprite.reach[1] * eased * scale[1])
    move = np.array(
        [[size, 0, x * (1 - size) + step[0]], [0, size, y * (1 - size) + step[1]]], np.float32
    )
    body = cv2.resize(sprite.body, (width, height), interpolation=cv2.INTER_LINEAR)
    alpha = cv2.warpAffine(body, move, (width, height), flags=cv2.INTER_LINEAR)[..., None]
    moved = cv2.warpAffine(
        painting, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return frame + (moved - frame) * alpha
