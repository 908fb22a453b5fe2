"""Comparisons of pictures and clips that need no trained weights."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

Image8 = NDArray[np.uint8]

_SSIM_RADIUS = 5  # 11 x 11 window of Wang et al. 2004
_SSIM_SIGMA = 1.5


def ssim(first: Image8, second: Image8) -> float | None:
    """Structural similarity of two uint8 [H, W(, C)] images; None below 11 px a side.

    Wang et al. 2004: Gaussian window 11 x 11 of sigma 1.5, K = (0.01, 0.03), population covariance,
    borders cropped by 5, mean over channels. scikit-image gives the same with
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, ten times slower.
    """
    if min(first.shape[:2]) <= 2 * _SSIM_RADIUS:
        return None
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y = _window(x), _window(y)
    var_x = _window(x * x) - mean_x * mean_x
    var_y = _window(y * y) - mean_y * mean_y
    covariance = _window(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(value[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS].mean())


def _window(values: NDArray[np.float64]) -> NDArray[np.float64]:
    side = 2 * _SSIM_RADIUS + 1
    return np.asarray(cv2.GaussianBlur(values, (side, side), _SSIM_SIGMA), np.float64)


def colour_difference(
    first: NDArray[np.uint8 | np.floating], second: NDArray[np.uint8 | np.floating]
) -> NDArray[np.float64]:
    """CIEDE2000 of every pixel of two sRGB arrays [..., 3], uint8 or float in 0..1.

    1 is just visible.
    """
    return np.asarray(deltaE_ciede2000(rgb2lab(first), rgb2lab(second)), np.float64)


def blend_share(frames: Image8) -> float | None:
    """How much of a clip [F, ...] is a mere fade from its first to its last frame, 0..1.

    1 - sum |F_l - F_0 - b_l D|^2 / sum |F_l - F_0|^2 over 0 < l < F - 1, where D = F_{F-1} - F_0
    and b_l = clip(<F_l - F_0, D> / |D|^2, 0, 1). None where nothing changes or F < 3.
    """
    # Integers of at most 255 * 255 * pixels: the sums below are exact in float64.
    steps = frames.reshape(len(frames), -1).astype(np.float64)
    steps -= steps[0].copy()
    squared = float(steps[-1] @ steps[-1])
    inside = steps[1:-1]
    energy = np.einsum("ij,ij->i", inside, inside)
    total = float(energy.sum())
    if squared == 0 or total == 0:
        return None
    along = inside @ steps[-1]
    b = np.clip(along / squared, 0, 1)
    # |s - b D|^2 = |s|^2 - 2 b <s, D> + b^2 |D|^2
    left = float((energy - 2 * b * along + b * b * squared).sum())
    return 1 - left / total


def step_sizes(frames: Image8) -> list[float]:
    """Mean absolute difference of every neighbouring pair of frames [F, ...], levels."""
    return [_distance(first, second) for first, second in pairwise(frames)]


def loop_seam(frames: Image8) -> float | None:
    """Step from the last frame to the first, over the mean step inside; None for a still clip."""
    inside = step_sizes(frames)
    if not any(inside):
        return None
    return _distance(frames[-1], frames[0]) / float(np.mean(inside))


def _distance(first: Image8, second: Image8) -> float:
    return float(np.mean(cv2.absdiff(first, second)))
