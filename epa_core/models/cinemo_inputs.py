"""What a call of Cinemo is given, checked and as tensors; pure functions of it."""

import hashlib
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, get_args

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor
from torch.nn import functional

from epa_core.errors import UnsupportedError
from epa_core.noise_levels import NoiseLevel

DEFAULT_BUCKET = 95
BUCKETS = 1000  # as many as the sinusoids of the embedding tell apart

ImageLatent = Literal["mode", "sample"]
#: How the method lays out this model's latents: ``epa_core.families.cinemo``.
Reading = Literal["absolute", "all-frames", "residual", "doubled", "painting-base"]


def check_bucket(bucket: Any) -> None:
    """UnsupportedError for what is no number from 0 to 999."""
    number = isinstance(bucket, Real) and not isinstance(bucket, bool)
    if not (number and 0 <= bucket < BUCKETS):
        raise UnsupportedError(
            f"motion_bucket_id is {bucket!r:.80}; use a number from 0 to {BUCKETS - 1}."
        )


def check_strength(strength: Any) -> None:
    """UnsupportedError for what is no number from 0 to 100; None is none."""
    if strength is None:
        return
    number = isinstance(strength, Real) and not isinstance(strength, bool)
    if not (number and 0 <= strength <= 100):
        raise UnsupportedError(
            f"motion_strength is {strength!r:.80}; use a number from 0 to 100 (the motion bucket "
            "is 100 minus it)."
        )


def check_choice(name: str, value: Any, of: Any) -> None:
    """UnsupportedError for a value that is not among the names of a Literal."""
    if value not in get_args(of):
        raise UnsupportedError(f"{name} is {value!r:.80}; use {', '.join(get_args(of))}.")


def check_chunk(frames: Any) -> None:
    """UnsupportedError for what is no whole number of frames."""
    if not isinstance(frames, int) or isinstance(frames, bool) or frames < 1:
        raise UnsupportedError(
            f"decode_chunk_size is {frames!r:.80}; use a whole number from 1 on."
        )


def check_dct(percentage: Any, timestep: Any) -> None:
    """UnsupportedError for a share that is not within 0..1 or a timestep not within 0..999."""
    if not (isinstance(percentage, int | float) and 0 <= percentage <= 1):
        raise UnsupportedError(f"dct_percentage is {percentage!r:.80}; use a number from 0 to 1.")
    if not (isinstance(timestep, int) and not isinstance(timestep, bool) and 0 <= timestep < 1000):
        raise UnsupportedError(
            f"dct_timestep is {timestep!r:.80}; use a whole number from 0 to 999."
        )


def bucket_tensor(buckets: Sequence[Any], strengths: Sequence[Any]) -> Tensor:
    """Motion buckets [B]; 100 minus the strength where a painting has one."""
    for bucket, strength in zip(buckets, strengths, strict=True):
        check_bucket(bucket)
        check_strength(strength)
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
