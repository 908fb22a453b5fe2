"""What a call of AnimateAnything is given, checked and as tensors; pure functions of it."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor
from torch.nn import functional

from epa_core.errors import UnsupportedError
from epa_core.media.images import canvas_size

AREA = 512 * 512
DEFAULT_MOTION = 8.0


def each(name: str, value: Any, count: int) -> list[Any]:
    """One value per painting, of a list or of one for all; ValueError for another length."""
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} holds {len(value)} values for {count} paintings.")
    return list(value)


def clip_size(
    images: Sequence[Image.Image], height: int | None, width: int | None, multiple: int
) -> tuple[int, int]:
    """(width, height) in pixels: as given, or the paintings' aspect at 512x512 px.

    ValueError for sizes that are no multiples, only one side, or paintings that differ.
    """
    if not images:
        raise ValueError("image holds no painting.")
    if (height is None) != (width is None):
        raise ValueError("give both height and width, or neither.")
    if height is None or width is None:
        sizes = {canvas_size(*image.size, AREA, multiple) for image in images}
        if len(sizes) > 1:
            raise ValueError(
                f"the paintings would be animated at {len(sizes)} sizes; give height and width."
            )
        return sizes.pop()
    if min(width, height) <= 0 or width % multiple or height % multiple:
        raise ValueError(f"the size {width}x{height} is not a positive multiple of {multiple}.")
    return width, height


def check_mask(mask: Any, trained: bool) -> None:
    """UnsupportedError for what is no picture, and for a mask that the weights have no use for."""
    if mask is None:
        return
    if not isinstance(mask, Image.Image):
        raise UnsupportedError(f"mask_image is {mask!r:.80}, which is no picture.")
    if not trained:
        raise UnsupportedError(
            "mask_image was given, but these weights were trained without masks "
            "(unet/config.json does not say motion_mask: true)."
        )


def check_motion(strength: Any, trained: bool) -> None:
    """UnsupportedError for what is no finite number of at least 0.

    Also for one other than the default that the weights have no use for.
    """
    if strength is None:
        return
    number = isinstance(strength, Real) and not isinstance(strength, bool)
    if not (number and math.isfinite(strength) and strength >= 0):
        raise UnsupportedError(f"motion_strength is {strength!r:.80}; use a number of at least 0.")
    if not trained and strength != DEFAULT_MOTION:
        raise UnsupportedError(
            f"motion_strength {strength:g} was given, but these weights were trained without it "
            "(unet/config.json does not say motion_strength: true)."
        )


def mask_tensor(
    images: Sequence[Image.Image],
    masks: Sequence[Image.Image | None],
    latent_size: tuple[int, int],
    trained: bool,
) -> Tensor | None:
    """Masks [B, 1, 1, h, w] in [0, 1], white (1) where none is given; None if not ``trained``.

    ``latent_size`` is (h, w). ValueError for a mask of another size than its painting;
    UnsupportedError as ``check_mask``.
    """
    for mask in masks:
        check_mask(mask, trained)
    if not trained:
        return None
    scaled = []
    for image, mask in zip(images, masks, strict=True):
        if mask is None:
            scaled.append(torch.ones(1, 1, *latent_size))
            continue
        if mask.size != image.size:
            raise ValueError(
                f"the mask is {mask.width}x{mask.height} px, "
                f"but its painting is {image.width}x{image.height} px."
            )
        grey = VaeImageProcessor.pil_to_numpy(mask.convert("L"))
        # Plain bilinear as in training: of a mask's block of 8x8 px, the middle counts.
        pixels = VaeImageProcessor.numpy_to_pt(grey)
        scaled.append(functional.interpolate(pixels, latent_size, mode="bilinear"))
    return torch.stack(scaled)


def motion_tensor(strengths: Sequence[float | None], trained: bool) -> Tensor | None:
    """Motion strengths [B], 8 where none is given; None if not ``trained``.

    UnsupportedError as ``check_motion``.
    """
    for value in strengths:
        check_motion(value, trained)
    values = [DEFAULT_MOTION if value is None else float(value) for value in strengths]
    return torch.tensor(values, dtype=torch.float32) if trained else None


def still_noised(
    condition: Tensor,
    num_frames: int,
    generator: torch.Generator | list[torch.Generator] | None,
    scheduler: Any,
) -> Tensor:
    """The standing clip [B, 4, L, h, w] noised to the scheduler's first timestep.

    Each painting takes one draw [1, 4, L, h, w] in float32, from its own generator if there is a
    list of them.
    """
    still = condition.repeat(1, 1, num_frames, 1, 1)
    generators = generator if isinstance(generator, list) else [generator] * len(still)
    noise = [
        torch.randn(
            still[:1].shape,
            generator=one,
            device=None if one is None else one.device,
            dtype=torch.float32,
        )
        for one in generators
    ]
    together = torch.cat(noise).to(still.device)
    return scheduler.add_noise(still, together, scheduler.timesteps[:1])
