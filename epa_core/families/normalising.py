"""Latents of a VAE in the space that its denoiser was trained in, and back."""

from typing import Any

import torch
from torch import Tensor


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """Mean and (scale / std) by which ``vae``'s latents are normalised."""
    config = vae.config
    scale = config.get("scaling_factor") or 1.0
    if config.get("invert_scale_latents"):  # CogVideoX 1.5
        scale = 1 / scale
    # Configuration lists in Wan, buffers in LTX.
    stored = config if config.get("latents_mean") is not None else dict(vae.named_buffers())
    mean, std = stored.get("latents_mean"), stored.get("latents_std")
    if mean is None:
        return config.get("shift_factor") or 0.0, scale

    def channels(values: Any) -> Tensor:
        values = torch.as_tensor(values, dtype=like.dtype, device=like.device)
        return values.view(1, -1, *[1] * (like.ndim - 2))

    return channels(mean), scale / channels(std)


def normalise(vae: Any, z: Tensor) -> Tensor:
    """Latents of ``vae``, channels on axis 1, in the space its denoiser was trained in."""
    mean, scale = _statistics(vae, z)
    return (z - mean) * scale


def denormalise(vae: Any, z: Tensor) -> Tensor:
    """Inverse of ``normalise``."""
    mean, scale = _statistics(vae, z)
    return z / scale + mean
