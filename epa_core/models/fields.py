"""The kinds of motion: what each adds to a scene's velocity, waves and gains of light.

Amplitudes are shares of the painting's short side, chosen by eye on real paintings: large enough
to be seen in two seconds, small enough that the brushwork holds together.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from epa_core.models.motion import DOWN, RIGHT, UP, Motion
from epa_core.models.regions import Array
from epa_core.models.scene import Scene, onset
from epa_core.models.sprites import Sprite
from epa_core.models.vortices import Vortex, find_vortices

TAU = 2 * np.pi


def add_motion(scene: Scene, motion: Motion, rng: np.random.Generator) -> None:
    """Add one motion to the scene; ``rng`` only lays out irregularities."""
    KINDS[motion.kind](scene, motion, scene.mask(motion.region), rng)


def _uniform(scene: Scene, motion: Motion, usual: tuple[float, float], amount: float) -> Array:
    direction = motion.direction or usual
    size = amount * motion.strength * scene.side
    return np.broadcast_to(np.float32(direction) * np.float32(size), (*scene.x.shape, 2))


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
    _travelling(scene, mask, 0.006 * motion.strength, 0.12, 2.0, rng)


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
    _oscillate(scene, mask, (0.007 * motion.strength, 0.0), phase, 1.5)


def _swirl(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Turns about the centres that the strokes already circle, with a drift between them."""
    vortices = find_vortices(scene, mask) or [Vortex(*scene.centre(mask), 0.22 * scene.side, 1.0)]
    flow = scene.along_strokes(_uniform(scene, motion, RIGHT, 0.03), 0.8)
    for vortex in vortices:
        dx, dy = scene.x - vortex.x, scene.y - vortex.y
        near = np.exp(-(dx**2 + dy**2) / (2 * (0.65 * vortex.radius) ** 2))
        speed = min(0.8 * vortex.radius, 0.085 * scene.side) * motion.strength * vortex.sense
        turn = np.stack([-dy, dx], -1) / vortex.radius
        flow = flow * (1 - 0.8 * near[..., None]) + turn * (speed * near)[..., None] * 1.6
    scene.velocity += flow.astype(np.float32) * mask[..., None]


def _oscillate(
    scene: Scene, mask: Array, amount: tuple[float, float], phase: Array, cycles: float
) -> None:
    """A displacement amount * sin(phase - time), growing from nothing; amounts in short sides."""
    weight = mask * np.float32(scene.side)
    turns = TAU * cycles * scene.lengths

    def wave(time: float) -> Array:
        swing = weight * np.sin(phase - np.float32(turns * time)) * np.float32(onset(time))
        return np.stack([swing * np.float32(amount[0]), swing * np.float32(amount[1])], -1)

    scene.waves.append(wave)


