"""Where in a painting things are: soft masks of sky, water, ground, foliage, figures, boats, light.

No learned segmentation: each region starts as a belief about its place (the sky is above, figures
stand in the middle), which is sharpened by the painting's own colours with a two-class histogram
model, and then made to follow the painted edges by a guided filter (He et al., 2013).
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Masks are soft: they are computed with this many pixels on the short side and then enlarged.
WORKING_SIDE = 128
BINS = 8


def region_mask(painting: NDArray[np.uint8], region: str) -> Array:
    """Return the soft mask [H, W] in 0..1 of ``region`` in a painting [H, W, 3] (RGB, 0..255).

    ``region`` is a key of ``REGIONS``; KeyError otherwise. Depends on the painting alone.
    """
    height, width = painting.shape[:2]
    shrink = min(1.0, WORKING_SIDE / min(height, width))
    size = (max(8, round(width * shrink)), max(8, round(height * shrink)))
    small = cv2.resize(painting, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    mask = REGIONS[region](lab)
    if (width, height) != size:
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(mask, 0, 1).astype(np.float32)


def _grid(lab: Array) -> tuple[Array, Array]:
    """Coordinates x, y of the pixels, each in 0..1."""
    height, width = lab.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (x + 0.5) / width, (y + 0.5) / height


def _logistic(value: NDArray[np.floating]) -> Array:
    return (1 / (1 + np.exp(-np.clip(value, -30, 30)))).astype(np.float32)


def _histogram(codes: NDArray[np.int64], weights: Array) -> NDArray[np.float64]:
    """Smoothed share of each colour bin; never zero."""
    counts = np.bincount(codes.ravel(), weights.ravel(), BINS**3).reshape(BINS, BINS, BINS)
    for axis in range(3):
        padded = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)], "edge")
        low, mid, high = (
            np.take(padded, range(start, start + BINS), axis=axis) for start in range(3)
        )
        counts = 0.25 * low + 0.5 * mid + 0.25 * high
    share = counts.ravel() / max(float(counts.sum()), 1e-6)
    return share + 1e-3 / BINS**3


def _two_classes(lab: Array, prior: Array, trust: float = 1.0, rounds: int = 3) -> Array:
    """Sharpen a belief with the colours: log odds = prior + trust * log colour ratio, repeated."""
    scaled = (lab - np.array([0, -50, -50], np.float32)) / np.float32(100)
    code = np.clip((scaled * BINS).astype(np.int64), 0, BINS - 1)
    codes = (code[..., 0] * BINS + code[..., 1]) * BINS + code[..., 2]
    belief = _logistic(prior)
    for _ in range(rounds):
        ratio = np.log(_histogram(codes, belief) / _histogram(codes, 1 - belief))
        odds = prior + trust * np.clip(ratio, -3, 3)[codes].astype(np.float32)
        belief = cv2.GaussianBlur(_logistic(odds), (0, 0), 1.0)
    return _guided(lab, belief)


def _guided(lab: Array, mask: Array, radius: int = 4, eps: float = 2e-3) -> Array:
    """Let the edges of a mask follow the edges of the painting's lightness."""
    guide = lab[..., 0] / 100
    window = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_mask = cv2.blur(guide, window), cv2.blur(mask, window)
    covariance = cv2.blur(guide * mask, window) - mean_guide * mean_mask
    slope = covariance / (cv2.blur(guide * guide, window) - mean_guide**2 + eps)
    offset = mean_mask - slope * mean_guide
    return np.clip(cv2.blur(slope, window) * guide + cv2.blur(offset, window), 0, 1)


def _sharpen(mask: Array, low: float = 0.3, high: float = 0.7) -> Array:
    """Smooth step between ``low`` and ``high``, so that a region has an inside and an outside."""
    ramp = np.clip((mask - low) / (high - low), 0, 1)
    return cv2.GaussianBlur(ramp * ramp * (3 - 2 * ramp), (0, 0), 1.0)


def _sky(lab: Array) -> Array:
    _, y = _grid(lab)
    return _sharpen(_two_classes(lab, (0.55 - y) * 7, trust=1.3), 0.4, 0.8)


def _below(lab: Array) -> Array:
    _, y = _grid(lab)
    return _sharpen(_two_classes(lab, (y - 0.5) * 7, trust=1.2))


def _foliage(lab: Array) -> Array:
    """Green parts; where there are hardly any, what is textured most and not sky."""
    green = _logistic((-lab[..., 1] - 4) / 2) * _logistic((lab[..., 2] + 2) / 3)
    place = (1 - 0.9 * _sky(lab)) * _inside(lab)
    green = _sharpen(_guided(lab, cv2.GaussianBlur(green, (0, 0), 1)) * place)
    if float(green.mean()) > 0.08:
        return green
    leafy = (0.1 + _texture(lab)) * place
    low, high = np.percentile(leafy, [60, 85])
    return _sharpen((leafy - low) / max(float(high - low), 1e-3), 0.2, 0.8)


