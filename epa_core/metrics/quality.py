"""Numbers about one finished clip that need no weights, and one word that a curator filters by."""

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from epa_core.metrics import flow
from epa_core.metrics.similarity import Image8, blend_share, colour_difference, loop_seam, ssim

Thumbnails = NDArray[np.float32]
Flag = Literal["good", "static", "cross-fade", "drift", "flicker"]

# Work done per clip: motion is measured at this shorter side (px) on this many pairs of frames.
MOTION_SIDE: Final = 192
MOTION_PAIRS: Final = 6
# Side of the thumbnails that stand for colour and large-scale change: an area mean over 1/16 of a
# side is deaf to noise and to motion of a few pixels.
THUMBNAIL: Final = 16

# Thresholds. The ranges named are those of five paintings (boat, Hokusai, van Gogh, Kandinsky,
# Turner) at 32 to 320 px under known motion, fades, colour casts, brightness jumps and noise.

# Grey levels of the most changed twentieth of the thumbnail: sensor-like noise of 2 levels stays
# below 1.3 (64 px and up), a ripple of 0.4 % of the side in one third of the picture starts at 2.4.
STATIC_CHANGE: Final = 2.0
# Share of the shorter side per frame: below this a change as small as that is no motion either; a
# tremble of 0.05 % of the side has 0.0003.
STATIC_MOTION: Final = 0.0005
# Share of the frame-to-frame difference that motion accounts for: 0.2 and more for real motion of
# a pixel or so, under 0.03 for fades, brightness jumps and weak noise, 0.11 for noise of 15 levels.
EXPLAINED_BY_MOTION: Final = 0.15
# Warp error in grey levels. A brightness change of 2 % leaves 1.7, slow clean motion of the kind
# that turning and explanation do not already tell apart at most 1.3.
FLICKER_ERROR: Final = 1.5
# The same where thumbnails stay quiet: grain. Noise of 2 levels leaves 1.5, of 5 levels 3.8.
GRAIN_ERROR: Final = 3.5
# Mean change of direction over mean change (0 straight on, 1 forth and back in every frame):
# brightness jumps and noise give 0.66 to 1, motion that is large enough to matter 0.2 to 0.55.
FLICKER_TURNING: Final = 0.6
# Blend share: fades give 0.97 to 1 (with noise, or a slow pan on top, from 0.9); motion of less
# than a pixel over the whole clip cannot be told from a fade by this number alone (up to 0.98).
FADE_SHARE: Final = 0.9
PURE_FADE_SHARE: Final = 0.99
# Share of the first-to-last difference that displacement accounts for: 0.6 to 0.9 for slow motion,
# at most 0.2 between two different pictures.
FADE_DISPLACED: Final = 0.5
# Fit of one affine map of RGB from first to last frame: 0.97 and more where only colours changed,
# at most 0.83 between different pictures.
RECOLOURED: Final = 0.92
# CIEDE2000 between sorted colours: pans and zooms reach 4.7 by showing other parts of the picture,
# 80 % of the saturation lost gives 8, a warm cast 7, a third of the light lost 10.
DRIFT_COLOUR: Final = 5.5
# What motion adds to that, per shorter side travelled: the more the picture moves, the more of it
# is new. A pan by 15 % of drawn blobs of a sixth of the side gives 7.
DRIFT_PER_TRAVEL: Final = 15.0
# The same where one map of RGB accounts for it all: nothing but colour changed, so less is enough.
DRIFT_RECOLOURED: Final = 3.0


@dataclass(frozen=True)
class Quality:
    """Measures of one clip; None where undefined (one frame, a still clip, a tiny picture).

    motion, motion_top5: mean length of the motion over all pixels and over the fastest 5 %, in
    shorter sides per frame. first_frame_ssim: frame 0 against the painting, 1 = equal.
    blend_share: 1 = a mere fade from first to last frame. flicker: what motion leaves unexplained
    between neighbouring frames, grey levels. drift: CIEDE2000 between the palettes of the painting
    and the clip, 1 = just visible. loop_seam: jump from last to first frame, in mean steps.
    """

    motion: float | None
    motion_top5: float | None
    first_frame_ssim: float | None
    blend_share: float | None
    flicker: float | None
    drift: float | None
    loop_seam: float | None
    flag: Flag


@dataclass(frozen=True)
class _Motion:
    """Means over the measured pairs: shares of the shorter side, grey levels."""

    mean: float
    top5: float
    warp_error: float
    explained: float


