"""What a call of Cinemo is given, checked and as tensors; pure functions of it."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor
from torch.nn import functional

from epa_core.model_cards.paper_options import CINEMO
from epa_core.noise_levels import NoiseLevel

DEFAULT_BUCKET = 95


def bucket_tensor(buckets: Sequence[Any], strengths: Sequence[Any]) -> Tensor:
    """Motion buckets [B]; 100 minus the strength where a painting has one.

    UnsupportedError for one out of range.
    """
    for bucket, strength in zip(buckets, strengths, strict=True):
        CINEMO.check({"motion_bucket_id": bucket, "motion_strength": strength})
    numbers = [
        float(bucket) if strength is None else 100 - float(strength)
        for bucket, strength in zip(buckets, strengths, strict=True)
    ]
    return torch.tensor(numbers, dtype=torch.float32)


def cropped(image: Image.Image, width: int, height: int) -> Tensor:
    """Pixels [1, 3, H, W] in [-1, 1]: scaled to cover the size with a pixel to spare, and cut.

    As the released code does; a picture that has the size is taken as it is.
    """
    array = VaeImageProcessor.pil_to_numpy(image.convert("RGB"))
    pixels = VaeImageProcessor.numpy_to_pt(array)
    if image.size != (width, height):
        scale = max((height + 1) / image.height, (width + 1) / image.width)
        pixels = functional.interpolate(
            pixels, scale_factor=scale, mode="bilinear", align_corners=False
        )
        top = round((pixels.shape[2] - height) / 2)
        left = round((pixels.shape[3] - width) / 2)
        pixels = pixels[:, :, top : top + height, left : left + width]
    return 2 * pixels - 1


def posterior_noise(image: Image.Image, shape: torch.Size) -> Tensor:
    """The noise by which an image's latent is sampled: the same for every call with this image."""
    pixels = image.convert("RGB")
    digest = hashlib.sha256(f"{pixels.size}".encode() + pixels.tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator)


def dct_init(noise: Tensor, image: Tensor, level: NoiseLevel, percentage: float) -> Tensor:
    """DCTInit: ``noise`` [B, C, F, h, w] with the lowest spatial frequencies of a noised image.

    ``image`` [B, C, 1, h, w] is noised to ``level`` with the same noise. All temporal frequencies
    are taken, so the three-dimensional transform comes to one per frame.
    """
    rows, columns = (
        _low_pass(size, int(percentage * size)).to(noise.device) for size in noise.shape[-2:]
    )
    own = noise.double()
    wanted = level.a * image.double() + level.s * own - own
    return (own + rows @ wanted @ columns).to(noise.dtype)


def _low_pass(size: int, kept: int) -> Tensor:
    """The projection [size, size] on the first ``kept`` vectors of the orthonormal DCT-II."""
    position = torch.arange(size, dtype=torch.float64) + 0.5
    frequency = torch.arange(kept, dtype=torch.float64)[:, None]
    basis = torch.cos(math.pi / size * frequency * position) * math.sqrt(2 / size)
    basis[:1] /= math.sqrt(2)
    return basis.T @ basis
