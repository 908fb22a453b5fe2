"""Frames of a painting that moves as its prompt says.

The velocity field is integrated to a flow map, so that nothing folds; oscillations are added.
Both are zero at frame 0, which is the painting itself, and fade out towards the border, so that
no edge is torn open; what is still sampled beyond it is mirrored.
"""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import cv2
import numpy as np
from numpy.typing import NDArray

from epa_core.models.fields import add_motion
from epa_core.models.motion import parse_motion
from epa_core.models.regions import Array
from epa_core.models.scene import Scene
from epa_core.models.sprites import paste, without


def move_painting(painting: NDArray[np.uint8], prompt: str, num_frames: int) -> NDArray[np.float32]:
    """Return frames [F, H, W, 3] in 0..255 of a painting [H, W, 3] moving as ``prompt`` says.

    Depends on nothing but the arguments.
    """
    frames = np.empty((num_frames, *painting.shape), np.float32)
    frames[:] = painting
    motions = parse_motion(prompt)
    if not motions or num_frames < 2:
        return frames
    scene = Scene.of(painting, num_frames)
    for index, motion in enumerate(motions):
        seed = sha256(f"{index} {prompt}".encode()).digest()[:8]
        # Several motions of one region share its strength.
        shared = sum(other.region == motion.region for other in motions) ** -0.5
        motion = replace(motion, strength=motion.strength * shared)
        add_motion(scene, motion, np.random.default_rng(int.from_bytes(seed)))
    source = without(painting, scene.sprites).astype(np.float32)
    height, width = painting.shape[:2]
    scale = (width / scene.x.shape[1], height / scene.x.shape[0])
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for index, offset in enumerate(_offsets(scene, num_frames), start=1):
        offset = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
        offset *= np.array(scale, np.float32)
        moved = cv2.remap(
            source,
            x + offset[..., 0],
            y + offset[..., 1],
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        time = index / (num_frames - 1)
        for sprite in scene.sprites:
            moved = paste(moved, frames[0], sprite, time, scale)
        gain = _gain(scene, time, (width, height))
        frames[index] = np.clip(moved if gain is None else moved * gain, 0, 255)
    return frames


def _offsets(scene: Scene, num_frames: int) -> Iterator[Array]:
    """For frames 1, 2, ...: where each grid pixel is taken from, relative to itself [h, w, 2]."""
    border = np.ones_like(scene.x) if scene.moves_camera else scene.border()
    window = border[..., None]
    velocity = scene.velocity * window
    step = velocity / np.float32(num_frames - 1)
    carried = np.zeros_like(velocity)
    for index in range(1, num_frames):
        # Backwards along the flow: X(t + dt) = X(t) - v(X(t)) dt, from every pixel.
        carried = carried - cv2.remap(
            step,
            scene.x + carried[..., 0],
            scene.y + carried[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        offset = carried.copy()
        for wave in scene.waves:
            offset -= wave(index / (num_frames - 1)) * window
        for body in scene.rigid:
            _unbent(offset, body, window)
        for tip in scene.tips:
            offset -= tip(index / (num_frames - 1)) * window
        yield offset


def _unbent(offset: Array, body: Array, window: Array) -> None:
    """Replace the offsets of a body by their mean, where that mean carries it; in place."""
    margin = 2 + int(np.abs(offset[body > 0.02]).max(initial=0))
    x, y, width, height = cv2.boundingRect((body > 0.02).astype(np.uint8))
    near = np.s_[max(y - margin, 0) : y + height + margin, max(x - margin, 0) : x + width + margin]
    offset, body, window = offset[near], body[near], window[near]
    there = body
    for _ in range(2):  # its mean over where it was, then over where it is
        total = float(there.sum()) + 1e-6
        dx, dy = (float((offset[..., axis] * there).sum()) / total for axis in (0, 1))
        move = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
        there = cv2.warpAffine(body, move, body.shape[::-1], flags=cv2.INTER_LINEAR)
    offset += (np.array([dx, dy], np.float32) - offset) * there[..., None] * window


def _gain(scene: Scene, time: float, size: tuple[int, int]) -> Array | None:
    """Factor [H, W, 1] of the light at a time; None when no light changes."""
    if not scene.gains:
        return None
    gain = 1 + sum((gain(time) for gain in scene.gains), np.float32(0))
    return cv2.resize(gain.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[..., None]
