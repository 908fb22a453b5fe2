"""Apparent motion between neighbouring frames, and how much of their difference it explains."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]

# Farneback (2003): the parameters that published motion scores of this kind use; the measure is
# only comparable at these.
_PYRAMID_SCALE: Final = 0.5
_LEVELS: Final = 3
_WINDOW: Final = 15
_ITERATIONS: Final = 3
_POLY_N: Final = 5
_POLY_SIGMA: Final = 1.2


def farneback(first: Grey, second: Grey) -> Field:
    """Motion from ``first`` to ``second``, uint8 [H, W] each: float32 [H, W, 2] (x, y) in px."""
    flow = cv2.calcOpticalFlowFarneback(
        first,
        second,
        np.zeros((*first.shape, 2), np.float32),
        _PYRAMID_SCALE,
        _LEVELS,
        _WINDOW,
        _ITERATIONS,
        _POLY_N,
        _POLY_SIGMA,
        0,
    )
    return np.asarray(flow, np.float32)


def magnitude(flow: Field) -> NDArray[np.float32]:
    """Length of the motion per pixel, px."""
    return np.hypot(flow[..., 0], flow[..., 1])


def top_mean(values: NDArray[np.float32], share: float = 0.05) -> float:
    """Mean of the largest ``share`` of the values (at least one)."""
    count = max(1, int(values.size * share))
    return float(np.partition(values.ravel(), values.size - count)[-count:].mean())


def warp_back(second: Grey, flow: Field) -> Grey:
    """Fetch every pixel of ``second`` from where ``flow`` says the first frame's pixel went."""
    height, width = second.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(second, x, y, cv2.INTER_LINEAR), np.uint8)


def inner(values: Grey) -> Grey:
    """Cut an eighth of the shorter side off every edge, where motion comes from outside."""
    margin = min(values.shape) // 8
    return values[margin : values.shape[0] - margin, margin : values.shape[1] - margin]


def mean_difference(first: Grey, second: Grey) -> float:
    """Mean absolute difference inside the margin, grey levels (0..255)."""
    return float(cv2.absdiff(inner(first), inner(second)).mean())


def warp_error(first: Grey, second: Grey, flow: Field | None = None) -> float:
    """What motion leaves unexplained: mean |warped second - first| inside, grey levels."""
    field = farneback(first, second) if flow is None else flow
    return mean_difference(first, warp_back(second, field))
