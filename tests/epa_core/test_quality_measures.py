"""The measures against recorded answers, and the flag on clips whose fault is known."""

import json
import pathlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from epa_core.metrics import flow
from epa_core.metrics.quality import Quality, measure, pair_starts
from epa_core.metrics.similarity import blend_share, colour_difference, loop_seam, ssim, step_sizes

Frames = NDArray[np.uint8]
GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "metrics"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text())


def golden(name: str) -> dict[str, Frames]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays}


@pytest.mark.parametrize("name", sorted(EXPECTED["flow"]["clips"]))
def test_golden_flow(name: str) -> None:
    clip, wanted = golden("flow")[name], EXPECTED["flow"]["clips"][name]
    fields = [flow.farneback(a, b) for a, b in pairwise(clip)]
    lengths = [flow.magnitude(field) for field in fields]
    assert np.mean(lengths) == pytest.approx(wanted["farneback_mean_magnitude"], abs=2e-3)
    tops = [flow.top_mean(length) for length in lengths]
    assert tops == pytest.approx(wanted["top5pct_mean_per_pair"], abs=2e-3)
    inner = np.mean([field[16:-16, 16:-16] for field in fields], axis=(0, 1, 2))
    assert inner == pytest.approx(wanted["true_shift_xy"], abs=0.02)


def test_golden_painting_measures() -> None:
    clips, wanted = golden("painting"), EXPECTED["painting"]
    for name, value in wanted["blend_share"].items():
        found = blend_share(clips[name])
        assert found == (None if value is None else pytest.approx(value, abs=1e-9))
    for name, value in wanted["loop_seam_ratio"].items():
        found = loop_seam(clips[name])
        assert found == (None if value is None else pytest.approx(value, abs=1e-9))
    for name, value in wanted["warp_error_farneback"].items():
        pairs = pairwise(clips[name])
        assert np.mean([flow.warp_error(a, b) for a, b in pairs]) == pytest.approx(value, abs=5e-3)
    colours = [colour_difference(image, clips["colour"][0]).mean() for image in clips["colour"]]
    assert colours == pytest.approx(wanted["mean_ciede2000_to_first"], abs=1e-6)


def test_golden_ssim_and_steps() -> None:
    arrays = golden("ssim_psnr")
    found = [ssim(frame, arrays["first"]) for frame in arrays["video"]]
    assert found == pytest.approx(EXPECTED["ssim_psnr"]["ssim_skimage_wang2004"], abs=1e-6)
    steps = step_sizes(golden("temporal")["video"])
    assert steps == pytest.approx(EXPECTED["temporal"]["mae_per_pair"], abs=1e-9)


def test_ssim_is_the_one_of_scikit_image() -> None:
    rng = np.random.default_rng(3)
    for shape in ((11, 40, 3), (64, 33, 3), (50, 50)):
        a = rng.integers(0, 256, shape, np.uint8)
        b = np.clip(a + rng.normal(0, 20, shape), 0, 255).astype(np.uint8)
        wanted = structural_similarity(
            a,
            b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1 if len(shape) == 3 else None,
        )
        assert ssim(a, b) == pytest.approx(wanted, abs=1e-6)
    assert ssim(a[:10], b[:10]) is None


# Clips of known fault. The painting is drawn: soft shapes of several sizes on a gradient.


