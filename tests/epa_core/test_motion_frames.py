"""What moves in the frames: where, how much, which way, how smoothly; on real paintings too."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from lexicon import lexicon_prompts
from numpy.typing import NDArray
from PIL import Image

from epa_core.models.regions import region_mask
from epa_core.models.warp import move_painting

PAINTINGS = Path(__file__).parents[1] / "data" / "paintings"
CASES = {
    "boat.jpg": ("The boats slowly sail towards the distance.", "boats"),
    "great-wave.jpg": ("The great wave rolls and the boats rock", "water"),
    "starry-night.jpg": ("Clouds and stars swirl across the night sky", "sky"),
    "composition-vii.jpg": ("The shapes drift and the colours flow slowly", "whole"),
    "shipwreck.jpg": ("Storm waves crash against the boats", "water"),
}


def load(name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(PAINTINGS / name).convert("RGB"))


def textured(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A made painting of 192x192: two colours, with blobs that an optical flow can follow."""
    rng = np.random.default_rng(7)
    blobs = cv2.GaussianBlur(rng.normal(0, 1, (192, 192)).astype(np.float32), (0, 0), 3)
    base = np.empty((192, 192, 3), np.float32)
    base[:96], base[96:] = top, bottom
    return np.clip(base + blobs[..., None] / blobs.std() * 28, 0, 255).astype(np.uint8)


LAND = textured((110, 150, 215), (70, 125, 55))
SEA = textured((215, 200, 170), (45, 85, 150))


def flow(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Optical flow [H, W, 2] in pixels (Farneback, 2003)."""
    grey = [
        cv2.cvtColor(np.clip(frame + 0.5, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        for frame in (first, second)
    ]
    return cv2.calcOpticalFlowFarneback(grey[0], grey[1], None, 0.5, 4, 21, 5, 7, 1.5, 0)


def travel(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean distance [H, W] from where it began, over a few frames."""
    samples = [len(frames) // 4, len(frames) // 2, 3 * len(frames) // 4, len(frames) - 1]
    return np.mean([np.linalg.norm(flow(frames[0], frames[i]), axis=-1) for i in samples], axis=0)


@pytest.mark.parametrize("name", CASES)
def test_paintings_move_where_their_prompts_say(name: str) -> None:
    prompt, region = CASES[name]
    painting = load(name)
    mask = region_mask(painting, region) >= 0.5
    frames = move_painting(painting, prompt, 16)
    distance = travel(frames)
    # Visible: over a hundredth of the short side on average, and everywhere it should be.
    assert distance[mask].mean() > 0.009 * min(painting.shape[:2])
    if region != "whole":
        assert distance[mask].mean() >= 3 * distance[~mask].mean()
        assert 0.02 < mask.mean() < 0.75


@pytest.mark.parametrize(
    ("painting", "prompt", "moves_top"),
    [
        (LAND, "clouds drift across the sky", True),
        (LAND, "clouds swirl", True),
        (LAND, "smoke rises", True),
        (LAND, "grass ripples in the wind", False),
        (LAND, "leaves sway", False),
        (LAND, "leaves flutter", False),
        (SEA, "clouds drift", True),
        (SEA, "the water ripples", False),
        (SEA, "waves roll", False),
        (SEA, "the river flows", False),
    ],
)
def test_motion_stays_in_hand_made_regions(
    painting: NDArray[np.uint8], prompt: str, moves_top: bool
) -> None:
    distance = travel(move_painting(painting, prompt, 16))
    inside, outside = (
        (distance[:88], distance[104:])
        if moves_top
        else (
            distance[104:],
            distance[:88],
        )
    )
    assert inside.mean() > 0.004 * 192
    assert inside.mean() >= 3 * outside.mean()


def still_life() -> NDArray[np.uint8]:
    """Eleven flowers in a blue vase on a table, 192x192, rough as paint is."""
    picture = np.full((192, 192, 3), (200, 180, 130), np.uint8)
    picture[150:] = (125, 65, 45)
    cv2.ellipse(picture, (96, 142), (20, 30), 0, 0, 360, (45, 70, 160), -1)
    colours = [(215, 60, 50), (240, 165, 40), (110, 65, 180), (240, 240, 235)]
    for index in range(11):
        angle, radius = 2.4 * index, 14 * index**0.5
        centre = (round(96 + radius * np.cos(angle)), round(66 + 0.8 * radius * np.sin(angle)))
        cv2.circle(picture, centre, 13, colours[index % 4], -1)
        cv2.circle(picture, centre, 4, (60, 40, 30), -1)
    rough = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 60, picture.shape), (0, 0), 1.5)
    return np.clip(picture + rough, 0, 255).astype(np.uint8)


def test_flowers_sway_and_their_vase_stands() -> None:
    distance = travel(move_painting(still_life(), "The flowers sway in a light breeze", 16))
    bouquet, vase, table = distance[40:95, 60:130], distance[125:168, 80:112], distance[170:]
    assert bouquet.mean() > 0.009 * 192
    assert bouquet.mean() > 5 * max(vase.mean(), table.mean())


@pytest.mark.parametrize("prompt", ["nothing moves", "static", "the sea is still"])
def test_still_prompts_give_the_painting_again(prompt: str) -> None:
    frames = move_painting(SEA, prompt, 8)
    assert np.array_equal(frames, np.broadcast_to(SEA.astype(np.float32), frames.shape))


