"""The kinds of motion: what each adds to a scene's velocity, waves and gains of light.

Amplitudes are shares of the painting's short side, chosen by eye on real paintings: large enough
to be seen in two seconds, small enough that the brushwork holds together.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from epa_core.models.bodies import keep_whole, rock, sail
from epa_core.models.motion import DOWN, RIGHT, UP, Motion
from epa_core.models.regions import Array
from epa_core.models.scene import TAU, Scene, onset, oscillate, travelling
from epa_core.models.vortices import Vortex, find_vortices


def add_motion(scene: Scene, motion: Motion, rng: np.random.Generator) -> None:
    """Add one motion to the scene; ``rng`` only lays out irregularities."""
    mask = scene.mask(motion.region)
    if motion.region == "figures":  # a face must not be torn where its mask ends
        mask = cv2.GaussianBlur(mask, (0, 0), 0.045 * scene.side)
    KINDS[motion.kind](scene, motion, mask, rng)


def _uniform(scene: Scene, motion: Motion, usual: tuple[float, float], amount: float) -> Array:
    direction = motion.direction or usual
    size = amount * motion.strength * scene.side
    return np.broadcast_to(np.array(direction, np.float32) * np.float32(size), (*scene.x.shape, 2))


def _drift(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Carried along, some parts faster; shapes all over a picture go each their own way."""
    if motion.region == "whole" and motion.direction is None:
        _add_curl(scene, mask, rng, 0.065 * motion.strength, 0.55)
        return
    if motion.depth and motion.direction is None:
        _zoom(scene, motion, mask, rng)
        return
    wind = _uniform(scene, motion, RIGHT, 0.1) * (1 + 0.35 * scene.noise(rng, 0.3))[..., None]
    scene.velocity += scene.along_strokes(wind, 0.25) * mask[..., None]