def painting(height: int, width: int, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    short = min(height, width)
    canvas = np.zeros((height, width, 3), np.float32)
    for share, weight in ((6, 1.0), (16, 0.8), (40, 0.5)):
        noise = rng.normal(size=(height, width, 3)).astype(np.float32)
        layer = cv2.GaussianBlur(noise, (0, 0), max(0.7, short / share))
        canvas += weight * layer / layer.std()
    strokes = cv2.GaussianBlur(rng.normal(size=(height, width, 1)).astype(np.float32), (0, 0), 1.2)
    canvas += 0.3 * strokes[..., None] / strokes.std()
    canvas = 120 + 42 * canvas + np.linspace(40, -40, height, dtype=np.float32)[:, None, None]
    return np.asarray(np.clip(np.rint(canvas), 0, 255), np.uint8)


def moved(picture: Frames, dx: NDArray[Any] | float, dy: NDArray[Any] | float = 0.0) -> Frames:
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    at = (x + np.float32(dx), y + np.float32(dy))
    return np.asarray(
        cv2.remap(picture, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def levels(values: NDArray[Any]) -> Frames:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


TIMES = np.linspace(0, 1, 16)
Maker = Callable[[Frames], list[Frames]]


def pan(picture: Frames) -> list[Frames]:
    return [moved(picture, -0.01 * min(picture.shape[:2]) * index) for index in range(16)]


def few_pixels(picture: Frames) -> list[Frames]:
    return [moved(picture, 0.02 * min(picture.shape[:2]) * t) for t in TIMES]


def sway(picture: Frames) -> list[Frames]:
    height = picture.shape[0]
    lean = 1 - np.arange(height, dtype=np.float32)[:, None] / height
    return [
        moved(picture, 0.03 * min(picture.shape[:2]) * np.sin(2 * np.pi * t) * lean) for t in TIMES
    ]


def grainy_pan(picture: Frames) -> list[Frames]:
    rng = np.random.default_rng(5)
    return [levels(frame + rng.normal(0, 2, frame.shape)) for frame in pan(picture)]


def still(picture: Frames) -> list[Frames]:
    return [picture] * 16


def faint_grain(picture: Frames) -> list[Frames]:
    rng = np.random.default_rng(6)
    return [levels(picture + rng.normal(0, 1, picture.shape)) for _ in TIMES]


def fade(picture: Frames) -> list[Frames]:
    other = painting(*picture.shape[:2], seed=1)
    return [levels(picture * (1 - t) + other * t) for t in TIMES]


def noisy_eased_fade(picture: Frames) -> list[Frames]:
    rng = np.random.default_rng(7)
    other = painting(*picture.shape[:2], seed=2).astype(float)
    eased = TIMES * TIMES * (3 - 2 * TIMES)
    return [levels(picture * (1 - t) + other * t + rng.normal(0, 2, picture.shape)) for t in eased]


def ghosting(picture: Frames) -> list[Frames]:
    other = moved(picture, 0.05 * min(picture.shape[:2]))
    return [levels(picture * (1 - t) + other * t) for t in TIMES]


def wash(picture: Frames) -> list[Frames]:
    return [levels(picture * (1 + t * np.array([0.15, 0, -0.4]))) for t in TIMES]


def palette_loss(picture: Frames) -> list[Frames]:
    grey = picture.mean(axis=2, keepdims=True)
    return [levels(picture * (1 - 0.8 * t) + grey * 0.8 * t) for t in TIMES]


def darkening(picture: Frames) -> list[Frames]:
    return [levels(picture * (1 - 0.35 * t)) for t in TIMES]


def moving_palette_loss(picture: Frames) -> list[Frames]:
    short = min(picture.shape[:2])
    return [palette_loss(moved(picture, -0.005 * short * i))[i] for i in range(16)]


def jumping_light(picture: Frames) -> list[Frames]:
    rng = np.random.default_rng(8)
    return [levels(picture * (1 + 0.08 * rng.normal())) for _ in TIMES]


def alternating_light(picture: Frames) -> list[Frames]:
    return [levels(picture * (1 + 0.06 * (index % 2))) for index in range(16)]


def heavy_grain(picture: Frames) -> list[Frames]:
    rng = np.random.default_rng(9)
    return [levels(picture + rng.normal(0, 15, picture.shape)) for _ in TIMES]


KNOWN: list[tuple[str, Maker]] = [
    ("good", pan),
    ("good", few_pixels),
    ("good", sway),
    ("good", grainy_pan),
    ("static", still),
    ("static", faint_grain),
    ("cross-fade", fade),
    ("cross-fade", noisy_eased_fade),
    ("cross-fade", ghosting),
    ("drift", wash),
    ("drift", palette_loss),
    ("drift", darkening),
    ("drift", moving_palette_loss),
    ("flicker", jumping_light),
    ("flicker", alternating_light),
    ("flicker", heavy_grain),
]


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (240, 320)])
@pytest.mark.parametrize(("flag", "maker"), KNOWN)
def test_flag(flag: str, maker: Maker, size: tuple[int, int]) -> None:
    picture = painting(*size)
    quality = measure(np.stack(maker(picture)), picture)
    assert quality.flag == flag, quality


def test_values_mean_what_they_say() -> None:
    picture = painting(96, 128)
    quality = measure(np.stack(pan(picture)), picture)
    assert quality.motion == pytest.approx(0.01, rel=0.1)
    assert quality.motion_top5 == pytest.approx(0.01, rel=0.2)
    assert quality.first_frame_ssim == pytest.approx(1)
    assert quality.drift is not None
    assert quality.drift < 5
    fading = measure(np.stack(fade(picture)), picture)
    assert fading.blend_share == pytest.approx(1, abs=1e-3)
    assert fading.loop_seam == pytest.approx(15, rel=0.02)
    flickering = measure(np.stack(alternating_light(picture)), picture)
    assert flickering.flicker == pytest.approx(0.06 * picture.mean(), rel=0.1)
    other = measure(np.stack(still(painting(96, 128, seed=1))), picture)
    assert other.first_frame_ssim is not None
    assert other.first_frame_ssim < 0.5


def test_motion_is_in_shares_of_the_shorter_side() -> None:
    for picture in (painting(96, 128), painting(384, 512), painting(256, 128)):
        assert measure(np.stack(pan(picture)), picture).motion == pytest.approx(0.01, rel=0.1)


def test_undefined_is_none() -> None:
    picture = painting(64, 64)
    one = measure(picture[None], picture)
    assert (one.motion, one.motion_top5, one.blend_share, one.flicker, one.loop_seam) == (None,) * 5
    assert one.flag == "static"
    assert one.first_frame_ssim == pytest.approx(1)
    unchanged = measure(np.stack(still(picture)), picture)
    assert (unchanged.blend_share, unchanged.loop_seam) == (None, None)
    tiny = measure(np.zeros((3, 8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8))
    assert (tiny.first_frame_ssim, tiny.flag) == (None, "static")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 16, 49])
