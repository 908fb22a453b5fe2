"""What a call of AnimateAnything is given, checked and as tensors; pure functions of it."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor
from torch.nn import functional

from epa_core.errors import UnsupportedError
from epa_core.model_cards.paper_options import ANIMATE_ANYTHING
from epa_core.models.call_inputs import drawn

DEFAULT_MOTION = 8.0


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
    ANIMATE_ANYTHING.check({"motion_strength": strength})
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
    generators: Sequence[torch.Generator | None],
    scheduler: Any,
) -> Tensor:
    """The standing clip [B, 4, L, h, w] noised to the scheduler's first timestep.

    Each painting takes one draw [1, 4, L, h, w] in float32 from its generator.
    """
    still = condition.repeat(1, 1, num_frames, 1, 1)
    noise = drawn(still.shape[1:], generators).to(still.device)
    return scheduler.add_noise(still, noise, scheduler.timesteps[:1])
