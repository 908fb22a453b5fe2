"""Motions of separate bodies, such as boats: each rocks, or leaves its place, as one piece."""

from functools import partial

import cv2
import numpy as np

from epa_core.models.motion import RIGHT, Motion
from epa_core.models.regions import Array
from epa_core.models.scene import TAU, Scene, onset, travelling
from epa_core.models.sprites import Sprite


def separate(scene: Scene, mask: Array, margin: float = 0.025) -> list[tuple[Array, float, float]]:
    """Separate parts of a region: (soft mask [h, w], centre x, centre y), the largest first."""
    count, labels, stats, centres = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8))
    order = np.argsort(-stats[1:count, cv2.CC_STAT_AREA])[:6] + 1
    grow = max(int(margin * scene.side), 1)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    bodies = []
    for label in order:
        whole = cv2.dilate((labels == label).astype(np.float32), brush)
        soft = cv2.GaussianBlur(whole, (0, 0), 0.8 * grow)
        bodies.append((soft, float(centres[label][0]), float(centres[label][1])))
    return bodies or [(mask, *scene.centre(mask))]


def rock(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Every body tips about its own centre and heaves."""
    for body, x, y in separate(scene, mask):
        start = float(rng.uniform(0, 0.5))
        angle = 0.11 * motion.strength
        lever = np.hypot(scene.x - x, scene.y - y) * body
        angle *= min(1.0, 0.05 * scene.side / max(angle * float(lever.max()), 1e-3))
        if all(float((body * whole).max()) < 0.7 for whole in scene.rigid):
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


def sail(scene: Scene, motion: Motion, mask: Array, rng: np.random.Generator) -> None:
    """Every body goes its way as one piece; into the distance it rises to the horizon, smaller."""
    travelling(scene, scene.mask("water"), 0.0035, 0.1, 2.0, rng)
    height, width = scene.x.shape
    bodies = separate(scene, mask, 0.012)
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


def keep_whole(scene: Scene) -> None:
    """Let what floats be carried unbent: each small body with its convex hull, sails and all.

    Harmless where it mistakes something else for a boat: that goes with its own mean motion.
    """
    for body, _, _ in separate(scene, scene.mask("afloat"), 0.035):
        points = cv2.findNonZero((body > 0.5).astype(np.uint8))
        if points is None or len(points) > 0.06 * body.size:
            continue
        hull = cv2.fillConvexPoly(np.zeros(body.shape, np.uint8), cv2.convexHull(points), 1)
        soft = cv2.GaussianBlur(hull.astype(np.float32), (0, 0), max(0.02 * scene.side, 0.5))
        scene.rigid.append(np.maximum(soft, body).astype(np.float32))