@pytest.mark.parametrize("size", [(8, 8), (16, 48), (33, 17)])
def test_any_shape_gives_plain_numbers(count: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(count)
    for frames in (
        rng.integers(0, 256, (count, *size, 3), np.uint8),
        np.zeros((count, *size, 3), np.uint8),
    ):
        quality = measure(frames, Image.fromarray(painting(64, 64)))
        assert isinstance(quality, Quality)
        for name, value in vars(quality).items():
            assert value is None or name == "flag" or type(value) is float
            assert name == "flag" or value is None or np.isfinite(value)


def test_pairs_see_frames_that_are_held_twice() -> None:
    assert pair_starts(1) == []
    assert pair_starts(7) == [0, 1, 2, 3, 4, 5]
    for count in range(8, 100):
        starts = pair_starts(count)
        assert len(starts) == len(set(starts)) == 6
        assert 0 <= min(starts) <= max(starts) == count - 2
        assert {start % 2 for start in starts} == {0, 1}
    picture = painting(64, 64)
    held = np.repeat(np.stack(pan(picture)), 2, axis=0)
    assert measure(held, picture).flag == "good"


def test_measuring_leaves_the_frames_alone_and_repeats() -> None:
    picture = painting(64, 96)
    frames = np.stack(sway(picture))
    before = frames.copy()
    assert measure(frames, picture) == measure(frames, Image.fromarray(picture))
    assert np.array_equal(frames, before)
