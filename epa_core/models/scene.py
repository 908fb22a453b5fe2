"""What the motions of one painting know of it, and what they add up to.

Every motion adds to three things on a coarse grid: a steady velocity field, along which the
painting is carried; oscillating displacements; and gains of the light. Lengths are in pixels of
the grid, time runs from 0 to 1 over the clip.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from epa_core.models.regions import Array, region_mask
from epa_core.models.sprites import Sprite

TAU = 2 * np.pi
GRID_SIDE = 160
# Share of the short side over which displacements fade out towards the border.
BORDER = 0.07
REFERENCE_FRAMES = 16


@dataclass
class Scene:
    """One painting on its grid, and the motions collected so far.

    ``painting`` [h, w, 3] uint8 RGB; ``x``, ``y`` [h, w]; ``side``: the short side; ``lengths``:
    how many times longer than sixteen frames the clip is, which oscillations repeat with;
    ``velocity`` [h, w, 2] per clip; ``waves``, ``tips`` and ``gains``: functions of time, zero at
    time 0, giving displacements [h, w, 2] and relative changes of light [h, w]; ``rigid``: soft
    masks of bodies that are carried unbent, which only ``tips`` move by themselves.
    """

    painting: NDArray[np.uint8]
    x: Array
    y: Array
    side: float
    lengths: float
    velocity: Array
    waves: list[Callable[[float], Array]] = field(default_factory=list)
    tips: list[Callable[[float], Array]] = field(default_factory=list)
    gains: list[Callable[[float], Array]] = field(default_factory=list)
    rigid: list[Array] = field(default_factory=list)
    sprites: list[Sprite] = field(default_factory=list)
    moves_camera: bool = False

    @classmethod
    def of(cls, painting: NDArray[np.uint8], num_frames: int) -> "Scene":
        """Set out the unmoved scene of a painting [H, W, 3]."""
        height, width = painting.shape[:2]
        shrink = min(1.0, GRID_SIDE / min(height, width))
        size = (max(2, round(width * shrink)), max(2, round(height * shrink)))
        small = cv2.resize(painting, size, interpolation=cv2.INTER_AREA)
        y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
        velocity = np.zeros((size[1], size[0], 2), np.float32)
        return cls(small, x, y, float(min(size)), max(1.0, num_frames / REFERENCE_FRAMES), velocity)

    def mask(self, region: str) -> Array:
        """Soft mask [h, w] of a region."""
        return region_mask(self.painting, region)

    def centre(self, mask: Array) -> tuple[float, float]:
        """Centre of gravity of a mask; the middle when it is empty."""
        total = float(mask.sum()) + 1e-6
        height, width = mask.shape
        if total < 1:
            return width / 2, height / 2
        return float((mask * self.x).sum()) / total, float((mask * self.y).sum()) / total

    def border(self) -> Array:
        """Window [h, w]: 0 on the border, 1 further inside."""
        left, top, right, bottom = self._picture()
        inside = np.minimum(
            np.minimum(self.x - left, right - self.x), np.minimum(self.y - top, bottom - self.y)
        )
        ramp = np.clip(inside / max(BORDER * self.side, 1.0), 0, 1)
        return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)

    def _picture(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the picture inside an even margin of paper, if it has one."""
        edges = []
        for image in (self.painting.swapaxes(0, 1), self.painting):
            deviation = image.astype(np.float32).std(axis=1).max(axis=-1)
            inner = np.flatnonzero(deviation > 12)
            limit = len(deviation) // 8  # an even sky is no margin
            first, last = (inner[0], inner[-1]) if inner.size else (0, len(deviation) - 1)
            edges.append((min(first, limit), max(last, len(deviation) - 1 - limit)))
        (left, right), (top, bottom) = edges
        return int(left), int(top), int(right), int(bottom)

    def noise(self, rng: np.random.Generator, scale: float) -> Array:
        """Smooth noise [h, w] in about -1..1 whose features are ``scale`` short sides large."""
        height, width = self.x.shape
        cell = max(scale * self.side, 1.0)
        coarse = rng.uniform(-1, 1, (int(height / cell) + 3, int(width / cell) + 3))
        fine = cv2.resize(
            coarse.astype(np.float32),
            (int(coarse.shape[1] * cell), int(coarse.shape[0] * cell)),
            interpolation=cv2.INTER_CUBIC,
        )
        # Not cut at the first cell's corner, where the enlargement is flat.
        offset = int(cell)
        return np.ascontiguousarray(fine[offset : offset + height, offset : offset + width])

    def strokes(self) -> tuple[Array, Array, Array]:
        """Direction of the brush: (cos 2 theta, sin 2 theta) of its tangent, and coherence 0..1.

        From the structure tensor of the lightness (Bigun and Granlund, 1987).
        """
        lightness = cv2.cvtColor(self.painting, cv2.COLOR_RGB2GRAY).astype(np.float32)
        lightness = cv2.GaussianBlur(lightness, (0, 0), 1.0)
        gx, gy = cv2.Sobel(lightness, cv2.CV_32F, 1, 0), cv2.Sobel(lightness, cv2.CV_32F, 0, 1)
        spread = max(0.022 * self.side, 1.0)
        xx, yy, xy = (cv2.GaussianBlur(g, (0, 0), spread) for g in (gx * gx, gy * gy, gx * gy))
        energy = xx + yy + 1e-3
        cosine, sine = -(xx - yy) / energy, -2 * xy / energy
        return cosine, sine, np.sqrt(cosine**2 + sine**2)

    def along_strokes(self, flow: Array, share: float) -> Array:
        """Turn ``share`` of a flow [h, w, 2] along the brush strokes that it crosses."""
        cosine, sine, _ = self.strokes()
        u, v = flow[..., 0], flow[..., 1]
        # t t^T = (1 + [[cos, sin], [sin, -cos]]) / 2: no sign to choose, so no seams.
        turned = np.stack([u + cosine * u + sine * v, v + sine * u - cosine * v], -1) / 2
        return cv2.GaussianBlur((1 - share) * flow + share * 1.6 * turned, (0, 0), 1.5)


def onset(time: float) -> float:
    """Amplitude of an oscillation: grows from 0 to 1 over the first third, smoothly."""
    ramp = min(time / 0.3, 1.0)
    return ramp * ramp * (3 - 2 * ramp)


def oscillate(
    scene: Scene,
    mask: Array,
    amount: tuple[float, float],
    phase: NDArray[np.floating],
    cycles: float,
) -> None:
    """A displacement amount * sin(phase - time), growing from nothing; amounts in short sides."""
    weight = mask * np.float32(scene.side)
    turns = TAU * cycles * scene.lengths
    start = phase.astype(np.float32)

    def wave(time: float) -> Array:
        swing = weight * np.sin(start - np.float32(turns * time)) * np.float32(onset(time))
        return np.stack([swing * np.float32(amount[0]), swing * np.float32(amount[1])], -1)

    scene.waves.append(wave)


def travelling(
    scene: Scene,
    mask: Array,
    amount: float,
    length: float,
    cycles: float,
    rng: np.random.Generator,
) -> None:
    """Ripples that run down the picture, bent by noise; finer towards the horizon."""
    depth = scene.y / scene.y.max()
    bent = scene.y * (1.45 - 0.45 * depth) / (length * scene.side)
    phase = TAU * (bent + 0.12 * scene.x / (length * scene.side) + 0.6 * scene.noise(rng, 0.3))
    oscillate(scene, mask, (amount, 0.55 * amount), phase.astype(np.float32), cycles)