def _flowers(lab: Array) -> Array:
    """Blobs above the middle, coloured unlike the margins; foliage where there are hardly any."""
    x, y = _grid(lab)
    side = min(lab.shape[:2])
    calm = cv2.GaussianBlur(lab, (0, 0), max(side * 0.012, 0.5))
    margin = np.median(calm[(np.abs(x - 0.5) > 0.42) & (y < 0.7)], axis=0)
    petal = _logistic((np.linalg.norm((calm - margin)[..., 1:], axis=-1) - 20) / 4)
    petal *= _logistic(4 * (1 - ((x - 0.5) / 0.42) ** 2 - ((y - 0.38) / 0.36) ** 2))
    petal *= _logistic((0.6 - y) * 40)  # not the vase
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side // 8 * 2 + 1,) * 2)
    bloom = cv2.morphologyEx(petal, cv2.MORPH_CLOSE, brush)  # pale flowers among coloured ones
    found = _sharpen(_guided(lab, cv2.GaussianBlur(bloom, (0, 0), side * 0.01)))
    return found if float(found.mean()) > 0.03 else _foliage(lab)


def _inside(lab: Array) -> Array:
    """1 in the picture, 0 near its border, where the paper of a print may show."""
    x, y = _grid(lab)
    return _logistic((0.45 - np.maximum(np.abs(x - 0.5), np.abs(y - 0.5))) * 60)


def _texture(lab: Array) -> Array:
    lightness = lab[..., 0]
    detail = np.abs(lightness - cv2.GaussianBlur(lightness, (0, 0), 2))
    energy = cv2.GaussianBlur(detail, (0, 0), 3)
    return np.clip(energy / max(float(np.percentile(energy, 90)), 1e-3), 0, 1)


def _figures(lab: Array) -> Array:
    """What stands in the middle and is coloured unlike the left, right and upper margins."""
    x, y = _grid(lab)
    ellipse = ((x - 0.5) / 0.3) ** 2 + ((y - 0.58) / 0.5) ** 2
    return _sharpen(_two_classes(lab, np.float32(2.5) * (1 - ellipse), trust=0.7))


def _boats(lab: Array) -> Array:
    """Small things on the water, below the middle."""
    return _small_bodies(lab, 0.57)


def _afloat(lab: Array) -> Array:
    """Small things on the water with all that stands on them, such as sails."""
    return _small_bodies(lab, 0.3)


def _small_bodies(lab: Array, highest: float) -> Array:
    """Small things darker or warmer than what surrounds them, below the height ``highest``."""
    x, y = _grid(lab)
    side = min(lab.shape[:2])
    width = int(side * 0.1) * 2 + 1
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width // 2 * 2 + 1))
    calm = cv2.GaussianBlur(lab, (0, 0), max(side * 0.012, 0.5))
    warmth = calm[..., 2] + 0.5 * calm[..., 1]
    dark = cv2.morphologyEx(calm[..., 0], cv2.MORPH_BLACKHAT, brush)
    warm = cv2.morphologyEx(warmth, cv2.MORPH_TOPHAT, brush)
    lightness = calm[..., 0]
    wooden = _logistic((lightness.mean() + 0.5 * lightness.std() - lightness) / 3)
    wooden *= _logistic((warmth + 2) / 3)  # neither foam nor the blue of waves
    place = _logistic((y - highest) * 30) * _logistic((0.9 - y) * 30)
    place *= _logistic((0.46 - np.abs(x - 0.5)) * 30)
    found = cv2.GaussianBlur((0.7 * dark + warm) * wooden * place, (0, 0), side * 0.02)
    found = _without_wide(found / max(float(np.percentile(found, 99)), 1e-3))
    return _sharpen(found, 0.35, 0.65)


def _without_wide(found: Array) -> Array:
    """Drop connected parts wider than a third of the picture (shores), unless nothing is left.

    A boat that touches the shore at a low level stands apart from it at a higher one.
    """
    kept = np.zeros(found.shape, np.uint8)
    for level in (0.45, 0.6, 0.75, 0.9):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((found > level).astype(np.uint8))
        narrow = stats[:, cv2.CC_STAT_WIDTH] < found.shape[1] / 3
        narrow &= stats[:, cv2.CC_STAT_AREA] > found.size / 1000
        narrow[0] = False
        kept |= narrow[labels].astype(np.uint8)
    if not kept.any():
        return found
    near = cv2.dilate(kept, np.ones((9, 9), np.uint8)).astype(np.float32)
    return (found * cv2.GaussianBlur(near, (0, 0), 1)).astype(np.float32)


def _light(lab: Array) -> Array:
    """The brightest and the warm, saturated parts."""
    inside = _inside(lab)
    lightness = cv2.GaussianBlur(lab[..., 0] + 0.3 * np.maximum(lab[..., 2], 0), (0, 0), 1.5)
    low, high = np.percentile(lightness[inside > 0.5], [66, 94])
    # Bright paper around a picture is no light in it.
    return _sharpen(inside * (lightness - low) / max(float(high - low), 1.0), 0.1, 0.9)


def _whole(lab: Array) -> Array:
    return np.ones(lab.shape[:2], np.float32)


REGIONS: dict[str, Callable[[Array], Array]] = {
    "sky": _sky,
    "water": _below,
    "ground": _below,
    "foliage": _foliage,
    "flowers": _flowers,
    "figures": _figures,
    "boats": _boats,
    "afloat": _afloat,
    "light": _light,
    "whole": _whole,
}