def _travelling(
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
    _oscillate(scene, mask, (amount, 0.55 * amount), phase.astype(np.float32), cycles)


def _ripple(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    if motion.region in ("ground", "foliage"):  # wind in the grass: broad and upright
        phase = TAU * (scene.x / (0.4 * scene.side) + 0.4 * scene.noise(rng, 0.3))
        _oscillate(scene, mask, (0.018 * motion.strength, 0.004), phase, 1.5)
        return
    _travelling(scene, mask, 0.013 * motion.strength, 0.13, 2.0, rng)
    _travelling(scene, mask, 0.006 * motion.strength, 0.06, 3.0, rng)


def _roll(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Swell: everything circles as in deep water while the strokes stream forward."""
    way = 1.0 if (motion.direction or RIGHT)[0] >= 0 else -1.0
    stream = np.float32([way * 0.06 * motion.strength * scene.side, 0])
    flow = scene.along_strokes(np.broadcast_to(stream, (*scene.x.shape, 2)), 0.8)
    scene.velocity += flow * mask[..., None]
    phase = TAU * (way * scene.x / (1.1 * scene.side) + 0.2 * scene.noise(rng, 0.5))
    amount = 0.021 * motion.strength
    _oscillate(scene, mask, (0.0, amount), phase.astype(np.float32), 1.5)
    _oscillate(scene, mask, (0.7 * amount, 0.0), (phase + TAU / 4).astype(np.float32), 1.5)


def _sway(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Leans from side to side, more the higher it is; neighbours not quite together."""
    height = scene.x.shape[0]
    lever = 0.55 + 0.6 * (1 - scene.y / height)
    phase = TAU * 0.35 * scene.noise(rng, 0.45)
    amount = (0.03 if motion.region != "whole" else 0.024) * motion.strength
    _oscillate(scene, mask * lever, (amount, 0.12 * amount), phase, 1.0)
    finer = TAU * scene.noise(rng, 0.18)
    _oscillate(scene, mask * lever, (0.25 * amount, 0.2 * amount), finer, 2.0)


def _flutter(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Small quick movements, each part on its own."""
    amount = 0.013 * motion.strength
    _oscillate(scene, mask, (amount, 0.0), TAU * scene.noise(rng, 0.12), 3.0)
    _oscillate(scene, mask, (0.0, 0.7 * amount), TAU * scene.noise(rng, 0.12), 2.5)
    _oscillate(scene, mask, (amount, 0.3 * amount), TAU * 0.4 * scene.noise(rng, 0.4), 1.0)


def _bodies(scene: Scene, mask: Array, margin: float = 0.025) -> list[tuple[Array, float, float]]:
    """Separate parts of a region: (soft mask [h, w], centre x, centre y), the largest first."""
    count, labels, stats, centres = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8))
    order = np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:6] + 1 if count > 1 else []
    grow = max(int(margin * scene.side), 1)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    bodies = []
    for label in order:
        whole = cv2.dilate((labels == label).astype(np.float32), brush)
        soft = cv2.GaussianBlur(whole, (0, 0), 0.8 * grow)
        bodies.append((soft, float(centres[label][0]), float(centres[label][1])))
    return bodies or [(mask, *scene.centre(mask))]


def _rock(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Every body tips about its own centre and heaves."""
    for body, x, y in _bodies(scene, mask):
        start = float(rng.uniform(0, 0.5))
        angle = 0.11 * motion.strength
        lever = np.hypot(scene.x - x, scene.y - y) * body
        angle *= min(1.0, 0.05 * scene.side / max(angle * float(lever.max()), 1e-3))
        scene.rigid.append(body)
        scene.tips.append(partial(_tip, scene, body, x, y, angle, motion.strength, start))


def _tip(
    scene: Scene,
    body: Array,
    x: float,
    y: float,
    angle: float,
    strength: float,
    start: float,
    time: float,
) -> Array:
    turn = TAU * (1.5 * scene.lengths * time + start)
    tilt = body * np.float32(onset(time) * angle * np.sin(turn))
    heave = body * np.float32(onset(time) * 0.018 * strength * scene.side * np.sin(turn + 1.3))
    return np.stack([-(scene.y - y) * tilt, (scene.x - x) * tilt + heave], -1).astype(np.float32)


def _sail(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Every body goes its way as one piece; into the distance it rises to the horizon, smaller."""
    _travelling(scene, scene.mask("water"), 0.0035, 0.1, 2.0, rng)
    height, width = scene.x.shape
    bodies = _bodies(scene, mask, 0.012)
    # What lies at the side is more likely shore than boat, what is tiny is left alone.
    inner = [body for body in bodies if abs(body[1] / width - 0.5) < 0.3] or bodies
    largest = max(float(body.sum()) for body, _, _ in inner)
    for body, x, y in inner:
        if float(body.sum()) < 0.25 * largest:
            continue
        way_x, way_y = motion.direction or RIGHT
        if motion.depth and motion.direction is None:
            to_x, to_y = 0.5 * width - x, 0.42 * height - y
            far = -motion.depth / max(float(np.hypot(to_x, to_y)), 1e-3)
            way_x, way_y = to_x * far, to_y * far
        speed = 0.085 * motion.strength * scene.side
        grow = 0.22 * motion.strength * motion.depth
        scene.sprites.append(Sprite(body, (x, y), (way_x * speed, way_y * speed), grow))


def _turn(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Turns about the region's centre, there and half back."""
    x, y = scene.centre(mask)
    lever = float((np.hypot(scene.x - x, scene.y - y) * mask).max())
    angle = min(0.3, 0.075 * scene.side / max(lever, 1.0)) * motion.strength

    def wave(time: float) -> Array:
        tilt = mask * np.float32(onset(time) * angle * np.sin(0.75 * TAU * scene.lengths * time))
        return np.stack([-(scene.y - y) * tilt, (scene.x - x) * tilt], -1).astype(np.float32)

    scene.waves.append(wave)


def _breathe(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Swells and shrinks about the region's centre, lifting a little."""
    x, y = scene.centre(mask)
    reach = (
        float(np.percentile(np.hypot(scene.x - x, scene.y - y)[mask > 0.5], 90))
        if (mask > 0.5).any()
        else scene.side / 2
    )
    grow = 0.03 * motion.strength * scene.side / max(reach, 1.0)
    lift = 0.008 * motion.strength * scene.side

    def wave(time: float) -> Array:
        breath = mask * np.float32(np.sin(np.pi * 1.5 * scene.lengths * time) * onset(time))
        dx, dy = (scene.x - x) * grow, (scene.y - y) * grow - lift
        return np.stack([dx * breath, dy * breath], -1).astype(np.float32)

    scene.waves.append(wave)


def _flicker(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Lights wax and wane, each in its own time, and their edges quiver."""
    phase = TAU * scene.noise(rng, 0.25)
    amount = np.float32(0.2 * motion.strength)
    turns = TAU * 2.0 * scene.lengths

    def gain(time: float) -> Array:
        beat = np.sin(np.float32(turns * time) + phase) + 0.4 * np.sin(
            np.float32(1.7 * turns * time) - phase
        )
        return mask * amount * np.float32(onset(time)) * beat

    scene.gains.append(gain)
    _oscillate(scene, mask, (0.006, 0.008), phase, 2.0)


def _glide(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """A soft band of light crosses the picture."""
    way = np.float32(motion.direction or RIGHT)
    height, width = scene.x.shape
    along = scene.x * way[0] / width + scene.y * way[1] / height
    start, extent = float(along.min()), 1.0

    def band(time: float) -> Array:
        return np.exp(-(((along - start - (0.15 + 0.7 * time) * extent) / 0.22) ** 2))

    first = band(0.0)
    amount = np.float32(0.3 * motion.strength)
    scene.gains.append(lambda time: amount * (band(time) - first).astype(np.float32))
    _flicker(scene, motion, mask, rng)


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
    "rock": _rock,
    "sail": _sail,
    "flicker": _flicker,
    "glide": _glide,
    "breathe": _breathe,
    "pan": _pan,
    "zoom": _zoom,
}
