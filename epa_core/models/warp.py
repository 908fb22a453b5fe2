"""Frames of a moving painting."""

import cv2
import numpy as np
from numpy.typing import NDArray


def move_painting(painting: NDArray[np.uint8], prompt: str, num_frames: int) -> NDArray[np.float32]:
    """Return frames [F, H, W, 3] in 0..255; frame 0 is the painting itself."""
    source = painting.astype(np.float32)
    height, width = source.shape[:2]
    frames = np.empty((num_frames, height, width, 3), np.float32)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for index in range(num_frames):
        shift = np.float32(0.01 * min(height, width) * np.sin(np.pi * index / max(num_frames, 2)))
        if index == 0:
            frames[0] = source
        else:
            frames[index] = cv2.remap(
                source, columns - shift, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
    return frames
