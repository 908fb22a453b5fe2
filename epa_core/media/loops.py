"""Ways to let a clip repeat without a jump."""

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Loop = Literal["none", "ping-pong", "cross-fade"]
LOOPS: Final[tuple[Loop, ...]] = get_args(Loop)


def loop_frames(frames: NDArray[np.uint8], loop: Loop, blended: int = 4) -> NDArray[np.uint8]:
    """Return the frames of one round of the loop, uint8 [F', H, W, 3]; ValueError if unknown.

    none: as given. ping-pong: forth and back, F' = 2F - 2, ends next to where it began.
    cross-fade: the last k frames are faded into the first k in linear light, F' = F - k, where k
    is ``blended`` or half of the clip if that is less.
    """
    count = len(frames)
    if loop == "none":
        return frames
    if loop == "ping-pong":
        return frames[[*range(count), *range(count - 2, 0, -1)]]
    if loop != "cross-fade":
        raise ValueError(f"loop is {loop!r}; allowed are {', '.join(LOOPS)}")
    k = min(blended, count // 2)
    if k < 1:
        return frames
    share = (np.arange(1, k + 1, dtype=np.float32) / np.float32(k + 1))[:, None, None, None]
    mixed = (1 - share) * _LINEAR[frames[count - k :]] + share * _LINEAR[frames[:k]]
    return np.concatenate([_to_srgb(mixed), frames[k : count - k]])


def _srgb_to_linear() -> NDArray[np.float32]:
    """Table of the 256 levels in linear light, 0..1 (IEC 61966-2-1)."""
    level = np.arange(256) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


_LINEAR: Final = _srgb_to_linear()


def _to_srgb(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    low = linear * np.float32(12.92)
    high = np.float32(1.055) * linear ** np.float32(1 / 2.4) - np.float32(0.055)
    level = np.where(linear <= 0.0031308, low, high)
    return np.clip(np.rint(level * 255), 0, 255).astype(np.uint8)
