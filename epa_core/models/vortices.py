"""Centres that the brush strokes of a painting circle, such as painted stars and eddies."""

from dataclasses import dataclass

import cv2
import numpy as np

from epa_core.models.regions import Array
from epa_core.models.scene import Scene

RADII = (0.05, 0.085, 0.13, 0.19)  # shares of the short side
MOST = 9
LEAST_SCORE = 0.3


@dataclass(frozen=True)
class Vortex:
    """A centre (x, y) and radius in grid pixels; ``sense`` is +1 for clockwise as seen, else -1."""

    x: float
    y: float
    radius: float
    sense: float


def find_vortices(scene: Scene, mask: Array) -> list[Vortex]:
    """Return the best centres inside ``mask``, strongest first; none in a picture without strokes.

    A centre scores the mean, over a disc, of how far the strokes are perpendicular to its radius
    (1 = concentric, -1 = all radial). Neighbours turn in opposite senses, like wheels in gear.
    """
    cosine, sine, _ = scene.strokes()
    found: list[tuple[float, float, float, float]] = []
    for share in RADII:
        radius = max(share * scene.side, 2.0)
        score = _score(cosine, sine, radius) * mask
        # A larger circle is harder to fill with concentric strokes.
        score *= np.float32(1 + share)
        peaks = score == cv2.dilate(score, np.ones((5, 5), np.uint8))
        for y, x in zip(*np.nonzero(peaks & (score > LEAST_SCORE)), strict=True):
            found.append((float(score[y, x]), float(x), float(y), radius))
    return _apart(sorted(found, reverse=True))


def _score(cosine: Array, sine: Array, radius: float) -> Array:
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    distance = np.hypot(x, y)
    ring = ((distance <= radius) & (distance > 0.15 * radius)).astype(np.float32)
    ring /= ring.sum()
    angle = 2 * (np.arctan2(y, x) + np.float32(np.pi / 2))
    across = cv2.filter2D(cosine, -1, ring * np.cos(angle), borderType=cv2.BORDER_REFLECT)
    return across + cv2.filter2D(sine, -1, ring * np.sin(angle), borderType=cv2.BORDER_REFLECT)


def _apart(found: list[tuple[float, float, float, float]]) -> list[Vortex]:
    chosen: list[Vortex] = []
    for _, x, y, radius in found:
        if any(np.hypot(x - v.x, y - v.y) < 0.9 * (radius + v.radius) for v in chosen):
            continue
        nearest = min(chosen, key=lambda v: np.hypot(x - v.x, y - v.y), default=None)
        chosen.append(Vortex(x, y, radius, -nearest.sense if nearest else 1.0))
        if len(chosen) == MOST:
            break
    return chosen