def _flow(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Streams along the brush strokes."""
    if motion.region == "whole" and motion.direction is None:
        _add_curl(scene, mask, rng, 0.05 * motion.strength, 0.3)
        return
    stream = _uniform(scene, motion, RIGHT, 0.085)
    scene.velocity += scene.along_strokes(stream, 0.6) * mask[..., None]
    travelling(scene, mask, 0.006 * motion.strength, 0.12, 2.0, rng)


def _add_curl(
    scene: Scene, mask: Array, rng: np.random.Generator, amount: float, scale: float
) -> None:
    """A flow without sources (the curl of smooth noise), partly along the strokes."""
    potential = cv2.GaussianBlur(scene.noise(rng, scale), (0, 0), scale * scene.side * 0.15)
    down, right = np.gradient(potential)
    flow = np.stack([down, -right], -1).astype(np.float32)
    flow *= amount * scene.side / max(float(np.percentile(np.hypot(down, right), 75)), 1e-6)
    scene.velocity += scene.along_strokes(flow, 0.35) * mask[..., None]


def _vertical(
    usual: tuple[float, float],
    scene: Scene,
    motion: Motion,
    mask: Array,
    rng: np.random.Generator,
) -> None:
    """Rises or falls in strands, swaying a little on the way."""
    strands = 1 + 0.45 * scene.noise(rng, 0.14)
    scene.velocity += (_uniform(scene, motion, usual, 0.08) * strands[..., None]) * mask[..., None]
    phase = TAU * (scene.y / (0.35 * scene.side) + 0.5 * scene.noise(rng, 0.3))
    oscillate(scene, mask, (0.007 * motion.strength, 0.0), phase, 1.5)


def _swirl(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Turns about the centres that the strokes already circle, with a drift between them."""
    vortices = find_vortices(scene, mask) or [Vortex(*scene.centre(mask), 0.22 * scene.side, 1.0)]
    flow = scene.along_strokes(_uniform(scene, motion, RIGHT, 0.03), 0.8)
    for vortex in vortices:
        dx, dy = scene.x - vortex.x, scene.y - vortex.y
        near = np.exp(-(dx**2 + dy**2) / (2 * (0.65 * vortex.radius) ** 2))
        speed = min(0.8 * vortex.radius, 0.085 * scene.side) * motion.strength * vortex.sense
        turn = np.stack([-dy, dx], -1) / vortex.radius
        flow *= 1 - 0.8 * near[..., None]
        flow += turn * (speed * near)[..., None] * 1.6
    scene.velocity += flow * mask[..., None]


def _ripple(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    if motion.region in ("ground", "foliage", "flowers"):  # wind in the grass: broad and upright
        phase = TAU * (scene.x / (0.4 * scene.side) + 0.4 * scene.noise(rng, 0.3))
        oscillate(scene, mask, (0.018 * motion.strength, 0.004), phase, 1.5)
        return
    travelling(scene, mask, 0.013 * motion.strength, 0.13, 2.0, rng)
    travelling(scene, mask, 0.006 * motion.strength, 0.06, 3.0, rng)


def _roll(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Swell: everything circles as in deep water while the strokes stream forward."""
    keep_whole(scene)
    way = 1.0 if (motion.direction or RIGHT)[0] >= 0 else -1.0
    stream = np.array([way * 0.05 * motion.strength * scene.side, 0], np.float32)
    flow = scene.along_strokes(np.broadcast_to(stream, (*scene.x.shape, 2)), 0.8)
    scene.velocity += flow * mask[..., None]
    phase = TAU * (way * scene.x / (1.1 * scene.side) + 0.2 * scene.noise(rng, 0.5))
    amount = 0.021 * motion.strength
    oscillate(scene, mask, (0.0, amount), phase.astype(np.float32), 1.5)
    oscillate(scene, mask, (0.7 * amount, 0.0), (phase + TAU / 4).astype(np.float32), 1.5)


def _sway(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Leans from side to side, more the higher it is; neighbours not quite together."""
    lever = 0.55 + 0.6 * (1 - scene.y / scene.x.shape[0])
    whole = motion.region in ("figures", "whole")
    phase = TAU * 0.35 * scene.noise(rng, 1.0 if motion.region == "figures" else 0.45)
    amount = (0.022 if whole else 0.03) * motion.strength
    oscillate(scene, mask * lever, (amount, 0.12 * amount), phase, 1.0)
    if not whole:
        finer = TAU * scene.noise(rng, 0.18)
        oscillate(scene, mask * lever, (0.25 * amount, 0.2 * amount), finer, 2.0)


def _flutter(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Small quick movements, each part on its own."""
    amount = (0.009 if motion.region == "figures" else 0.013) * motion.strength
    oscillate(scene, mask, (amount, 0.0), TAU * scene.noise(rng, 0.12), 3.0)
    oscillate(scene, mask, (0.0, 0.7 * amount), TAU * scene.noise(rng, 0.12), 2.5)
    oscillate(scene, mask, (amount, 0.3 * amount), TAU * 0.4 * scene.noise(rng, 0.4), 1.0)


def _turn(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Turns about the region's centre, there and half back."""
    x, y = scene.centre(mask)
    lever = float((np.hypot(scene.x - x, scene.y - y) * mask).max())
    angle = min(0.3, 0.04 * scene.side / max(lever, 1.0)) * motion.strength

    def wave(time: float) -> Array:
        tilt = mask * np.float32(onset(time) * angle * np.sin(0.75 * TAU * scene.lengths * time))
        return np.stack([-(scene.y - y) * tilt, (scene.x - x) * tilt], -1).astype(np.float32)

    scene.waves.append(wave)


def _breathe(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Swells and shrinks about the region's centre, lifting a little."""
    x, y = scene.centre(mask)
    distance = np.hypot(scene.x - x, scene.y - y)
    reach = float((distance * mask).sum() / (mask.sum() + 1e-6))  # two thirds of a disc's radius
    grow = 0.014 * motion.strength * scene.side / max(reach, 1.0)
    lift = 0.008 * motion.strength * scene.side

    def wave(time: float) -> Array:
        breath = mask * np.float32(np.sin(np.pi * 1.5 * scene.lengths * time) * onset(time))
        dx, dy = (scene.x - x) * grow, (scene.y - y) * grow - lift
        return np.stack([dx * breath, dy * breath], -1).astype(np.float32)

    scene.waves.append(wave)


def _flicker(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Lights wax and wane, each in its own time, and their edges quiver."""
    if motion.region != "light":  # stars twinkle, not the whole sky
        mask = mask * (0.15 + 0.85 * scene.mask("light"))
    phase = TAU * scene.noise(rng, 0.25)
    amount = np.float32(0.22 * motion.strength)
    turns = TAU * 1.5 * scene.lengths

    def gain(time: float) -> Array:
        beat = np.sin(np.float32(turns * time) + phase) + 0.4 * np.sin(
            np.float32(1.7 * turns * time) - phase
        )
        return mask * amount * np.float32(onset(time)) * beat

    scene.gains.append(gain)
    oscillate(scene, mask, (0.006, 0.008), phase, 2.0)


def _glide(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """A soft band of light crosses the picture."""
    way = np.array(motion.direction or RIGHT, np.float32)
    height, width = scene.x.shape
    along = scene.x * way[0] / width + scene.y * way[1] / height
    start, extent = float(along.min()), 1.0

    def band(time: float) -> Array:
        return np.exp(-(((along - start - (0.15 + 0.7 * time) * extent) / 0.22) ** 2))

    first = band(0.0)
    amount = np.float32(0.2 * motion.strength)
    scene.gains.append(lambda time: amount * (band(time) - first).astype(np.float32))
    _flicker(scene, replace(motion, strength=0.5 * motion.strength), mask, rng)


def _pan(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """The camera turns: what is seen goes the other way."""
    scene.velocity -= _uniform(scene, motion, RIGHT, 0.08)
    scene.moves_camera = True


def _zoom(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """The camera nears the middle (or backs off); a region comes nearer as one."""
    x, y = (scene.x.shape[1] / 2, scene.x.shape[0] / 2)
    grow = np.float32(0.12 * motion.strength * (motion.depth or 1))
    flow = np.stack([(scene.x - x) * grow, (scene.y - y) * grow], -1)
    scene.velocity += flow * mask[..., None]
    scene.moves_camera |= motion.region == "whole"


KINDS: dict[str, Callable[[Scene, Motion, Array, np.random.Generator], None]] = {
    "drift": _drift,
    "flow": _flow,
    "ripple": _ripple,
    "roll": _roll,
    "rise": partial(_vertical, UP),
    "fall": partial(_vertical, DOWN),
    "sway": _sway,
    "flutter": _flutter,
    "swirl": _swirl,
    "turn": _turn,
    "rock": rock,
    "sail": sail,
    "flicker": _flicker,
    "glide": _glide,
    "breathe": _breathe,
    "pan": _pan,
    "zoom": _zoom,
}
