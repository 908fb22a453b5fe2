"""What a call of ConsistI2V starts from: pictures, noise, FrameInit; pure functions."""

import functools
from collections.abc import Sequence

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.free_init_utils import FreeInitMixin
from PIL import Image
from torch import Tensor
from torch.nn import functional

from epa_core.model_cards.paper_options import Filter, Noise
from epa_core.models.call_inputs import drawn

FREE_INIT = FreeInitMixin()


def prepared(image: Image.Image, height: int, width: int) -> Tensor:
    """The painting as the released script prepares it, [1, 3, H, W] in [-1, 1].

    Its shorter side becomes ``height``, by bilinear interpolation that does not smooth before it
    reduces; then the middle is cut out, and what is missing of ``width`` is black. A painting that
    has the size already is left as it is.
    """
    pixels = VaeImageProcessor.numpy_to_pt(VaeImageProcessor.pil_to_numpy(image.convert("RGB")))
    old_height, old_width = pixels.shape[-2:]
    shorter = min(old_height, old_width)
    size = (int(height * old_height / shorter), int(height * old_width / shorter))
    if (old_height, old_width) == (height, width):
        size = (height, width)  # also where it is taller than wide
    elif size != (old_height, old_width):
        pixels = functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
    missing = max(width - size[1], 0), max(height - size[0], 0)
    if any(missing):
        left, top = (one // 2 for one in missing)
        pixels = functional.pad(pixels, (left, missing[0] - left, top, missing[1] - top))
    top, left = (
        round((have - want) / 2)
        for have, want in zip(pixels.shape[-2:], (height, width), strict=True)
    )
    return pixels[..., top : top + height, left : left + width] * 2 - 1


def mixed(shared: Tensor, own: Tensor, alpha: float) -> Tensor:
    """Noise of unit variance, of which alpha^2 / (1 + alpha^2) is the same in all frames.

    ``shared`` [B, C, 1, h, w], ``own`` [B, C, F, h, w] (PYoCo, arXiv 2305.10474).
    """
    variance = alpha**2 / (1 + alpha**2)
    return variance**0.5 * shared + (1 / (1 + alpha**2)) ** 0.5 * own


def clip_noise(
    kind: Noise, alpha: float, shape: Sequence[int], generator: torch.Generator | None
) -> Tensor:
    """The noise [1, C, F, h, w] of one clip of ``shape`` [C, F, h, w]: first what is shared."""
    if kind == "vanilla":
        return drawn(shape, [generator])
    channels, _, *size = shape
    shared = drawn((channels, 1, *size), [generator])
    return mixed(shared, drawn(shape, [generator]), alpha)


@functools.lru_cache(maxsize=32)  # sizes and filters of a run
def low_pass(
    kind: Filter, order: int, spatial: float, temporal: float, frames: int, height: int, width: int
) -> Tensor:
    """How much of each frequency is low, [F, h, w], zero frequency in the middle.

    With d2 = (s / t (2 f / F - 1))^2 + (2 y / h - 1)^2 + (2 x / w - 1)^2, s and t the limits:
    gaussian exp(-d2 / 2 s^2), butterworth 1 / (1 + (d2 / s^2)^order), ideal 1 where d2 <= 2 s.
    Box is 1 in the middle, t F / 2 frames and s h / 2 rows and columns to either side.
    """
    shape = (frames, height, width)
    if kind == "box":
        return _box(shape, round(frames // 2 * temporal), round(height // 2 * spatial))
    return FREE_INIT._get_free_init_freq_filter(shape, "cpu", kind, order, spatial, temporal)


def _box(shape: tuple[int, int, int], frames: int, places: int) -> Tensor:
    """1 within so many ``frames`` and rows and columns of the middle, which counts to the right."""
    low = torch.zeros(shape)
    within = tuple(
        slice(max(size // 2 - reach, 0), size // 2 + reach)
        for size, reach in zip(shape, (frames, places, places), strict=True)
    )
    low[within] = 1
    return low


def mix_low(video: Tensor, noise: Tensor, alpha_bar: Tensor, low: Tensor) -> Tensor:
    """Noise [B, C, F, h, w] with the low frequencies of ``video`` at the level ``alpha_bar``.

    The video is noised by the same noise; ``low`` is the share [F, h, w] that is taken of it.
    """
    level = alpha_bar.to(video.device, torch.float32)
    noised = level.sqrt() * video + (1 - level).sqrt() * noise
    return FREE_INIT._apply_freq_filter(noised, noise, low.to(video.device))