def measure(frames: Image8, painting: Image.Image | Image8) -> Quality:
    """Measure a clip, uint8 [F, H, W, 3], against the painting (any size, RGB) it came from."""
    height, width = frames.shape[1:3]
    picture = np.asarray(painting)
    if picture.shape[:2] != (height, width):
        resized = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
        picture = np.asarray(resized)
    thumbnails = np.stack([_thumbnail(frame) for frame in frames])
    similarity = ssim(frames[0], picture)
    # The middle counts too: a cast that comes and goes is one.
    drift = _palette_drift(thumbnails[[len(frames) // 2, -1]], _thumbnail(picture))
    if len(frames) < 2:
        return Quality(None, None, similarity, None, None, drift, None, "static")
    grey = _grey(frames)
    motion = _motion(grey)
    share = blend_share(grey)
    if _flickers(thumbnails, motion):
        flag: Flag = "flicker"
    elif _cross_fades(grey, thumbnails, share):
        flag = "cross-fade"
    elif _drifts(thumbnails, drift, motion.mean * (len(frames) - 1)):
        flag = "drift"
    else:
        flag = "static" if _is_static(thumbnails, motion) else "good"
    return Quality(
        motion=motion.mean,
        motion_top5=motion.top5,
        first_frame_ssim=similarity,
        blend_share=share,
        flicker=motion.warp_error,
        drift=drift,
        loop_seam=loop_seam(grey),
        flag=flag,
    )


def _thumbnail(picture: Image8) -> Thumbnails:
    """Area means, float32 [16, 16, 3], levels: rounding them would look like trembling."""
    size = (THUMBNAIL, THUMBNAIL)
    small = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _grey(frames: Image8) -> Image8:
    """BT.601 grey [F, h, w], shorter side at most MOTION_SIDE."""
    height, width = frames.shape[1:3]
    scale = min(1.0, MOTION_SIDE / min(height, width))
    size = (round(width * scale), round(height * scale))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    if scale < 1:
        grey = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in grey]
    return np.asarray(np.stack(grey), np.uint8)


def pair_starts(count: int) -> list[int]:
    """First frames of the measured pairs: all, or MOTION_PAIRS in twos spread over the clip.

    In twos, so that a clip which holds every frame twice is not taken for a still one.
    """
    if count <= MOTION_PAIRS + 1:
        return list(range(count - 1))
    twos = MOTION_PAIRS // 2
    starts = [round(index * (count - 3) / (twos - 1)) for index in range(twos)]
    return [start + offset for start in starts for offset in (0, 1)]


def _motion(grey: Image8) -> _Motion:
    side = min(grey.shape[1:])
    means, tops, warped, plain = [], [], [], []
    for start in pair_starts(len(grey)):
        first, second = grey[start], grey[start + 1]
        field = flow.farneback(first, second)
        length = flow.magnitude(field)
        means.append(float(length.mean()) / side)
        tops.append(flow.top_mean(length) / side)
        warped.append(flow.warp_error(first, second, field))
        plain.append(flow.mean_difference(first, second))
    explained = 1 - sum(warped) / sum(plain) if sum(plain) > 0 else 0.0
    return _Motion(
        mean=float(np.mean(means)),
        top5=float(np.mean(tops)),
        warp_error=float(np.mean(warped)),
        explained=explained,
    )


def _palette_drift(thumbnails: Thumbnails, painting: Thumbnails) -> float:
    """Largest CIEDE2000 to the painting, each channel sorted: blind to where a colour is."""
    colours = np.sort(thumbnails.reshape(len(thumbnails), -1, 3), axis=1)
    wanted = np.sort(painting.reshape(1, -1, 3), axis=1)
    return float(colour_difference(colours / 255, wanted / 255).mean(axis=1).max())


def _flickers(thumbnails: Thumbnails, motion: _Motion) -> bool:
    """Changes that no motion explains and that turn back from frame to frame."""
    least = FLICKER_ERROR if _change(thumbnails) >= STATIC_CHANGE else GRAIN_ERROR
    if motion.warp_error < least or motion.explained >= EXPLAINED_BY_MOTION:
        return False
    steps = np.diff(thumbnails, axis=0)
    turns = np.diff(steps, axis=0)
    return turns.size > 0 and np.abs(turns).mean() / 2 > FLICKER_TURNING * np.abs(steps).mean()


def _cross_fades(grey: Image8, thumbnails: Thumbnails, share: float | None) -> bool:
    """Frames on the line between two pictures that neither motion nor recolouring relates."""
    if share is None or share < FADE_SHARE or _change(thumbnails) < 2 * STATIC_CHANGE:
        return False
    if _recoloured(thumbnails[0], thumbnails[-1]) > RECOLOURED:
        return False
    if share >= PURE_FADE_SHARE:
        return True
    apart = flow.mean_difference(grey[0], grey[-1])
    return flow.warp_error(grey[0], grey[-1]) > (1 - FADE_DISPLACED) * apart


def _drifts(thumbnails: Thumbnails, drift: float, travel: float) -> bool:
    """The palette left the painting's, by more than another crop of it would."""
    if drift > DRIFT_COLOUR + DRIFT_PER_TRAVEL * travel:
        return True
    return drift > DRIFT_RECOLOURED and _recoloured(thumbnails[0], thumbnails[-1]) > RECOLOURED


def _change(thumbnails: Thumbnails) -> float:
    """Change against frame 0 in the most changed 5 % of the thumbnail, at its largest, levels."""
    luma = thumbnails.mean(axis=-1)
    return max(flow.top_mean(np.abs(frame - luma[0])) for frame in luma[1:])


def _recoloured(first: Thumbnails, last: Thumbnails) -> float:
    """Share of the change from first to last that one affine map of RGB reproduces, 0..1."""
    source: NDArray[np.float64] = first.reshape(-1, 3).astype(np.float64)
    target = last.reshape(-1, 3).astype(np.float64)
    design = np.column_stack([source, np.ones(len(source))])
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    changed = float(np.square(target - source).sum())
    return 1 - float(np.square(target - design @ solution).sum()) / changed if changed > 0 else 1.0


def _is_static(thumbnails: Thumbnails, motion: _Motion) -> bool:
    """Nothing changes enough to be seen, and what does change is no motion."""
    moves = motion.explained >= EXPLAINED_BY_MOTION and motion.top5 >= STATIC_MOTION
    return not moves and _change(thumbnails) < STATIC_CHANGE