@pytest.mark.parametrize(
    ("prompt", "axis", "sign"),
    [
        ("clouds drift to the right", 0, 1),
        ("clouds drift to the left", 0, -1),
        ("mist rises", 1, -1),
        ("mist falls", 1, 1),
        ("smoke drifts upward", 1, -1),
    ],
)
def test_directions_have_their_sign(prompt: str, axis: int, sign: int) -> None:
    frames = move_painting(LAND, prompt, 16)
    middle = flow(frames[0], frames[8])[20:76, 30:-30, axis]
    assert sign * np.median(middle) > 1.0


def test_pan_and_zoom_move_the_whole_picture() -> None:
    panned = move_painting(LAND, "the camera pans left", 16)
    assert np.median(flow(panned[0], panned[8])[20:-20, 20:-20, 0]) > 2
    nearer = flow(*move_painting(LAND, "slow zoom in", 16)[[0, 8]])
    assert nearer[90, 160, 0] > 1 > -1 > nearer[90, 30, 0]
    farther = flow(*move_painting(LAND, "zoom out", 16)[[0, 8]])
    assert farther[90, 160, 0] < -1 < 1 < farther[90, 30, 0]


@pytest.mark.parametrize("name", CASES)
def test_frames_follow_each_other_smoothly(name: str) -> None:
    prompt, _ = CASES[name]
    painting = load(name)
    frames = move_painting(painting, prompt, 16)
    steps = [
        np.percentile(np.linalg.norm(flow(frames[i], frames[i + 1]), axis=-1), 99)
        for i in range(0, 15)
    ]
    assert max(steps) < 0.03 * min(painting.shape[:2])
    # No jump: no step is far above its neighbours.
    assert max(steps) < 3 * np.median(steps) + 0.5


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_torn_at_the_border(name: str) -> None:
    prompt, _ = CASES[name]
    painting = load(name).astype(np.float32)
    frames = move_painting(load(name), prompt, 16)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        # The outermost line hardly leaves its place, so it keeps the painting's own colours.
        assert np.abs(frames[-1][edge] - painting[edge]).mean() < 6
    inner = frames[-1][2:-2, 2:-2]
    assert inner.std(axis=0).min() > 0
    assert inner.std(axis=1).min() > 0


def test_panning_mirrors_at_the_border_without_stripes() -> None:
    last = move_painting(SEA, "the camera pans right", 16)[-1]
    assert np.abs(flow(SEA.astype(np.float32), last)[40:-40, 60:120, 0]).mean() > 10
    seen = last[100:, -10:].mean(axis=2)  # beyond the painting's right border
    assert abs(seen.mean() - SEA[100:, -30:].mean()) < 15
    assert np.abs(np.diff(seen, axis=1)).mean() > 0.5


def test_the_first_frame_is_the_painting_and_frames_stay_in_range() -> None:
    painting = load("starry-night.jpg")
    frames = move_painting(painting, "stars twinkle, clouds churn and the light glows", 16)
    assert np.array_equal(frames[0], painting)
    assert frames.min() >= 0
    assert frames.max() <= 255


def test_boats_are_carried_unbent_by_the_waves() -> None:
    painting = SEA.copy()
    painting[118:134, 80:112] = (105, 50, 25)  # a hull ...
    painting[100:118, 94:98] = (90, 60, 30)  # ... with a mast ...
    painting[122:130:4, 84:108:4] = (190, 120, 60)  # ... and portholes
    last = np.clip(move_painting(painting, "the waves roll", 16)[-1], 0, 255).astype(np.uint8)

    # The boat is found again, merely shifted.
    boat = painting[104:134, 80:112]
    assert cv2.matchTemplate(last, boat, cv2.TM_CCOEFF_NORMED).max() > 0.85


def test_lights_change_in_the_light_and_not_in_the_dark() -> None:
    painting = load("starry-night.jpg")
    frames = move_painting(painting, "stars twinkle", 16)
    change = np.abs(frames[1:] - frames[0]).mean(axis=(0, 3))
    mask = region_mask(painting, "light") * region_mask(painting, "sky")
    assert change[mask > 0.5].mean() > 3
    assert change[mask > 0.5].mean() > 3 * change[mask < 0.1].mean()


@pytest.mark.parametrize("prompt", [case[0] for case in CASES.values()])
def test_motion_is_deterministic(prompt: str) -> None:
    first = move_painting(SEA, prompt, 5)
    assert np.array_equal(first, move_painting(SEA.copy(), prompt, 5))


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (32, 32), (40, 16)])
@pytest.mark.parametrize(
    "prompt", [*(case[0] for case in CASES.values()), "stars twinkle and the woman turns, zoom in"]
)
def test_tiny_and_flat_pictures_pass(shape: tuple[int, int], prompt: str) -> None:
    for painting in (
        np.full((*shape, 3), 128, np.uint8),
        np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8),
    ):
        frames = move_painting(painting, prompt, 3)
        assert frames.shape == (3, *shape, 3)
        assert np.isfinite(frames).all()


@pytest.mark.parametrize("count", [1, 2, 5, 33])
def test_any_number_of_frames(count: int) -> None:
    frames = move_painting(LAND[:64, :64], "clouds drift and leaves sway", count)
    assert len(frames) == count
    assert np.array_equal(frames[0], LAND[:64, :64])


def test_every_sentence_moves_something() -> None:
    still = []
    for prompt in lexicon_prompts():
        frames = move_painting(SEA, prompt, 6)
        if np.abs(frames[1:] - frames[0]).mean() < 0.7:
            still.append(prompt)
    assert still == []
